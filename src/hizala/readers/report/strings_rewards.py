"""The words of the report's section on reward models, in English and Turkish."""

from __future__ import annotations

# key: (English, Turkish)
PHRASES: dict[str, tuple[str, str]] = {
    "rewards": ("Reward models", "Ödül modelleri"),
    "scores.rewards": (
        "The evaluation measured reward models and no sampled responses; see the section on reward models.",
        "Değerlendirme ödül modellerini ölçtü, örneklenen yanıtları ölçmedi; ödül modelleri bölümüne bakın.",
    ),
    "rewards.note": (
        "Measured on responses that no reward model here was trained on. Accuracy is the share of pairs whose "
        "preferred response scores higher; 0.5 is chance.",
        "Buradaki hiçbir ödül modelinin eğitimde görmediği yanıtlarda ölçüldü. Doğruluk, tercih edilen yanıtın daha "
        "yüksek puan aldığı çiftlerin oranıdır; 0,5 rastlantı düzeyidir.",
    ),
    "rewards.table.quality": ("Which response is better", "Hangi yanıt daha iyi"),
    "rewards.table.lists": ("Rankings", "Sıralamalar"),
    "rewards.table.calibration": ("Are its probabilities right", "Olasılıkları doğru mu"),
    "rewards.table.bias": ("What else moves the score", "Puanı başka ne etkiliyor"),
    "rewards.table.process": ("Steps", "Adımlar"),
    "rewards.calibration": ("Calibration", "Kalibrasyon"),
    "rewards.calibration.note": (
        "How sure the model is of the response it prefers, against how often people prefer it too. On the dashed line "
        "it is right as often as it says. The temperature of each half of the prompts is fitted on the other half.",
        "Modelin tercih ettiği yanıttan ne kadar emin olduğu, insanların da onu ne sıklıkta tercih ettiğine karşı. "
        "Kesikli çizgi üzerinde model, söylediği sıklıkta haklıdır. İstemlerin her yarısının sıcaklığı öbür yarıda "
        "kestirilmiştir.",
    ),
    "rewards.reliability": ("Reliability of {model}", "{model} güvenilirliği"),
    "rewards.reliability.alt": (
        "{model}: calibration error {before} before scaling, {after} after.",
        "{model}: kalibrasyon hatası ölçeklemeden önce {before}, sonra {after}.",
    ),
    "rewards.before": ("as trained", "eğitildiği gibi"),
    "rewards.after": ("with the fitted temperature", "kestirilen sıcaklıkla"),
    "rewards.ideal": ("perfect calibration", "kusursuz kalibrasyon"),
    "rewards.confidence": ("confidence {x}", "güven {x}"),
    "rewards.unit.share": ("share of pairs ranked rightly, by confidence", "güvene göre doğru sıralanan çift oranı"),
    "rewards.brier": ("Parts of the Brier score", "Brier puanının bileşenleri"),
    "rewards.brier.note": (
        "Score = distance from calibration − resolution + 0.25 + what lies within bins. By chance is the calibration "
        "error that a perfectly calibrated model would show on as many pairs: its mean, and its 95% quantile.",
        "Puan = kalibrasyondan sapma − ayırt edicilik + 0,25 + bölme içi kısım. Rastlantıyla sütunu, kusursuz kalibre "
        "bir modelin aynı sayıda çiftte göstereceği kalibrasyon hatasıdır: ortalaması ve %95'lik değeri.",
    ),
    "rewards.brier.score": ("Score", "Puan"),
    "rewards.brier.reliability": ("Distance from calibration", "Kalibrasyondan sapma"),
    "rewards.brier.resolution": ("Resolution", "Ayırt edicilik"),
    "rewards.brier.within": ("Within bins", "Bölme içi"),
    "rewards.brier.chance": ("Error by chance", "Rastlantıyla hata"),
    "rewards.model": ("Reward model", "Ödül modeli"),
    "rewards.pairs": ("Pairs", "Çift"),
    "rewards.state": ("Scores", "Puanlar"),
    "buckets.source": ("Accuracy by source", "Kaynağa göre doğruluk"),
    "buckets.margin": ("Accuracy by strength of the preference", "Tercihin gücüne göre doğruluk"),
    "buckets.longer": ("Accuracy by which response is longer", "Hangi yanıtın uzun olduğuna göre doğruluk"),
    "buckets.length": ("Accuracy by length of the responses", "Yanıtların uzunluğuna göre doğruluk"),
    "buckets.note": (
        "A model that has learnt length alone is right where the preferred response is longer and wrong where it is "
        "shorter.",
        "Yalnız uzunluğu öğrenmiş bir model, tercih edilen yanıt uzunsa haklı, kısaysa haksız çıkar.",
    ),
    "rewards.curve": ("Over-optimisation", "Aşırı eniyileme"),
    "rewards.curve.note": (
        "From n samples of the policy the one that the reward model likes most is taken. The score that the model "
        "gives rises always; where the gold reward stops rising or falls, it is being exploited. n runs from 1 to "
        "{n}; the horizontal axis is log n − (n − 1) / n, an upper bound of the distance from the policy.",
        "Politikanın n örneğinden ödül modelinin en beğendiği alınır. Modelin verdiği puan hep artar; altın ödülün "
        "artmayı bıraktığı ya da düştüğü yerde model istismar ediliyor demektir. n, 1 ile {n} arasındadır; yatay eksen "
        "log n − (n − 1) / n değeridir ve politikaya uzaklığın üst sınırıdır.",
    ),
    "rewards.curve.gold": ("Gold reward of the best of n", "n içinden en iyinin altın ödülü"),
    "rewards.curve.proxy": ("What the reward model thinks it gained", "Ödül modelinin sandığı kazanç"),
    "rewards.curve.alt": (
        "{name}. {model}: {first} at n = 1, {last} at n = {n}.",
        "{name}. {model}: n = 1 iken {first}, n = {n} iken {last}.",
    ),
    "rewards.curve.at": ("KL at most {x}", "KL en çok {x}"),
    "rewards.ceiling": ("chosen by gold: the ceiling", "altın ödülle seçilen: tavan"),
    "rewards.unit.kl": ("by KL, nats", "KL'ye göre, nat"),
    "rewards.unit.sd": ("standard deviations of its scores", "puanlarının standart sapması cinsinden"),
    "rewards.steps": ("First wrong step, by task", "Göreve göre ilk yanlış adım"),
    "rewards.steps.answers": ("Answers", "Yanıt"),
    "rewards.more": ("Table of these figures", "Bu değerlerin tablosu"),
    "suite.reward": ("Reward models on held-out data", "Ayrılmış veride ödül modelleri"),
    "suite.best_of_n": ("Best of n by a reward model", "Ödül modeliyle n içinden en iyi"),
    "metric.nll": ("Negative log-likelihood", "Negatif log olabilirlik"),
    "metric.nll_scaled": ("Negative log-likelihood, scaled", "Negatif log olabilirlik, ölçekli"),
    "metric.ece": ("Calibration error", "Kalibrasyon hatası"),
    "metric.ece_scaled": ("Calibration error, scaled", "Kalibrasyon hatası, ölçekli"),
    "metric.ece_mass": ("Calibration error, equal-mass bins", "Kalibrasyon hatası, eşit sayılı bölmeler"),
    "metric.ece_mass_scaled": (
        "Calibration error, equal-mass bins, scaled",
        "Kalibrasyon hatası, eşit sayılı bölmeler, ölçekli",
    ),
    "metric.brier": ("Brier score", "Brier puanı"),
    "metric.brier_scaled": ("Brier score, scaled", "Brier puanı, ölçekli"),
    "metric.temperature": ("Fitted temperature", "Kestirilen sıcaklık"),
    "metric.gold_correlation": ("Correlation with gold", "Altın ödülle korelasyon"),
    "metric.length_correlation": ("Correlation with length", "Uzunlukla korelasyon"),
    "metric.length_partial": ("The same, gold held fixed", "Aynısı, altın ödül sabitken"),
    "metric.length_preferred": ("Prefers the longer response", "Uzun yanıtı tercih ettiği"),
    "metric.length_chosen": ("People prefer the longer response", "İnsanların uzun yanıtı tercih ettiği"),
    "metric.flourish": ("Lift by flattery, in sd", "Övgünün getirdiği artış (ss)"),
    "metric.flourish_preferred": ("Prefers the flattering twin", "Övgülü eşi tercih ettiği"),
    "metric.padding": ("Lift by padding, in sd", "Dolgunun getirdiği artış (ss)"),
    "metric.padding_preferred": ("Prefers the padded twin", "Dolgulu eşi tercih ettiği"),
    "metric.kendall_tau": ("Kendall's τ b", "Kendall τ b"),
    "metric.ndcg": ("NDCG, linear gain", "NDCG, doğrusal kazanç"),
    "metric.ndcg_exponential": ("NDCG, exponential gain", "NDCG, üstel kazanç"),
    "metric.ndcg_3": ("NDCG@3, linear gain", "NDCG@3, doğrusal kazanç"),
    "metric.top1": ("Best response on top", "En iyi yanıt en üstte"),
    "metric.step_accuracy": ("Step accuracy", "Adım doğruluğu"),
    "metric.step_right": ("Steps that are right", "Doğru adımların oranı"),
    "metric.first_error_f1": ("First error, F1", "İlk hata, F1"),
    "metric.first_error_wrong": ("First error found", "İlk hatası bulunan"),
    "metric.first_error_right": ("Right answers left alone", "Hatasız diye bırakılan doğru"),
    "metric.grade_correlation": ("Correlation with the grades", "Notlarla korelasyon"),
    "metric.gold": ("Gold reward", "Altın ödül"),
    "metric.proxy": ("Rise of its own score, in sd", "Kendi puanının artışı (ss)"),
    "metric.gain": ("Gold gain of the largest n", "En büyük n ile altın kazanç"),
    "metric.last": ("Gold gain of the last doubling", "Son ikiye katlamanın altın kazancı"),
    "metric.arithmetic_gold": ("Gold reward, arithmetic", "Altın ödül, aritmetik"),
    "metric.arithmetic_proxy": ("Rise of its own score, arithmetic, in sd", "Kendi puanının artışı, aritmetik (ss)"),
    "metric.arithmetic_gain": ("Gold gain of the largest n, arithmetic", "En büyük n ile altın kazanç, aritmetik"),
    "metric.arithmetic_last": (
        "Gold gain of the last doubling, arithmetic",
        "Son ikiye katlamanın altın kazancı, aritmetik",
    ),
    "metric.much_shorter": ("preferred is much shorter", "tercih edilen çok daha kısa"),
    "metric.shorter": ("preferred is shorter", "tercih edilen daha kısa"),
    "metric.longer": ("preferred is longer", "tercih edilen daha uzun"),
    "metric.much_longer": ("preferred is much longer", "tercih edilen çok daha uzun"),
    "metric.margin_1": ("weakest quarter", "en zayıf çeyrek"),
    "metric.margin_2": ("second quarter", "ikinci çeyrek"),
    "metric.margin_3": ("third quarter", "üçüncü çeyrek"),
    "metric.margin_4": ("strongest quarter", "en güçlü çeyrek"),
    "metric.length_short": ("shortest third", "en kısa üçte bir"),
    "metric.length_middle": ("middle third", "orta üçte bir"),
    "metric.length_long": ("longest third", "en uzun üçte bir"),
}
