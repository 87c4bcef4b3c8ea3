"""Agreement against worked examples of the papers, brute force, and limits."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.core.stats.agreement import (
    Weights,
    agreement_of,
    codes,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    raw_agreement,
)
from hizala.errors import EvalError

_ = math.nan
WEIGHTS: tuple[Weights, ...] = ("linear", "quadratic")
# Krippendorff 2011, sec. C: four judges, twelve items.
RELIABILITY = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
# Fourteen judges, ten items, five labels: the example by which Fleiss' kappa is usually shown.
FOURTEEN = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


@pytest.mark.parametrize(
    ("metric", "told"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_the_papers_example(metric: str, told: float) -> None:
    assert krippendorff_alpha(RELIABILITY, metric) == pytest.approx(told, abs=5e-4)  # type: ignore[arg-type]


def test_fleiss_of_a_known_table() -> None:
    assert fleiss_kappa(FOURTEEN) == pytest.approx(0.210, abs=5e-4)


def test_cohen_by_hand() -> None:
    """20 and 15 alike, 5 and 10 apart: 0.7 seen, 0.5 by chance."""
    a = [1] * 25 + [0] * 25
    b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert cohen_kappa(a, b) == pytest.approx(0.4)
    assert cohen_kappa(a, a) == 1
    assert cohen_kappa([0, 1], [1, 0]) == pytest.approx(-1)
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert cohen_kappa([], []) is None


def test_weights_forgive_near_misses() -> None:
    a, near, far = [0, 1, 2, 3] * 5, [0, 1, 2, 2] * 5, [0, 1, 2, 0] * 5
    assert cohen_kappa(a, near) == pytest.approx(2 / 3)
    for weights in WEIGHTS:
        close, wide = cohen_kappa(a, near, weights), cohen_kappa(a, far, weights)
        assert close is not None
        assert wide is not None
        assert close > 2 / 3 > wide


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=2, max_size=12))
def test_figures_against_counting_pairs(items: list[tuple[int, int, int]]) -> None:
    """Raw agreement and nominal alpha from all pairs of judgments, one by one."""
    table = np.array(items, dtype=np.float64).T
    same = [x == y for item in items for x, y in combinations(item, 2)]
    assert raw_agreement(table) == pytest.approx(sum(same) / len(same))
    values = [value for item in items for value in item]
    apart = [x != y for x, y in combinations(values, 2)]
    expected = sum(apart) / len(apart)
    alpha = krippendorff_alpha(table)
    if expected == 0:
        assert alpha is None
    else:
        assert alpha == pytest.approx(1 - (1 - sum(same) / len(same)) / expected)


def test_agreement_has_intervals_that_hold_its_figures() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    table = np.array([np.where(rng.random(200) < 0.8, truth, rng.integers(0, 3, 200)) for _ in range(3)], dtype=float)
    table[0, :10] = math.nan
    found = agreement_of(table)
    for estimate in (found.raw, found.kappa, found.alpha):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.high - estimate.low < 0.2
    assert (found.kappa.n, found.kappa.unscored) == (190, 10)
    assert (found.alpha.n, found.alpha.unscored) == (200, 0)
    two = agreement_of(table[1:])
    assert two.kappa.value == cohen_kappa(table[1], table[2])
    paired = agreement_of(table[1:], clusters=[i // 4 for i in range(200)])
    assert paired.kappa.n == 50


def test_labels_become_numbers_in_their_order() -> None:
    table, names = codes([["tie", "A", None], ["A", "A", "B"]])
    assert names == ("A", "B", "tie")
    assert table.tolist()[1] == [0, 0, 1]
    assert math.isnan(table[0, 2])
    assert codes([[10, 9]])[1] == (9, 10)
    with pytest.raises(EvalError, match="different numbers of items"):
        codes([["A"], ["A", "B"]])


def test_what_cannot_be_judged_is_said() -> None:
    assert krippendorff_alpha([[1, _], [_, 2]]) is None
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    assert raw_agreement([[1, _], [_, 2]]) is None
    assert fleiss_kappa([[3, 0], [3, 0]]) is None
    with pytest.raises(EvalError, match="same number of judges"):
        fleiss_kappa([[3, 0], [2, 0]])
    with pytest.raises(EvalError, match="a label from both"):
        cohen_kappa([1, _], [1, 1])
    with pytest.raises(EvalError, match="two judges"):
        agreement_of([[1, 2]])
    with pytest.raises(EvalError, match="at least 0"):
        krippendorff_alpha([[-1, 1], [1, 1]], "ratio")
