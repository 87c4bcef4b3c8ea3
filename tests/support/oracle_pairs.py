"""Losses on pairs as their papers write them, in float64 NumPy: (case, parameters) -> one term a pair.

In the comments w is the chosen response, l the rejected one, s = log pi - log ref of a whole response in nats.
"""

from __future__ import annotations

import math

import numpy as np
from loss_cases import Case
from oracle_view import Numbers, lengths, log_ratio, log_sigmoid, means, sides, sigmoid, softplus, tokens, totals


def dpo(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2305.18290 eq. 7; with smoothing the cDPO note, eq. 3."""
    win, lose = log_ratio(case)
    right, wrong = log_sigmoid(beta * win - beta * lose), log_sigmoid(beta * lose - beta * win)
    return -(1 - label_smoothing) * right - label_smoothing * wrong


def robust_dpo(case: Case, *, beta: float, label_smoothing: float) -> Numbers:
    """arXiv:2403.00409: ((1 - eps) L(w, l) - eps L(l, w)) / (1 - 2 eps)."""
    win, lose = log_ratio(case)
    kept, flipped = softplus(-beta * (win - lose)), softplus(-beta * (lose - win))
    return ((1 - label_smoothing) * kept - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def ipo(case: Case, *, tau: float, normalise: str = "sum") -> Numbers:
    """arXiv:2310.12036 eq. 17: (h(w, l) - 1 / (2 tau))^2, h over whole responses; "mean" is not the paper's."""
    win, lose = log_ratio(case)
    if normalise == "mean":
        win, lose = (s / np.maximum(n, 1) for s, n in zip((win, lose), lengths(case), strict=True))
    return np.square((win - lose) - 1 / (2 * tau))


def hinge(case: Case, *, beta: float, delta: float = 1.0) -> Numbers:
    """arXiv:2309.06657 eq. 10 (hinge-norm): max(0, delta - beta (s_w - s_l))."""
    win, lose = log_ratio(case)
    return np.maximum(0.0, delta - beta * (win - lose))


def simpo(case: Case, *, beta: float, gamma: float) -> Numbers:
    """arXiv:2405.14734 eq. 6: -log sigma(beta / |w| log pi(w) - beta / |l| log pi(l) - gamma)."""
    win, lose = sides(means(case, "policy"))
    return softplus(-(beta * win - beta * lose - gamma))


def slic(case: Case, *, delta: float = 1.0) -> Numbers:
    """arXiv:2305.10425 sec. 2: max(0, delta - log pi(w) + log pi(l))."""
    win, lose = sides(totals(case, "policy"))
    return np.maximum(0.0, delta - win + lose)


def cpo(case: Case, *, beta: float) -> Numbers:
    """arXiv:2401.08417 eq. 3, the preference term: a DPO loss whose reference is uniform."""
    win, lose = sides(totals(case, "policy"))
    return softplus(-beta * (win - lose))


def orpo(case: Case) -> Numbers:
    """arXiv:2403.07691 eqs. 4 and 7: -log sigma(log odds(w) / odds(l)), P the mean log-likelihood's exponent.

    An empty response has P = 1 and infinite odds; it is held at the last P below 1 that float64 has.
    """
    out = []
    for pair in means(case, "policy"):
        logit = [p - math.log(-math.expm1(p)) for p in (min(p, -float(np.finfo(np.float64).eps)) for p in pair)]
        out.append(float(softplus(-(logit[0] - logit[1]))))
    return np.array(out)


def apo_zero(case: Case, *, beta: float) -> Numbers:
    """arXiv:2408.06266: -sigma(r_w) + sigma(r_l)."""
    win, lose = log_ratio(case)
    return -sigmoid(beta * win) + sigmoid(beta * lose)


def apo_down(case: Case, *, beta: float) -> Numbers:
    """arXiv:2408.06266: sigma(r_w) - sigma(r_w - r_l)."""
    win, lose = log_ratio(case)
    return sigmoid(beta * win) - sigmoid(beta * (win - lose))


def nca(case: Case, *, beta: float) -> Numbers:
    """arXiv:2402.05369, the pairwise form: -log sigma(r_w) - 1/2 sum_i log sigma(-r_i)."""
    win, lose = log_ratio(case)
    return -log_sigmoid(beta * win) - 0.5 * (log_sigmoid(-beta * win) + log_sigmoid(-beta * lose))


def exo(case: Case, *, beta: float, label_smoothing: float) -> Numbers:
    """arXiv:2402.00856 eq. 16: KL(p_f || p_h) over the two responses, p_h = (1 - eps, eps)."""
    win, lose = log_ratio(case)
    out = []
    for x, y in zip(beta * win, beta * lose, strict=True):
        top = max(x, y)
        total = math.exp(x - top) + math.exp(y - top)
        log_p = np.array([x, y]) - top - math.log(total)
        out.append(float(np.exp(log_p) @ (log_p - np.log([1 - label_smoothing, label_smoothing]))))
    return np.array(out)


def sppo(case: Case, *, beta: float) -> Numbers:
    """arXiv:2405.00675 eq. 4.7 with P = 1 for w and 0 for l, eta = 1 / beta."""
    win, lose = log_ratio(case)
    eta = 1 / beta
    return np.square(win - eta * (1 - 0.5)) + np.square(lose - eta * (0 - 0.5))


def discopop(case: Case, *, beta: float, tau: float) -> Numbers:
    """arXiv:2406.08414 eq. 5: (1 - sigma(x / tau)) f_log(x) + sigma(x / tau) f_exp(x), x = beta (s_w - s_l)."""
    win, lose = log_ratio(case)
    x = beta * (win - lose)
    return (1 - sigmoid(x / tau)) * softplus(-x) + sigmoid(x / tau) * np.exp(-x)


def dpo_norm(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2411.15124 eq. 6: DPO on log-ratios divided by each response's length."""
    (pw, pl), (rw, rl) = sides(means(case, "policy")), sides(means(case, "reference"))
    h = beta * ((pw - rw) - (pl - rl))
    return (1 - label_smoothing) * softplus(-h) + label_smoothing * softplus(h)


def ld_dpo(case: Case, *, beta: float, alpha: float, applies_to: str = "both") -> Numbers:
    """arXiv:2409.06411: DPO on prod_{i <= m} p_i * prod_{i > m} p_i^alpha, m the shorter response's length."""
    tail = alpha if applies_to == "both" else 1.0
    out = []
    for policy, reference in zip(tokens(case, "policy"), tokens(case, "reference"), strict=True):
        m = min(len(policy[0]), len(policy[1]))
        s = [
            math.fsum(p[:m]) + alpha * math.fsum(p[m:]) - math.fsum(r[:m]) - tail * math.fsum(r[m:])
            for p, r in zip(policy, reference, strict=True)
        ]
        out.append(float(softplus(-beta * (s[0] - s[1]))))
    return np.array(out)


def wpo(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2406.11827 eqs. 2 and 4: w(w) w(l) times DPO, w(y) = exp(mean_t(log pi(y_t) - log sum_v pi(v)^2))."""
    out = []
    plain = dpo(case, beta=beta, label_smoothing=label_smoothing)
    for term, policy, collision in zip(plain, tokens(case, "policy"), tokens(case, "collision"), strict=True):
        weight = [
            math.exp(math.fsum(p - q) / len(p)) if len(p) else 1.0 for p, q in zip(policy, collision, strict=True)
        ]
        out.append(weight[0] * weight[1] * term)
    return np.array(out)


def rdpo(case: Case, *, beta: float, alpha: float) -> Numbers:
    """arXiv:2403.19159 eq. 9: -log sigma(beta (s_w - s_l) + alpha |w| - alpha |l|)."""
    (win, lose), (n, m) = log_ratio(case), lengths(case)
    return softplus(-(beta * win - beta * lose + alpha * n - alpha * m))


def tdpo1(case: Case, *, beta: float) -> Numbers:
    """arXiv:2404.11999, the loss TDPO1: -log sigma(u - delta), delta = beta SeqKL(l) - beta SeqKL(w)."""
    (win, lose), (kl_win, kl_lose) = log_ratio(case), sides(totals(case, "divergence"))
    return softplus(-(beta * (win - lose) - (beta * kl_lose - beta * kl_win)))


def tdpo2(case: Case, *, beta: float, alpha: float) -> Numbers:
    """arXiv:2404.11999, the loss TDPO2: -log sigma(u - alpha delta), the chosen side of delta not trained."""
    (win, lose), (kl_win, kl_lose) = log_ratio(case), sides(totals(case, "divergence"))
    return softplus(-(beta * (win - lose) - alpha * (beta * kl_lose - beta * kl_win)))


def fdpo(case: Case, *, beta: float, divergence: str, alpha: float = 0.5) -> Numbers:
    """arXiv:2309.16240 eq. 9: DPO on f'(pi / ref)."""
    win, lose = log_ratio(case)
    slope = {
        "reverse_kl": lambda s: s + 1,
        "forward_kl": lambda s: -np.exp(-s),
        "jensen_shannon": lambda s: math.log(2) + s - np.logaddexp(0.0, s),
        "alpha": lambda s: (1 - np.exp(-alpha * s)) / alpha,
    }[divergence]
    return softplus(-beta * (slope(win) - slope(lose)))


def odpo(case: Case, *, beta: float, alpha: float, scale: str = "identity") -> Numbers:
    """arXiv:2402.10571 eq. 8: -log sigma(beta (s_w - s_l) - alpha f(score difference))."""
    win, lose = log_ratio(case)
    margin = np.array([g.margin for g in case.groups])
    offset = alpha * (np.log(margin) if scale == "log" else margin)
    return softplus(-(beta * (win - lose) - offset))


def aot(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2406.05882, paired: i-th smallest margin of the policy against i-th smallest margin of the reference."""
    (pw, pl), (rw, rl) = sides(totals(case, "policy")), sides(totals(case, "reference"))
    out = np.zeros(len(pw))
    for pair, v in zip(np.argsort(pw - pl, kind="stable"), np.sort(rw - rl), strict=True):
        x = beta * ((pw - pl)[pair] - v)
        out[pair] = (1 - label_smoothing) * softplus(-x) + label_smoothing * softplus(x)
    return out


def _scores(case: Case) -> tuple[Numbers, Numbers]:
    return sides([[float(scores[0]) for scores in group] for group in case.roles["scores"]])


def bradley_terry(case: Case, *, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2203.02155 eq. 1: -log sigma(r_w - r_l); the label is flipped with probability eps."""
    win, lose = _scores(case)
    return (1 - label_smoothing) * softplus(-(win - lose)) + label_smoothing * softplus(win - lose)


def bradley_terry_margin(case: Case, *, label_smoothing: float = 0.0, margin_scale: float = 1.0) -> Numbers:
    """arXiv:2307.09288 eq. 2: -log sigma(r_w - r_l - m); a flipped pair asks for the same lead the other way."""
    win, lose = _scores(case)
    m = margin_scale * np.array([g.margin for g in case.groups])
    return (1 - label_smoothing) * softplus(-(win - lose - m)) + label_smoothing * softplus(-(lose - win - m))


def reward_centre(case: Case) -> Numbers:
    """arXiv:2312.09244 sec. 2: (r_w + r_l)^2."""
    win, lose = _scores(case)
    return np.square(win + lose)
