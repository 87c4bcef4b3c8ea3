"""GSM8K: 2,400 labelled solutions graded alike; final numbers in many writings."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import EvalError
from hizala.readers.score import score
from hizala.readers.score.gsm8k import answer_of

Find = Callable[[str], Path]


def test_labelled_solutions_are_graded_as_labelled(published: Find) -> None:
    told = json.loads(published("gsm8k/graded_expected.json").read_text())
    found = score("gsm8k", published("gsm8k/graded_model_solutions.jsonl.gz")).scores.results
    assert set(found) == set(told["accuracy"])
    for model, figures in found.items():
        assert figures["n_unlike_their_labels"] == 0
        assert figures["n_correct"] == told["n_correct"][model]
        assert figures["accuracy"].value == pytest.approx(told["accuracy"][model], abs=1e-12)
        assert figures["accuracy"].n == told["n"]


def test_known_answers_grade_themselves(published: Find, rows: Callable[[Path], list[dict[str, Any]]]) -> None:
    """Each of the 2,300 reference answers is right for itself, and wrong by one unit."""
    for name in ("test_0_299.jsonl.gz", "train_2000.jsonl.gz"):
        for entry in rows(published(f"gsm8k/{name}")):
            value = answer_of(entry["answer"])
            assert value == Fraction(entry["answer"].rpartition("#### ")[2].replace(",", ""))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 18", 18),
        ("so it is\nA: 1,234.50", Fraction("1234.5")),
        ("#### $-3.0", -3),
        ("#### 1\nno, wait\n#### 2 dollars", 2),
        ("A: 2/4", Fraction(1, 2)),
        ("the end is \\boxed{7}", 7),
        ("#### 1e3", 1000),
        ("16 - 3 = <<16-3=13>>13", None),
        ("#### none", None),
        ("#### 1/0", None),
        ("Plan A: 5", None),
        ("", None),
    ],
)
def test_final_numbers(text: str, value: Fraction | int | None) -> None:
    assert answer_of(text) == value


def test_the_last_number_counts_only_where_asked() -> None:
    rows = [{"question": "q", "ground_truth": "#### 13", "solution": "it is 16 - 3 = 13 eggs."}]
    assert score("gsm8k", rows).scores.results["model"]["n_without_answer"] == 1
    assert score("gsm8k", rows, last_number=True).scores.results["model"]["n_correct"] == 1


ROW = {"i": 0, "ground_truth": "#### 18", "solution": "A: 18"}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**ROW, "ground_truth": "eighteen"}, "line 1 has no number in its known answer"),
        ({**ROW, "solution": 3}, "has no text as solution"),
        ({**ROW, "is_correct": "yes"}, "has yes in 'is_correct'"),
        ({"ground_truth": "#### 18", "solution": "A: 18"}, "has neither 'i', 'id' nor 'question'"),
        ({"i": 0, "ground_truth": "#### 18"}, "has no 'solution', and no model's object"),
    ],
)
def test_broken_rows(row: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("gsm8k", [row])
    with pytest.raises(EvalError, match="line 2 is the same problem as line 1"):
        score("gsm8k", [ROW, ROW])
