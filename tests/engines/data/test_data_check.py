"""The data report: what is planted is found, what is clean stays clean, and no text of the data gets out."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hizala.core.detect.language import guess
from hizala.engines.data import GroupSource
from hizala.engines.data.check import DataReport, check
from hizala.engines.data.duplicates import NearSample
from hizala.engines.data.measures import length_bias_of, lengths_of, wilson
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import DataError
from hizala.records import Group, Message, Response

FRUIT = "elma armut kiraz vişne üzüm incir nar ayva kayısı şeftali erik muz limon portakal çilek dut karpuz"
WORDS = FRUIT.split()


def sentence(seed: int, words: int = 12) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), words)) + f" {seed}"


def clean(n: int = 60) -> list[dict[str, Any]]:
    return [
        {"prompt": sentence(3 * i), "chosen": sentence(3 * i + 1), "rejected": sentence(3 * i + 2)} for i in range(n)
    ]


def report_of(folder: Path, rows: list[Any], **options: Any) -> DataReport:
    path = folder / "d.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
    return check(path, **options)


def kinds(report: DataReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_a_clean_file_has_no_findings(tmp_path: Path) -> None:
    report = report_of(tmp_path, clean())
    assert (report.findings, report.exit_code) == ((), 0)
    assert (report.format, report.shape, report.counts["groups"]) == ("pair", "pair", 60)
    assert report.lengths["chosen"].n == report.lengths["prompt"].n == 60


def test_planted_faults_are_found_with_their_lines(tmp_path: Path) -> None:
    rows: list[Any] = clean()
    rows[4] = rows[1]
    rows[9] = rows[9] | {"rejected": rows[9]["chosen"]}
    rows[20] = rows[20] | {"chosen": ""}
    rows[30] = "{"
    report = report_of(tmp_path, rows)
    assert kinds(report) == {
        "exact-duplicates": 1,
        "chosen-equals-rejected": 1,
        "empty-response": 1,
        "broken-row": 1,
    }
    where = {finding.kind: finding.where for finding in report.findings}
    assert where == {
        "exact-duplicates": "d:5=2",
        "chosen-equals-rejected": "d:10",
        "empty-response": "d:21",
        "broken-row": "d:31",
    }
    assert report.exit_code == 1


def test_the_order_of_the_pair_is_no_duplicate(tmp_path: Path) -> None:
    row = clean(1)[0]
    swapped = row | {"chosen": row["rejected"], "rejected": row["chosen"]}
    report = report_of(tmp_path, [row, swapped])
    assert (report.duplicates["exact"], report.duplicates["prompts_again"]) == (0, 1)


def test_near_duplicates_are_found_and_not_confused_with_equal_ones(tmp_path: Path) -> None:
    rows = clean(30)
    long = sentence(999, words=60)
    rows += [{"prompt": "Soru?", "chosen": long, "rejected": "x"}] * 2
    rows += [{"prompt": "Soru?", "chosen": long + " ek", "rejected": "x"}]
    report = report_of(tmp_path, rows)
    assert (report.duplicates["near"], report.duplicates["near_examples"]) == (1, [(33, 31)])
    assert report.duplicates["exact"] == 1
    assert report_of(tmp_path, rows, near_sample=0).duplicates.get("near") is None


def test_the_sample_for_near_duplicates_is_bounded_and_the_same_each_time() -> None:
    def lines() -> list[int]:
        sample = NearSample(20, seed=1)
        for i in range(500):
            sample.add(Group((Message("user", f"soru {i}"),)), i)
        return sorted(line for line, _ in sample._kept)

    assert lines() == lines()
    assert len(lines()) == 20
    assert max(lines()) > 250


def test_near_means_the_jaccard_similarity_of_word_triples() -> None:
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(10_000)]
    texts: list[str] = []
    expected = 0
    for _ in range(60):
        text = list(rng.choice(words, 80))
        changed = text.copy()
        for place in rng.choice(80, int(rng.integers(0, 6)), replace=False):
            changed[place] = "x"
        triples = [{tuple(t[i : i + 3]) for i in range(78)} for t in (text, changed)]
        share = len(triples[0] & triples[1]) / len(triples[0] | triples[1])
        expected += 0.8 <= share < 1
        texts += [" ".join(text), " ".join(changed)]
    sample = NearSample(1000)
    for i, text_ in enumerate(texts):
        sample.add(Group((Message("user", text_),)), i)
    found = sample.compare(0.8)
    assert expected > 10
    assert (found.sampled, found.count) == (120, expected)
    assert all(line == earlier + 1 for line, earlier in found.examples)


def test_length_bias_is_found(tmp_path: Path) -> None:
    rows = [
        {"prompt": sentence(i), "chosen": sentence(i, 12 + (i % 10 > 1) * 9), "rejected": sentence(i + 500, 15)}
        for i in range(100)
    ]
    report = report_of(tmp_path, rows)
    assert report.length_bias is not None
    assert report.length_bias.longer.value == pytest.approx(0.8, abs=0.1)
    assert "length-bias" in kinds(report)


def test_shares_and_differences_follow_their_formulas() -> None:
    # Wilson's interval for 81 of 263, from the closed form in float64 worked out apart.
    z, n, p = 1.959963984540054, 263, 81 / 263
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = wilson(81, 263)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert wilson(0, 5).low == 0.0
    assert wilson(5, 5).high == 1.0
    data = [3.0, -1.0, 0.0, 5.0, 2.0]
    bias = length_bias_of(array("d", data), "tokens")
    assert bias is not None
    assert (bias.ties, bias.longer.n, bias.longer.value) == (1, 4, 0.75)
    assert bias.difference.value == pytest.approx(np.mean(data), abs=1e-12)
    spread = z * np.std(data, ddof=1) / math.sqrt(5)
    assert bias.difference.high - bias.difference.value == pytest.approx(spread, abs=1e-12)


def test_one_pair_has_no_interval_and_the_report_stays_json(tmp_path: Path) -> None:
    plain = report_of(tmp_path, clean(1)).to_json()
    assert plain["length_bias"]["difference"]["high"] is None
    assert json.loads(json.dumps(plain, allow_nan=False)) is not None


def test_the_histogram_holds_every_length_once() -> None:
    values = [0, 1, 7, 8, 9, 16, 17, 1000]
    lengths = lengths_of(array("I", values), "characters")
    assert lengths.histogram[:4] == ((0, 1), (8, 3), (16, 2), (32, 1))
    assert sum(count for _, count in lengths.histogram) == len(values)
    assert (lengths.largest, lengths.median) == (1000, 8.5)


def test_truncation_is_measured_in_the_models_tokens(chatml: Callable[..., Path], tmp_path: Path) -> None:
    chat = ChatTemplate.load(chatml())
    rows = clean(20)
    rows[0] |= {"prompt": sentence(1, 80)}
    rows[1] |= {"chosen": sentence(2, 80)}
    sizes = [len(chat.encode_prompt(Group((Message("user", row["prompt"]),)))) for row in rows]
    limit = max(sizes[1:]) + 75
    report = report_of(tmp_path, rows, chat=chat, max_length=limit)
    assert report.truncation is not None
    cut = report.truncation
    assert (cut.groups, cut.dropped, cut.refused) == (20, int(sizes[0] >= limit), 0)
    assert cut.truncated == 1
    assert report.lengths["prompt"].unit == "tokens"
    assert report.lengths["prompt"].largest == max(sizes)
    with pytest.raises(DataError, match="needs a model's tokenizer"):
        report_of(tmp_path, rows, max_length=100)


def test_labels_are_balanced_or_not(tmp_path: Path) -> None:
    thumbs = [{"prompt": sentence(i), "completion": sentence(i + 50), "label": i > 0} for i in range(30)]
    report = report_of(tmp_path, thumbs)
    assert report.labels["thumbs"] == {"up": 29, "down": 1, "share_up": 29 / 30}
    assert "label-balance" in kinds(report)
    steps = [{"prompt": sentence(i), "completions": ["a", "b", "c"], "labels": [True, False, None]} for i in range(5)]
    assert report_of(tmp_path, steps).labels["steps"] == {"right": 5, "wrong": 5, "unmarked": 5, "share_right": 0.5}
    ranked = [{"prompt": sentence(i), "responses": ["a", "b", "c"], "scores": [1, 2, i % 3]} for i in range(6)]
    assert report_of(tmp_path, ranked).labels["rankings"] == {"rankings": 6, "mean_responses": 3.0, "with_ties": 4}


def test_the_report_holds_no_text_of_the_data(tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": "GİZLİ-1", "chosen": "GİZLİ-2", "rejected": "GİZLİ-2"}, "{GİZLİ"] * 3
    plain = json.dumps(report_of(tmp_path, rows).to_json(), ensure_ascii=False)
    assert "GİZLİ" not in plain
    assert json.loads(plain)["exit_code"] == 1


def test_groups_can_be_checked_too() -> None:
    response = Response((Message("assistant", "Selam."),))
    source = GroupSource.from_groups([Group((Message("user", "Merhaba"),), (response,), id="w:7")] * 3, name="world")
    report = check(source)
    assert (report.ref, report.duplicates["exact"], report.counts["groups"]) == ("world", 2, 3)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Bugün hava nasıl, dışarı çıkmak için uygun mu?", "tr"),
        ("İSTANBUL'DA BUGÜN HAVA ÇOK GÜZEL", "tr"),
        ("Bana bu konuda yardım eder misin?", "tr"),
        ("What is the capital of France and why is it there?", "en"),
        ("She said that it would not be enough for them.", "en"),
        ("Das Wetter ist heute schön und die Straße ist groß, aber es wird später regnen.", "other"),
        ("Привет, как твои дела сегодня?", "other"),
        ("12 + 30 = 42", "unknown"),
        ("", "unknown"),
    ],
)
def test_languages_are_guessed(text: str, language: str) -> None:
    assert guess(text) == language


def test_labels_that_contradict_are_named_with_their_lines(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "b", "rejected": "a"},
        {"prompt": "q", "chosen": "b", "rejected": "a"},
        {"prompt": "r", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2},
        {"prompt": "s", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 1},
    ]
    report = report_of(tmp_path, rows)
    found = {f.kind: (f.severity, f.where) for f in report.findings}
    assert found["contradicted"] == ("warning", "d:1, d:2")
    assert found["contradicting"] == ("error", "d:4")
    assert found["tied"] == ("warning", "d:5")


def test_thumbs_up_and_down_for_one_response_and_thumbs_of_one_kind_are_found(tmp_path: Path) -> None:
    rows = [{"prompt": p, "completion": "a", "label": up} for p, up in (("p", True), ("p", False), ("q", True))]
    report = report_of(tmp_path, rows)
    assert {f.kind: f.where for f in report.findings}["contradicted"] == "d:1, d:2"
    one_sided = report_of(tmp_path, [rows[0], rows[2]])
    found = {f.kind: (f.severity, f.message) for f in one_sided.findings}
    assert found["label-balance"] == ("error", "all thumbs point one way: 2 up, 0 down; methods need both")
