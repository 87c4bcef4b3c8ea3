"""Agreement of judges from rows of judgments: worked examples of the papers, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hizala.errors import EvalError
from hizala.readers.score import score

# Krippendorff 2011, sec. C: four judges, twelve items.
RELIABILITY = {
    "a": [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    "b": [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    "c": [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    "d": [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
}
ROWS: list[dict[str, Any]] = [
    {"id": item, "judge": judge, "label": label}
    for judge, labels in RELIABILITY.items()
    for item, label in enumerate(labels)
]


@pytest.mark.parametrize(("metric", "told"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_papers_example(metric: str, told: float) -> None:
    found = score("agreement", ROWS, metric=metric).scores
    assert found.overall["alpha"].value == pytest.approx(told, abs=5e-4)
    assert found.overall["alpha"].n == 11  # the last item has one judgment
    assert len(found.results) == 6


def test_two_judges_by_hand() -> None:
    """20 and 15 alike, 5 and 10 apart: kappa 0.4; clusters of ten widen the interval."""
    said = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    rows = [
        {"id": i, "judge": judge, "label": label, "prompt": i // 10}
        for i, labels in enumerate(said)
        for judge, label in zip("xy", labels, strict=True)
    ]
    found = score("agreement", rows).scores.results["x / y"]
    assert (found["raw"].value, found["kappa"].value) == pytest.approx((0.7, 0.4))
    assert found["kappa"].n == 5
    free = score("agreement", [{**row, "prompt": row["id"]} for row in rows]).scores.results["x / y"]["kappa"]
    assert free.n == 50
    assert found["kappa"].high - found["kappa"].low > free.high - free.low


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"id": 1, "judge": "a"}], "line 1 has no 'label'"),
        ([{"id": 1, "judge": "a", "label": 1}], "only 'a' has judged"),
        ([{"id": 1, "judge": "a", "label": 1}] * 2, "line 2 is the same judgment as line 1"),
        ([{"id": 1, "judge": "a", "label": 1}, {"id": 1, "judge": "b", "label": "1"}], "mixes labels"),
        ([{"id": 1, "judge": "a", "label": [1]}], "where a number is due"),
    ],
)
def test_broken_rows(rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("agreement", rows)


def test_measured_labels_must_be_numbers() -> None:
    with pytest.raises(EvalError, match="where a number is due"):
        score("agreement", [{"id": 1, "judge": "a", "label": "good"}], metric="interval")
