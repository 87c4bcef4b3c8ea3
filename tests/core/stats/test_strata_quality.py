"""Weighted shares and means of parts by hand and by simulation; the quality of a benchmark by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hizala.core.stats.benchmark_quality import Ratings, overlapping, quality
from hizala.core.stats.bootstrap import wilson
from hizala.core.stats.strata import mean_of, stratified_mean, weighted_shares
from hizala.errors import EvalError
from hizala.records import Estimate


def test_parts_count_alike() -> None:
    found = stratified_mean([np.array([0.0, 1, 1, 0]), np.array([1.0, 1, math.nan])])
    assert (found.value, found.n, found.unscored) == (0.75, 6, 1)
    assert found.high - found.value == pytest.approx(1.959964 * math.sqrt((1 / 3) / 4) / 2, rel=1e-5)
    assert math.isnan(stratified_mean([np.array([1.0]), np.array([0.0, 1.0])]).low)
    with pytest.raises(EvalError, match="a scored value in each"):
        stratified_mean([np.array([math.nan])])


def test_one_share_has_wilsons_interval_and_weights_mix_them() -> None:
    one, same = weighted_shares([0.9], [50], [3.0]), wilson(45, 50)
    assert (one.value, one.low, one.high) == pytest.approx((same.value, same.low, same.high))
    two = weighted_shares([0.9, 0.5], [50, 100], [2, 1])
    assert two.value == pytest.approx((2 * 0.9 + 0.5) / 3)
    assert two.low < two.value < two.high < 1
    with pytest.raises(EvalError, match="at least 1"):
        weighted_shares([0.9], [0], [1])


def test_intervals_of_weighted_shares_cover() -> None:
    rng = np.random.default_rng(0)
    p, n, w = np.array([0.95, 0.7, 0.4]), [40, 100, 60], [1.0, 1.0, 2.0]
    truth = float(np.dot(w, p) / sum(w))
    held = []
    for _ in range(2000):
        seen = rng.binomial(n, p) / n
        found = weighted_shares(seen.tolist(), n, w)
        held.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(held) <= 0.97


def test_a_mean_of_estimates_adds_their_half_widths_in_squares() -> None:
    one, two = Estimate(0.5, 0.2, 0.9, 10), Estimate(1.5, 1.1, 1.8, 5, 1)
    found = mean_of([one, two])
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1 - 0.25, 1 + 0.25))
    assert (found.n, found.unscored) == (15, 1)
    with pytest.raises(EvalError, match="all at one level"):
        mean_of([one, Estimate(1, 0, 2, 3, level=0.9)])


def made(value: list[float], width: float, spread: float = 1.0) -> Ratings:
    """Ratings with intervals of one width."""
    x = np.array(value)
    return Ratings(x, x - width, x + width, x, np.full(len(x), spread**2))


def test_quality_by_hand() -> None:
    """The benchmark has 1 < 2 < 9, people 1 < 9 < 2: the pair (2, 3) is turned, and the pair (1, 2) not separated."""
    people = made([1, 9, 5], 0.5)
    found = quality(made([1, 2, 9], 0.6), people)
    assert (found.pairs, found.overlapping) == (3, 1)
    assert found.strict == pytest.approx(2 / 3)
    assert found.with_confidence == pytest.approx((0.5 + 1 + 0) / 3)
    assert found.spearman == pytest.approx(0.5)
    below = [0.5 * (1 + math.erf(gap / 2)) for gap in (1, 8, 7)]  # P(a < b), variances 1 + 1
    told = [1, 1, 0]
    assert found.brier == pytest.approx(np.mean([(p - t) ** 2 for p, t in zip(below, told, strict=True)]))
    perfect = quality(people, people)
    assert (perfect.strict, perfect.with_confidence, perfect.spearman) == pytest.approx((1, 1, 1))
    with pytest.raises(EvalError, match="two models"):
        quality(made([1], 1), made([1], 1))


def test_intervals_that_touch_do_not_overlap_and_a_point_inside_does() -> None:
    assert overlapping(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 0
    assert overlapping(np.array([0.0, 0.5]), np.array([1.0, 0.5])) == 1
    assert overlapping(np.array([3.0, 0.0, 1.0]), np.array([4.0, 2.0, 5.0])) == 2
