"""Real data: public preference pairs, rankings, step marks and problems, read as they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from hizala.engines.data import read
from hizala.engines.data.check import check
from hizala.engines.data.language import guess


def test_hh_pairs_are_read_and_the_odd_rows_reported(shared_data: Path) -> None:
    ref = shared_data / "hh_harmless" / "harmless_base_test_0_1799.jsonl.gz"
    report = check(ref)
    assert (report.format, report.counts["rows"], report.counts["groups"]) == ("hh", 1800, 1798)
    found = {finding.kind: finding.count for finding in report.findings}
    # Five rows have two replies in a row: in two of them the sides answer different prompts, three share theirs.
    assert (found["prompt-differs"], found["same-role-twice"]) == (2, 3)
    assert found["empty-response"] == 4
    assert report.languages["en"] > 0.99
    assert report.length_bias is not None
    assert report.length_bias.longer.high < 0.5
    assert report.lengths["chosen"].median == pytest.approx(111, abs=2)
    turns = Counter(sum(m.role == "user" for m in group.prompt) for group in read(ref))
    assert (min(turns), max(turns)) == (1, 18)


@pytest.mark.parametrize("name", ["kwise_alpaca", "kwise_tulu_bon"])
def test_rankings_agree_with_the_published_order(shared_data: Path, name: str) -> None:
    source = read(shared_data / name / "kwise_200x5.jsonl.gz", shape="ranking")
    groups = list(source)
    assert (source.format, len(groups), source.counts["responses"]) == ("kwise", 200, 1000)
    for group in groups:
        ranks = [response.rank or 0 for response in group.responses]
        scores = [response.score or 0.0 for response in group.responses]
        order = sorted(range(5), key=lambda i: (ranks[i], i))
        assert [scores[i] for i in order] == sorted(scores, reverse=True)


def test_problems_are_prompts_with_their_answers(shared_data: Path) -> None:
    source = read(shared_data / "gsm8k" / "train_2000.jsonl.gz", shape="prompt")
    groups = list(source)
    assert (source.format, len(groups)) == ("prompts", 2000)
    assert all("####" in group.meta["answer"] for group in groups)
    demonstrations = read(
        shared_data / "gsm8k" / "test_0_299.jsonl.gz", columns={"prompt": "question", "response": "answer"}
    )
    assert (demonstrations.format, demonstrations.counts["groups"]) == ("prompt-response", 300)


def test_step_marks_follow_the_first_mistake(shared_data: Path) -> None:
    folder = shared_data / "prm_bigbench_mistake"
    expected = json.loads((folder / "stats_and_expected.json").read_text("utf-8"))["all"]
    source = read(folder / "traces.jsonl.gz", shape="steps")
    groups = list(source)
    assert (source.format, len(groups)) == ("stepwise", expected["n"])
    wrong = 0
    for group in groups:
        marks = [step.correct for step in group.responses[0].steps]
        at = group.meta["mistake_index"]
        assert marks == [True] * len(marks) if at is None else marks[: at + 1] == [True] * at + [False]
        assert at is None or set(marks[at + 1 :]) <= {None}
        wrong += at is not None
    assert wrong == expected["n_with_mistake"]


def test_turkish_is_recognised(shared_data: Path) -> None:
    groups = list(read(shared_data / "turkish" / "truthfulqa_tr_pref.jsonl", shape="pair"))
    assert len(groups) == 817
    share = sum(guess(group.prompt[-1].content) == "tr" for group in groups) / len(groups)
    assert share > 0.95
    problems = list(read(shared_data / "gsm8k" / "test_0_299.jsonl.gz"))
    assert sum(guess(group.prompt[-1].content) == "en" for group in problems) / len(problems) > 0.98
