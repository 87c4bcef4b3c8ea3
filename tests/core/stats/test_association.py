"""Correlations and their intervals: scipy and closed forms as oracles."""

import math

import numpy as np
import pytest
from scipy import stats

from hizala.core.stats.association import average_ranks, correlation, correlation_interval, partial_correlation
from hizala.core.stats.resample import statistic_interval
from hizala.errors import EvalError


def columns(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y that go together only through z."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return z + rng.normal(size=n), z + rng.normal(size=n), z


def test_plain_correlations_are_those_of_scipy_with_ties() -> None:
    x, y, _ = columns()
    x = np.round(x)
    assert correlation(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, rel=1e-12)
    assert correlation(x, y, "spearman") == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    assert average_ranks([3, 1, 3, 2]).tolist() == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlation_of_one_control_is_the_closed_form(method) -> None:
    x, y, z = columns()
    xy, xz, yz = (correlation(a, b, method) for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_correlation(x, y, [z], method) == pytest.approx(expected, rel=1e-10)
    assert correlation(x, y, method) > 0.4 > 0.15 > abs(expected)


def test_partial_correlation_of_two_controls_is_minus_the_scaled_entry_of_the_precision() -> None:
    x, y, z = columns()
    w = np.random.default_rng(9).normal(size=len(x)) + x
    p = np.linalg.inv(np.cov(np.stack([x, y, z, w])))
    assert partial_correlation(x, y, [z, w]) == pytest.approx(-p[0, 1] / math.sqrt(p[0, 0] * p[1, 1]), rel=1e-9)


def test_a_side_without_spread_or_wholly_explained_has_no_correlation() -> None:
    x, y, z = columns(20)
    assert correlation(np.full(20, 0.1), y) is None
    assert partial_correlation(2 * z + 1, y, [z]) is None
    assert correlation([1.0], [2.0]) is None
    assert partial_correlation(x[:2], y[:2], [z[:2]]) is None


def test_interval_of_a_correlation_is_near_fisher_s() -> None:
    x, y, _ = columns(400, seed=3)
    found = correlation_interval(x, y, method="pearson")
    theirs = stats.pearsonr(x, y).confidence_interval()
    assert found.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert correlation_interval(x, y, method="pearson") == found


def test_length_that_works_only_through_gold_is_cleared_by_the_partial_interval() -> None:
    score, length, gold = columns(600, seed=4)
    assert correlation_interval(score, length).low > 0.3
    partial = correlation_interval(score, length, [gold])
    assert partial.low < 0 < partial.high


def test_clusters_widen_the_interval_and_rows_not_scored_are_counted() -> None:
    x, y, _ = columns(100, seed=5)
    many = correlation_interval(np.tile(x, 4), np.tile(y, 4), n_boot=499)
    held = correlation_interval(np.tile(x, 4), np.tile(y, 4), clusters=list(range(100)) * 4, n_boot=499)
    assert held.n == 100
    assert many.n == 400
    assert held.high - held.low > 1.6 * (many.high - many.low)
    gone = correlation_interval([*x, math.nan], [*y, 1.0], n_boot=499)
    assert (gone.n, gone.unscored) == (100, 1)


def test_the_interval_of_a_mean_is_near_the_normal_one_and_covers_as_it_says() -> None:
    rng, hits = np.random.default_rng(6), 0
    for i in range(120):
        found = statistic_interval(lambda v: float(v.mean()), rng.normal(size=40), seed=i, n_boot=399)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 120 <= 0.99


def test_a_figure_that_chance_lifts_stays_within_its_bounds() -> None:
    def lifted(v: np.ndarray) -> float:
        return float(np.abs([part.mean() for part in np.array_split(v, 12)]).mean())

    rng, figures = np.random.default_rng(8), []
    for i in range(60):
        x = rng.normal(size=60)
        found = statistic_interval(lifted, x, seed=i, n_boot=199, lifted=True)
        assert 0 <= found.low < found.value < found.high
        figures.append(found)
    expected = np.mean([found.value for found in figures])
    inside = sum(found.low <= expected <= found.high for found in figures)
    assert inside >= 54
    assert figures[0].method.startswith("bootstrap standard error")


def test_figures_without_an_interval_say_why() -> None:
    mean = lambda v: float(v.mean())  # noqa: E731
    assert statistic_interval(mean, [None, None]).method == "no scored units"
    assert "one unit" in statistic_interval(mean, [1.0, 2.0], clusters=["a", "a"]).method
    assert "not defined" in correlation_interval([1, 1, 1], [1, 2, 3]).method
    rare = statistic_interval(lambda v: float(v.mean()) if 1.0 in v else math.nan, [1.0, 0.0, 0.0], n_boot=199)
    assert rare.value == pytest.approx(1 / 3)
    assert math.isnan(rare.low)
    assert "no figure" in rare.method


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: correlation([1.0], [1.0, 2.0]), "equal length"),
        (lambda: correlation([1.0, 2.0], [1.0, 2.0], "kendall"), "unknown method"),  # type: ignore[arg-type]
        (lambda: statistic_interval(np.mean), "at least one column"),
        (lambda: statistic_interval(np.mean, [1.0, 2.0], clusters=["a"]), "equally long"),
        (lambda: statistic_interval(np.mean, [1.0, math.inf]), "infinite"),
        (lambda: statistic_interval(np.mean, [1.0, 2.0], level=0.999, n_boot=99), "raise n_boot"),
    ],
)
def test_input_that_means_nothing_is_refused_here(call, words: str) -> None:
    with pytest.raises(EvalError, match=words):
        call()
