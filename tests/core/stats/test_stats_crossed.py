"""The interval of a mean over seeds and units: the textbook cases, and its coverage under each kind of spread."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hizala.core.stats.crossed import crossed_interval
from hizala.errors import EvalError


def test_one_seed_or_one_unit_is_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=12)
    low, high = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / math.sqrt(12))
    for table, word in ((values[None, :], "one seed"), (values[:, None], "12 seeds")):
        found = crossed_interval(table)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
        assert word in found.method


def test_the_value_is_the_mean_and_order_does_not_matter() -> None:
    table = np.random.default_rng(1).normal(size=(3, 20))
    found, turned = crossed_interval(table), crossed_interval(table[::-1, ::-1])
    assert found.value == pytest.approx(table.mean(), abs=1e-15)
    assert (found.low, found.high) == pytest.approx((turned.low, turned.high), abs=1e-12)
    shifted = crossed_interval(2 * table + 5)
    assert (shifted.low, shifted.high) == pytest.approx((2 * found.low + 5, 2 * found.high + 5), abs=1e-12)


@pytest.mark.parametrize(
    ("seed_sd", "unit_sd", "rest_sd"), [(0.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.0, 0.2, 0.2), (0, 0, 1)]
)
def test_coverage_is_that_asked_for(seed_sd: float, unit_sd: float, rest_sd: float) -> None:
    rng, hits, trials = np.random.default_rng(7), 0, 1500
    for _ in range(trials):
        table = (
            seed_sd * rng.normal(size=(3, 1)) + unit_sd * rng.normal(size=(1, 40)) + rest_sd * rng.normal(size=(3, 40))
        )
        found = crossed_interval(table)
        hits += found.low <= 0.0 <= found.high
    assert 0.92 <= hits / trials <= 0.995


def test_ignoring_the_seeds_would_not_cover() -> None:
    """The control: with seeds that differ, the interval of units alone is far too narrow."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(500):
        table = rng.normal(size=(3, 1)) + 0.2 * rng.normal(size=(3, 40))
        found = crossed_interval(table.mean(axis=0)[None, :])
        hits += found.low <= 0.0 <= found.high
    assert hits / 500 < 0.3


def test_units_without_a_score_are_left_out_and_counted() -> None:
    table = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]])
    found = crossed_interval(table)
    assert (found.value, found.n, found.unscored) == (2.5, 2, 1)
    assert crossed_interval(np.full((2, 2), np.nan)).method == "no scored units"
    assert math.isnan(crossed_interval(np.array([[1.0]])).low)
    same = crossed_interval(np.ones((3, 4)))
    assert (same.low, same.value, same.high) == (1.0, 1.0, 1.0)


def test_what_is_no_table_is_refused() -> None:
    for wrong in (np.ones(3), np.array([[np.inf, 1.0]])):
        with pytest.raises(EvalError):
            crossed_interval(wrong)
