"""Calibration: closed forms, scipy as the oracle of the fit, and the relations between conventions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from hizala.core.stats import calibration as cal
from hizala.errors import EvalError


def margins(n: int = 4_000, truth: float = 1.0, seed: int = 0) -> np.ndarray:
    """Margins whose pairs are labelled by sigmoid(m / truth): a temperature of `truth` calibrates them."""
    rng = np.random.default_rng(seed)
    m = np.abs(rng.normal(0, 2, n))
    return np.where(rng.random(n) < special.expit(m / truth), m, -m)


def test_sigmoid_does_not_overflow_and_equals_scipy() -> None:
    x = np.array([-800.0, -3.0, 0.0, 1e-9, 40.0, 800.0])
    assert cal.sigmoid(x) == pytest.approx(special.expit(x), rel=1e-15)


@pytest.mark.parametrize(("m", "q"), [(0.7, 0.8), (3.0, 0.55), (1e-6, 0.9), (1e6, 0.51)])
def test_temperature_of_one_margin_is_the_logit_of_its_accuracy(m: float, q: float) -> None:
    pairs = np.array([m] * round(1000 * q) + [-m] * round(1000 * (1 - q)))
    assert cal.fit_temperature(pairs) == pytest.approx(m / math.log(q / (1 - q)), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=40))
def test_fitted_temperature_is_the_minimum_that_scipy_finds(values: list[float]) -> None:
    m = np.array(values)
    if m.min() >= -1e-6 or m.mean() <= 1e-6:
        return
    t = cal.fit_temperature(m)
    found = optimize.minimize_scalar(
        lambda log_b: np.logaddexp(0, -np.exp(log_b) * m).mean(), bounds=(-18, 18), method="bounded"
    )
    assert cal.pair_nll(m, t) <= found.fun + 1e-9
    assert float((m * special.expit(-m / t)).mean()) == pytest.approx(0, abs=1e-9 * np.abs(m).mean())


def test_temperature_scales_with_the_scores_and_recovers_what_was_planted() -> None:
    m = margins(40_000, truth=2.5)
    t = cal.fit_temperature(m)
    assert t == pytest.approx(2.5, rel=0.04)
    assert cal.fit_temperature(1000 * m) == pytest.approx(1000 * t, rel=1e-12)


def test_a_model_no_better_than_chance_gets_an_infinite_temperature_and_probability_one_half() -> None:
    m = np.array([1.0, -1.0, -2.0])
    assert cal.fit_temperature(m) == math.inf
    assert cal.pair_nll(m, math.inf) == pytest.approx(math.log(2))
    assert (cal.confidence(m, math.inf)[0] == 0.5).all()


@pytest.mark.parametrize(("m", "words"), [([], "no pairs"), ([1.0, 2.0], "ranked rightly"), ([math.nan], "finite")])
def test_pairs_no_temperature_can_be_fitted_to_are_refused(m: list[float], words: str) -> None:
    with pytest.raises(EvalError, match=words):
        cal.fit_temperature(m)


def test_both_conventions_give_the_same_calibration_error_brier_score_and_likelihood() -> None:
    m = margins(3_000, truth=0.6)
    c, right = cal.confidence(m)
    p, first = cal.symmetrised(m)
    assert cal.ece(c, right, 7, low=0.5) == pytest.approx(cal.ece(p, first, 14), abs=1e-12)
    assert ((c - right) ** 2).mean() == pytest.approx(((p - first) ** 2).mean(), rel=1e-12)
    logs = -np.log(np.where(first == 1, p, 1 - p)).mean()
    assert cal.pair_nll(m) == pytest.approx(logs, rel=1e-12)
    assert cal.brier(p, first).uncertainty == 0.25


def test_a_tie_counts_one_half() -> None:
    c, right = cal.confidence([0.0, 2.0, -1.0])
    assert right.tolist() == [0.5, 1.0, 0.0]
    assert c == pytest.approx([0.5, special.expit(2), special.expit(1)])


def test_reliability_table_and_error_by_hand() -> None:
    p, y = [0.55, 0.58, 0.92, 0.94, 1.0], [1.0, 0.0, 1.0, 1.0, 0.0]
    table = cal.reliability(p, y, 5, low=0.5)
    assert [row.n for row in table] == [2, 0, 0, 0, 3]
    assert (table[0].low, table[0].high) == (0.5, 0.6)
    assert math.isnan(table[1].predicted)
    assert math.isnan(table[1].observed.value)
    assert table[4].predicted == pytest.approx((0.92 + 0.94 + 1.0) / 3)
    assert table[4].observed.value == pytest.approx(2 / 3)
    by_hand = 2 / 5 * abs(0.565 - 0.5) + 3 / 5 * abs(2.86 / 3 - 2 / 3)
    assert cal.ece(p, y, 5, low=0.5) == pytest.approx(by_hand, rel=1e-12)


def test_equal_mass_bins_hold_equal_numbers_and_keep_equal_predictions_together() -> None:
    rng = np.random.default_rng(1)
    p = rng.permutation(np.linspace(0.01, 0.99, 103))
    y = (rng.random(103) < p).astype(float)
    sizes = [row.n for row in cal.reliability(p, y, 10, "mass")]
    assert sum(sizes) == 103
    assert max(sizes) - min(sizes) <= 1
    tied = cal.reliability([0.2] * 6 + [0.9], [0, 1, 0, 0, 0, 0, 1], 3, "mass")
    assert [(row.low, row.high, row.n) for row in tied] == [(0.2, 0.2, 6), (0.9, 0.9, 1)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from(["width", "mass"]), st.integers(0, 99))
def test_brier_decomposition_adds_up_to_the_score_for_any_binning(n: int, bins: int, scheme: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.random(n), rng.integers(0, 2, n).astype(float)
    found = cal.brier(p, y, bins, scheme)  # type: ignore[arg-type]
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert found.score == pytest.approx(((p - y) ** 2).mean(), abs=1e-12)
    assert parts == pytest.approx(found.score, abs=1e-12)


def test_brier_has_nothing_within_bins_where_each_holds_one_prediction() -> None:
    found = cal.brier([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 0], 10)
    assert found.within == pytest.approx(0, abs=1e-15)
    assert found.reliability == pytest.approx((0.1**2 + 0.4**2) / 2)
    assert found.resolution == pytest.approx(0.25**2)


def test_calibrated_predictions_stay_within_chance_and_overconfident_ones_do_not() -> None:
    m = margins(2_000, truth=1.0, seed=3)
    c, right = cal.confidence(m)
    _, most = cal.ece_by_chance(c, 10, low=0.5)
    assert cal.ece(c, right, 10, low=0.5) < most
    c, right = cal.confidence(3 * m)
    _, most = cal.ece_by_chance(c, 10, low=0.5)
    assert cal.ece(c, right, 10, low=0.5) > 2 * most


def test_cross_fitting_fits_each_fold_on_the_others_and_repairs_overconfidence() -> None:
    m, folds = 4 * margins(6_000, seed=5), np.arange(6_000) % 2
    scaled, temperatures = cal.cross_fitted(m, folds.tolist())
    assert temperatures[0] == pytest.approx(cal.fit_temperature(m[folds == 1]))
    assert scaled[folds == 1] == pytest.approx(m[folds == 1] / temperatures[1])
    before, after = (cal.ece(*cal.confidence(x), 10, low=0.5) for x in (m, scaled))
    assert after < 0.2 * before
    assert cal.pair_nll(scaled) < cal.pair_nll(m)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cal.ece([0.5], [0.5, 1.0]), "differ in shape"),
        (lambda: cal.ece([0.3], [1.0], low=0.5), "between 0.5 and 1"),
        (lambda: cal.ece([0.3], [2.0]), "outcomes between"),
        (lambda: cal.reliability([0.3], [1.0], 0), "0 bins"),
        (lambda: cal.reliability([0.3], [1.0], 3, "weight"), "scheme"),  # type: ignore[arg-type]
        (lambda: cal.confidence([1.0], 0.0), "above 0"),
        (lambda: cal.cross_fitted([1.0, -1.0], [0, 0]), "two folds"),
        (lambda: cal.cross_fitted([1.0, -1.0], [0]), "1 folds"),
    ],
)
def test_input_that_means_nothing_is_refused(call, words: str) -> None:
    with pytest.raises(EvalError, match=words):
        call()


def test_no_predictions_give_no_figure() -> None:
    assert math.isnan(cal.ece([], []))
    assert math.isnan(cal.pair_nll([]))
    assert math.isnan(cal.brier([], []).score)
    assert math.isnan(cal.ece_by_chance([])[0])
