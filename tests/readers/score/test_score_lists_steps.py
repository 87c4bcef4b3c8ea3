"""Rankings and first wrong steps: published trivial predictors, real lists, closed forms, broken rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import EvalError
from hizala.readers.score import score

Find = Callable[[str], Path]


@pytest.mark.parametrize("predictor", ["always_null", "always_first", "half_index_if_answer_wrong"])
def test_predictors_that_read_no_step_get_their_published_figures(predictor: str, published: Find) -> None:
    told = json.loads(published("prm_bigbench_mistake/stats_and_expected.json").read_text())
    found = score("process", published("prm_bigbench_mistake/traces.jsonl.gz"), predictor=predictor).scores
    figures, expected = found.results[predictor], told["processbench_metric"]["predictors"][predictor]
    for name, value in expected.items():
        assert figures[name].value == pytest.approx(value, abs=1e-12)
    assert (figures["n"], figures["n_with_mistake"]) == (told["all"]["n"], told["all"]["n_with_mistake"])
    for task, part in figures["tasks"].items():
        assert (part["n"], part["n_with_mistake"]) == (told[task]["n"], told[task]["n_with_mistake"])


def test_first_errors_from_probabilities() -> None:
    rows: list[dict[str, Any]] = [
        {"mistake_index": 1, "probabilities": [0.9, 0.2, 0.1]},
        {"mistake_index": 2, "probabilities": [0.9, 0.4, 0.1]},
        {"mistake_index": None, "probabilities": [0.9, 0.8]},
    ]
    found = score("process", rows).scores.results["model"]
    assert (found["error_acc"].value, found["correct_acc"].value) == (0.5, 1)
    assert found["f1"].value == pytest.approx(2 / 3)
    strict = score("process", rows, threshold=0.85).scores.results["model"]
    assert strict["correct_acc"].value == 0
    only = score("process", rows[:2]).scores
    assert only.results["model"]["f1"] is None
    assert "no answer is right" in only.notes[0]


def test_real_lists_that_are_sorted_by_length(published: Find) -> None:
    """Samples of one policy are sorted by length within prompts, and length goes with the grade there."""
    path = published("kwise_tulu_bon/kwise_200x5.jsonl.gz")
    long = score("kwise", path, scorer="char_len").scores.results["char_len"]
    short = score("kwise", path, scorer="neg_char_len").scores.results["neg_char_len"]
    assert long["n"] == 200
    assert long["kendall_tau"].low > 0 > short["kendall_tau"].high
    assert long["pair_accuracy"].value + short["pair_accuracy"].value == pytest.approx(1)
    flat = score("kwise", path, scorer="constant").scores.results["constant"]
    assert flat["pair_accuracy"].value == 0.5
    assert flat["kendall_tau"].unscored == 200  # nothing to correlate: not scored, not zero
    assert flat["top1"].value == pytest.approx(0.2, abs=0.02)


def test_a_ranking_and_its_grades_are_one_thing(published: Find, rows: Callable[[Path], list[dict[str, Any]]]) -> None:
    """The grades as scores order every list as its published ranking does."""
    lists = rows(published("kwise_alpaca/kwise_200x5.jsonl.gz"))
    graded = [
        {"id": entry["i"], "ranking": entry["ranking"], "scores": [c["score"] for c in entry["candidates"]]}
        for entry in lists
        if len({c["score"] for c in entry["candidates"]}) == 5
    ]
    found = score("kwise", graded).scores.results["model"]
    assert found["kendall_tau"].value == pytest.approx(1)
    assert found["top1"].value == found["pair_accuracy"].value == 1


def test_one_list_by_hand() -> None:
    """Of six pairs one is turned and one tied in the scores: 4.5 of 6."""
    row = {"id": 1, "grades": [4, 3, 2, 1], "scores": [5, 6, 2, 2]}
    found = score("kwise", [row]).scores.results["model"]
    assert found["pair_accuracy"].value == pytest.approx(4.5 / 6)
    assert found["top1"].value == 0


@pytest.mark.parametrize(
    ("suite", "row", "told"),
    [
        ("process", {"predicted": 1}, "has no 'mistake_index'"),
        ("process", {"mistake_index": 1}, "neither 'predicted' nor 'probabilities'"),
        ("process", {"mistake_index": "1", "predicted": 1}, "the text '1' in 'mistake_index'"),
        ("process", {"mistake_index": 5, "steps": ["a"], "predicted": 1}, "mistake_index 5 and 1 steps"),
        ("process", {"mistake_index": 1, "probabilities": [0.5, 1.5]}, "outside of 0 to 1"),
        ("kwise", {"id": 1, "grades": [1, 2], "scores": [1]}, "has 1 entries in 'scores', 2 are due"),
        ("kwise", {"id": 1, "ranking": [0, 0], "scores": [1, 2]}, "does not name each response once"),
        ("kwise", {"id": 1, "grades": [1], "scores": [1]}, "fewer than two"),
        ("kwise", {"grades": [1, 2], "scores": [1, 2]}, "neither 'id' nor 'i'"),
        ("kwise", {"id": 1, "grades": [1, 2], "scores": [1, None]}, "null at scores"),
    ],
)
def test_broken_rows(suite: str, row: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score(suite, [row])


def test_a_list_twice_is_refused() -> None:
    row = {"id": 1, "grades": [1, 2], "scores": [1, 2]}
    with pytest.raises(EvalError, match="line 2 is the same list as line 1"):
        score("kwise", [row, row])
    step = {"i": 3, "task": "t", "mistake_index": 0, "predicted": 0}
    with pytest.raises(EvalError, match="line 2 is the same answer as line 1"):
        score("process", [step, step])
