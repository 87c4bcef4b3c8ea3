"""JudgeBench: the tables of four judges exactly, the inconsistency rule on every case, verdict texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import ConfigError, EvalError
from hizala.readers.score import score
from hizala.readers.score.judgebench import FLIPPED, Pair, by_text, correct

Find = Callable[[str], Path]
TABLES = (
    "claude-3-5-sonnet-20240620__arena_hard__claude-3-haiku-20240307",
    "gpt-4o-2024-05-13__reward_model__Ray2333_GRM-Gemma-2B-rewardmodel-ft",
    "gpt-4o-2024-05-13__reward_model__Skywork_Skywork-Reward-Gemma-2-27B",
    "gpt-4o-2024-05-13__reward_model__internlm_internlm2-7b-reward",
)


@pytest.mark.parametrize("raw", [False, True], ids=["decisions", "scores or texts"])
@pytest.mark.parametrize("table", TABLES)
def test_tables_are_exact(table: str, raw: bool, published: Find) -> None:
    """From the stored decisions, and again from the scores or the verdict texts they were made of."""
    told = json.loads(published("judgebench/expected.json").read_text())[table]
    options: dict[str, Any] = {"use": "verdicts" if "arena_hard" in table else "scores"} if raw else {}
    scored = score("judgebench", published(f"judgebench/{table}.jsonl.gz"), **options).scores
    found = scored.results["judge"]
    for rule in ("accuracy_both_orders", "accuracy_first_order_only"):
        assert {name: round(e.value, 9) for name, e in found[rule].items()} == {
            name: round(value, 9) for name, value in told[rule].items()
        }
        assert all(e.low <= e.value <= e.high for e in found[rule].values())
    assert {name: found[name] for name in found if name.startswith("n")} == {
        name: told[name] for name in told if name.startswith("n")
    }
    assert not scored.notes  # the stored decisions agree with what they were made of


def test_the_inconsistency_rule_on_every_pair_of_decisions() -> None:
    """Right beats undecided and beats nothing else: derived by counting, not by the code's sum."""
    for first, second in product(FLIPPED, repeat=2):
        said = [first, FLIPPED[second]]  # both in the first order's words
        rights, wrongs = said.count("A>B"), said.count("B>A")
        assert correct(Pair("j", "Math", "A>B", first, second)) == (rights > wrongs)


@pytest.mark.parametrize(
    ("text", "decision", "ambiguous"),
    [
        ("so [[A>>B]]", "A>B", False),
        ("[[B>A]] and again [[B>A]]", "B>A", False),
        ("[[A=B]]", "A=B", False),
        ("[[A>B]] or [[B>A]]", None, True),
        ("[[A>B]] or [[A>>B]]", None, True),
        ("A>B", None, True),
        ("[[C]]", None, True),
        ("[[A]]", None, False),
    ],
)
def test_verdict_texts(text: str, decision: str | None, ambiguous: bool) -> None:
    assert by_text(text) == (decision, ambiguous)


ROW = {"pair_id": "p", "source": "mmlu-pro-law", "label": "A>B", "decisions": ["A>B", "B>A"]}


def test_stored_decisions_that_do_not_follow_are_counted() -> None:
    rows = [{**ROW, "scores": [[1.0, 1.0], [1.0, 1.0]]}]
    told = score("judgebench", rows).scores
    assert told.notes == ["1 stored decisions are not what their scores or verdict texts say"]
    assert told.results["judge"]["accuracy_both_orders"]["Overall"].value == 100
    tied = score("judgebench", rows, use="scores").scores.results["judge"]
    assert (tied["accuracy_both_orders"]["Overall"].value, tied["n_inconsistent"]) == (0, 1)


def test_the_benchmarks_own_files_hold_an_object_a_judgment() -> None:
    bare = {key: value for key, value in ROW.items() if key != "decisions"}
    rows = [{**bare, "judgments": [{"judgment": {}, "decision": "A>B"}, {"judgment": {}, "decision": None}]}]
    found = score("judgebench", rows).scores.results["judge"]
    assert (found["accuracy_both_orders"]["Overall"].value, found["n_null_decisions"]) == (100, 1)
    texts = [{**bare, "judgments": ["[[A>>B]]", "[[B>A]]"]}]
    assert score("judgebench", texts).scores.results["judge"]["n_inconsistent"] == 0
    with pytest.raises(EvalError, match="neither texts nor objects with a 'decision'"):
        score("judgebench", [{**bare, "judgments": [{}, "[[A>B]]"]}])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": "A=B"}, "line 2 has the text 'A=B' in 'label'"),
        ({"source": "gsm8k"}, "belongs to no category"),
        ({"decisions": ["A>B"]}, "line 2 has 1 entries in 'decisions', 2 are due"),
        ({"decisions": ["A>B", "A"]}, "line 2 has the decision 'A'"),
        ({"decisions": None}, "line 2 has null in 'decisions' where a list is due"),
        ({"scores": [[1, "2"], [2, 1]]}, r"the text '2' at scores\[0\]\[1\]"),
        ({"pair_id": "p"}, "line 2 is the same pair as line 1"),
    ],
)
def test_broken_rows(change: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("judgebench", [ROW, {**ROW, "pair_id": "q", **change}])


def test_what_a_row_lacks_cannot_decide() -> None:
    with pytest.raises(EvalError, match="has no scores"):
        score("judgebench", [ROW], use="scores")
    with pytest.raises(ConfigError, match="use"):
        score("judgebench", [ROW], use="dice")


def test_pairs_of_another_benchmark_are_refused(published: Find, tmp_path: Path) -> None:
    index = published("judgebench/pairs_index.jsonl.gz")
    path = published(f"judgebench/{TABLES[0]}.jsonl.gz")
    assert score("judgebench", path, pairs=index).scores == score("judgebench", path).scores
    with pytest.raises(EvalError, match="line 1 is of the pair 'p', which the benchmark does not have"):
        score("judgebench", [ROW], pairs=index)
    known = tmp_path / "pairs.jsonl"
    known.write_text('{"pair_id": "p", "label": "B>A"}')
    with pytest.raises(EvalError, match="line 1 has the label A>B, and the benchmark another"):
        score("judgebench", [ROW], pairs=known)
