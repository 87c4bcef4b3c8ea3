"""One number from several: members of an ensemble, steps of a response."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.core.combine import AGGREGATIONS, COMBINATIONS, aggregate, combine
from hizala.errors import ConfigError

scores = st.lists(st.floats(-100, 100), min_size=1, max_size=8)
probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)
LAM = {"mean": None, "minimum": None, "mean-std": 0.5, "mean-variance": 0.5}


def test_the_formulas_by_hand() -> None:
    members = np.array([[1.0, 3.0], [2.0, 2.0]])
    assert combine(members, "mean").tolist() == [2.0, 2.0]
    assert combine(members, "minimum").tolist() == [1.0, 2.0]
    assert combine(members, "mean-std", 0.5).tolist() == [1.5, 2.0]
    assert combine(3 * members, "mean-variance", 0.5).tolist() == [6 - 0.5 * 9, 6.0]
    steps = [0.5, 0.25, 0.8]
    assert aggregate(steps, "min") == 0.25
    assert aggregate(steps, "product") == pytest.approx(0.1)
    assert aggregate(steps, "last") == 0.8
    assert aggregate(steps, "mean") == pytest.approx(1.55 / 3)


@given(scores, st.floats(-50, 50))
def test_a_combination_shifts_with_its_members_and_ignores_their_order(members: list[float], shift: float) -> None:
    for how in COMBINATIONS:
        value = combine(np.array(members), how, LAM[how])
        assert combine(np.array(members) + shift, how, LAM[how]) == pytest.approx(value + shift, abs=1e-8)
        assert combine(np.array(members[::-1]), how, LAM[how]) == pytest.approx(value, abs=1e-9)
        assert value <= np.mean(members) + 1e-9


@given(st.floats(-100, 100), st.integers(1, 6))
def test_members_that_agree_are_taken_at_their_word(value: float, number: int) -> None:
    for how in COMBINATIONS:
        assert combine(np.full(number, value), how, LAM[how]) == pytest.approx(value, abs=1e-12)


@given(probabilities)
def test_an_aggregation_stays_a_probability_and_keeps_its_order(steps: list[float]) -> None:
    found = {how: aggregate(steps, how) for how in AGGREGATIONS}
    assert all(0 <= value <= 1 for value in found.values())
    assert found["product"] <= found["min"] + 1e-12 <= found["mean"] + 2e-12
    assert aggregate(steps[:1], "product") == aggregate(steps[:1], "last") == steps[0]


def test_what_was_not_scored_stays_not_scored() -> None:
    for how in COMBINATIONS:
        assert math.isnan(combine(np.array([1.0, np.nan]), how, LAM[how]))
    for how in AGGREGATIONS:
        assert math.isnan(aggregate([], how))


@pytest.mark.parametrize(
    ("how", "lam", "told"),
    [
        ("median", None, "unknown combination 'median'"),
        ("mean", 0.5, "lam has no effect on 'mean'"),
        ("mean-std", None, "'mean-std' needs lam"),
        ("mean-variance", -1.0, "at least 0"),
    ],
)
def test_a_combination_that_was_not_meant_is_one_error(how: str, lam: float | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        combine(np.zeros(2), how, lam)


def test_there_is_no_usual_aggregation() -> None:
    with pytest.raises(ConfigError, match="unknown aggregation 'average'"):
        aggregate([0.5], "average")
