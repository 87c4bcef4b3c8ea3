"""Real data: public preference pairs, rankings, step marks and problems, read as they are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from hizala import world
from hizala.core.detect.language import guess
from hizala.engines.data import read
from hizala.engines.data.check import check
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.data.usable import usable


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


def test_every_real_step_mark_is_found_in_the_tokens(shared_data: Path) -> None:
    chat = ChatTemplate.load(world.model_dir())
    out = chat.encode_all(read(shared_data / "prm_bigbench_mistake" / "traces.jsonl.gz", shape="steps", limit=150))
    assert (out.counts["encoded"], out.counts["steps-truncated"]) == (150, 0)
    for index, tokens in zip(out.sources, out.tokens, strict=True):
        (branch,) = tokens.responses
        places = [place for place, _ in branch.marks]
        assert places == sorted(set(places))
        assert places[-1] < len(branch.ids) - 1, "the end token closes the last step's line"
        assert [correct for _, correct in branch.marks].count(False) <= 1
        assert index < 150


@pytest.mark.parametrize("name", ["kwise_alpaca", "kwise_tulu_bon"])
def test_real_rankings_become_pairs_with_the_published_difference_as_margin(shared_data: Path, name: str) -> None:
    chat = ChatTemplate.load(world.model_dir())
    path = shared_data / name / "kwise_200x5.jsonl.gz"
    source = read(path, shape="pair", convert="ranking_to_pair_best_worst")
    groups = list(source)
    kept, findings = usable(groups, "pair")
    assert (len(groups) + source.counts.get("dropped:tied", 0), findings) == (200, [])
    for group in kept[:20]:
        chosen, rejected = (response.score or 0.0 for response in group.responses)
        assert chat.encode_group(group).margin == chosen - rejected > 0
    every = list(read(path, shape="pair", convert="ranking_to_pair_all"))
    assert len(kept) < len(every) <= 2000
