"""Calibration of probabilities, and of the Bradley-Terry probabilities of a reward model.

A pair always stands as (chosen, rejected), so "the first wins" is always true and says nothing. Two conventions
repair this, and both are used:

confidence   c = max(p, 1 - p) = sigmoid(|m| / T) in [1/2, 1] against "the model ranks the pair as people did" (a tie
             is one half), m = score(chosen) - score(rejected). For the reliability table and the calibration error.
symmetrised  each pair in both orders, weight one half each: p = sigmoid(+-m / T) in [0, 1] against "the first of the
             shown order is the chosen one". For the Brier decomposition, whose base rate is then 1/2 for any model.

Negative log-likelihood and Brier score are the same under both. The calibration error over M bins of equal width on
[1/2, 1] equals the symmetrised one over 2 M bins of equal width on [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hizala.core.stats.bootstrap import wilson
from hizala.errors import EvalError
from hizala.records import Estimate

Floats = NDArray[np.float64]
Scheme = Literal["width", "mass"]
_MAX_STEPS = 200


def sigmoid(x: ArrayLike) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    x = np.asarray(x, dtype=np.float64)
    tail = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, tail) / (1.0 + tail))


def confidence(margins: ArrayLike, temperature: float = 1.0) -> tuple[Floats, Floats]:
    """Pairs in the confidence convention.

    Args:
        margins: (P,) score(chosen) - score(rejected), nats.
        temperature: T > 0 that the margins are divided by.
    Returns:
        (P,) confidence in [1/2, 1], and (P,) 1 where the pair is ranked rightly, 1/2 at a tie, else 0.
    Raises:
        EvalError: a margin that is not finite, or a temperature that is not above 0.
    """
    m = _margins(margins, temperature)
    return sigmoid(np.abs(m)), 0.5 * (1.0 + np.sign(m))


def symmetrised(margins: ArrayLike, temperature: float = 1.0) -> tuple[Floats, Floats]:
    """Pairs in the symmetrised convention: (2P,) probability that the first wins, and whether it did, both orders.

    Args:
        margins, temperature: as in `confidence`.
    Raises:
        EvalError: as `confidence`.
    """
    m = _margins(margins, temperature)
    return sigmoid(np.concatenate([m, -m])), np.repeat([1.0, 0.0], len(m))


def pair_nll(margins: ArrayLike, temperature: float = 1.0) -> float:
    """Mean of -log sigmoid(m / T), nats a pair; log 2 is chance, NaN without pairs.

    Raises:
        EvalError: as `confidence`.
    Source: Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1.
    """
    m = _margins(margins, temperature)
    return float(np.logaddexp(0.0, -m).mean()) if len(m) else math.nan


@dataclass(frozen=True, slots=True)
class Bin:
    """One row of a reliability table: predictions in [low, high], their mean, and what came true.

    Attributes:
        low, high: the bin's bounds for equal width; its lowest and highest prediction for equal mass.
        n: predictions in it.
        predicted: their mean; NaN in an empty bin.
        observed: mean outcome with its Wilson interval.
    """

    low: float
    high: float
    n: int
    predicted: float
    observed: Estimate


def reliability(
    p: ArrayLike, y: ArrayLike, bins: int = 10, scheme: Scheme = "width", low: float = 0.0, level: float = 0.95
) -> tuple[Bin, ...]:
    """Reliability table: predictions in bins, each with the share that came true.

    Args:
        p: (N,) predicted probabilities in [low, 1].
        y: (N,) outcomes in [0, 1]: 1 came true, 0 did not, 1/2 a tie.
        bins: number of bins, at least 1.
        scheme: "width": [low, 1] in bins of equal width, the upper bound of the last one included; "mass": sorted
            predictions in bins of equal number, as far as equal predictions, which stay together, allow.
        low: the lowest possible prediction: 0, or 1/2 for confidences.
        level: coverage of the Wilson intervals.
    Raises:
        EvalError: unequal lengths, a value outside its range, or no bin.
    Source: Guo et al. 2017, arXiv:1706.04599, sec. 2; equal mass: Nguyen and O'Connor 2015, arXiv:1508.05154, sec. 4.
    """
    p, y = _checked(p, y, low)
    where = _bin_of(p, bins, scheme, low)
    rows = []
    for i in range(bins):
        inside = where == i
        n = int(inside.sum())
        if scheme == "width":
            edges = low + (1 - low) * i / bins, low + (1 - low) * (i + 1) / bins
        elif n:
            edges = float(p[inside].min()), float(p[inside].max())
        else:
            continue
        mean = float(p[inside].mean()) if n else math.nan
        rows.append(Bin(*edges, n, mean, wilson(float(y[inside].sum()), n, level)))
    return tuple(rows)


def ece(p: ArrayLike, y: ArrayLike, bins: int = 10, scheme: Scheme = "width", low: float = 0.0) -> float:
    """Expected calibration error: mean distance between predicted and observed, over bins weighted by size.

    ECE = sum_b n_b / N * |mean p in b - mean y in b|

    Args:
        p, y, bins, scheme, low: as in `reliability`.
    Returns:
        In [0, 1]; NaN without predictions. It is above zero by chance even where calibration is perfect: see
        `ece_by_chance`.
    Raises:
        EvalError: as `reliability`.
    Source: Naeini et al. 2015, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", sec. 2 (equal mass);
        Guo et al. 2017, arXiv:1706.04599, eq. 3 (equal width).
    """
    p, y = _checked(p, y, low)
    if len(p) == 0:
        return math.nan
    return float(np.abs(np.bincount(_bin_of(p, bins, scheme, low), p - y, bins)).sum() / len(p))


def ece_by_chance(
    p: ArrayLike, bins: int = 10, scheme: Scheme = "width", low: float = 0.0, seed: int = 0, draws: int = 500
) -> tuple[float, float]:
    """What `ece` would show were these predictions perfectly calibrated: mean, and 95 % quantile, of drawn outcomes.

    Args:
        p, bins, scheme, low: as in `reliability`.
        seed: of the outcomes, drawn with probability p.
        draws: how often.
    Returns:
        (mean, 95 % quantile); a measured error below the quantile is no sign of miscalibration.
    Raises:
        EvalError: as `reliability`.
    Source: Vaicenavicius et al. 2019, arXiv:1902.06977, sec. 4 (consistency resampling).
    """
    p, _ = _checked(p, p, low)
    if len(p) == 0:
        return math.nan, math.nan
    generator, where = np.random.default_rng(seed), _bin_of(p, bins, scheme, low)
    found = np.empty(draws)
    for i in range(draws):
        found[i] = np.abs(np.bincount(where, p - (generator.random(len(p)) < p), bins)).sum() / len(p)
    return float(found.mean()), float(np.quantile(found, 0.95))


@dataclass(frozen=True, slots=True)
class Brier:
    """Brier score and its parts: score = reliability - resolution + uncertainty + within.

    Attributes:
        score: mean of (p - y)^2.
        reliability: sum_b n_b / N (mean p - mean y)^2: distance from calibration; smaller is better.
        resolution: sum_b n_b / N (mean y - base rate)^2: how far outcomes differ between bins; larger is better.
        uncertainty: variance of the outcomes about their base rate.
        within: what binning leaves over: variance of p, and covariance of p and y twice, within bins.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier(p: ArrayLike, y: ArrayLike, bins: int = 10, scheme: Scheme = "width", low: float = 0.0) -> Brier:
    """Brier score with its decomposition over bins, exact for any binning.

    Args:
        p, y, bins, scheme, low: as in `reliability`.
    Returns:
        Brier; NaN without predictions.
    Raises:
        EvalError: as `reliability`.
    Source: Murphy 1973, "A New Vector Partition of the Probability Score", eq. 9; the term within bins: Stephenson et
        al. 2008, "Two Extra Components in the Brier Score Decomposition", eq. 11.
    """
    p, y = _checked(p, y, low)
    if len(p) == 0:
        return Brier(math.nan, math.nan, math.nan, math.nan, math.nan)
    where = _bin_of(p, bins, scheme, low)
    n = np.maximum(np.bincount(where, minlength=bins), 1)
    predicted, observed = np.bincount(where, p, bins) / n, np.bincount(where, y, bins) / n
    base = y.mean()
    spread, together = p - predicted[where], (p - predicted[where]) * (y - observed[where])
    return Brier(
        float(((p - y) ** 2).mean()),
        float(((predicted - observed)[where] ** 2).mean()),
        float(((observed - base)[where] ** 2).mean()),
        float(((y - base) ** 2).mean()),
        float((spread**2).mean() - 2 * together.mean()),
    )


def fit_temperature(margins: ArrayLike) -> float:
    """The temperature that makes Bradley-Terry probabilities of these pairs most likely.

    T = 1 / b,  b = argmin over b >= 0 of mean log(1 + exp(-b m)): convex in b, solved by Newton's method that falls
    back to bisection of the bracket where a step would leave it.

    Args:
        margins: (P,) score(chosen) - score(rejected) of pairs that the model was not trained on.
    Returns:
        T > 0; infinity where no positive scale is better than chance (the mean margin is not above 0).
    Raises:
        EvalError: no pairs, a margin that is not finite, or pairs all ranked rightly: then the likelihood rises for
            ever as T falls to 0, and no temperature can be fitted.
    Source: Guo et al. 2017, arXiv:1706.04599, sec. 4.2 (temperature scaling), for two classes.
    """
    m = _margins(margins, 1.0)
    if len(m) == 0:
        raise EvalError("a temperature cannot be fitted to no pairs")
    if m.mean() <= 0:
        return math.inf
    if m.min() >= 0:
        raise EvalError(
            f"all {len(m)} pairs are ranked rightly: every smaller temperature is more likely",
            fix="fit on more pairs, or on harder ones",
        )
    scale = float(np.abs(m).mean())
    m = m / scale  # the solution is then of the order of one whatever the scores' unit
    low, high = 0.0, 1.0
    while _slope(m, high) < 0:
        low, high = high, 2 * high
    b = 0.5 * (low + high)
    for _ in range(_MAX_STEPS):
        slope = _slope(m, b)
        low, high = (b, high) if slope < 0 else (low, b)
        q = sigmoid(-b * m)
        curve = float((m * m * q * (1 - q)).mean())
        step = b - slope / curve if curve > 0 else math.inf
        if not low < step < high:
            step = 0.5 * (low + high)
        if abs(step - b) <= 1e-14 * b:
            break
        b = step
    return scale / b


def cross_fitted(margins: ArrayLike, folds: Sequence[int]) -> tuple[Floats, dict[int, float]]:
    """Margins divided by a temperature fitted on the pairs of the other folds.

    Args:
        margins: (P,).
        folds: (P,) number of each pair's fold; pairs of one prompt belong in one fold.
    Returns:
        (P,) scaled margins, and the temperature each fold was divided by.
    Raises:
        EvalError: fewer than two folds, unequal lengths, or as `fit_temperature`.
    Source: Guo et al. 2017, arXiv:1706.04599, sec. 4.2, cross-fitted.
    """
    m, fold = _margins(margins, 1.0), np.asarray(folds)
    if fold.shape != m.shape:
        raise EvalError(f"{len(m)} margins but {len(fold)} folds")
    numbers = sorted(set(fold.tolist()))
    if len(numbers) < 2:
        raise EvalError("cross-fitting needs pairs in at least two folds", fix="give more prompts")
    scaled, temperatures = np.empty_like(m), {}
    for number in numbers:
        temperatures[int(number)] = fit_temperature(m[fold != number])
        scaled[fold == number] = m[fold == number] / temperatures[int(number)]
    return scaled, temperatures


def _slope(m: Floats, b: float) -> float:
    return float(-(m * sigmoid(-b * m)).mean())


def _margins(margins: ArrayLike, temperature: float) -> Floats:
    m = np.asarray(margins, dtype=np.float64)
    if m.ndim != 1 or not np.isfinite(m).all():
        raise EvalError("margins must be one-dimensional and finite")
    if not temperature > 0:
        raise EvalError(f"a temperature must be above 0, got {temperature}")
    return m / temperature


def _checked(p: ArrayLike, y: ArrayLike, low: float) -> tuple[Floats, Floats]:
    p, y = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise EvalError(f"predictions and outcomes differ in shape: {p.shape} and {y.shape}")
    if not ((p >= low) & (p <= 1)).all() or not ((y >= 0) & (y <= 1)).all():
        raise EvalError(f"predictions lie between {low:g} and 1, outcomes between 0 and 1")
    return p, y


def _bin_of(p: Floats, bins: int, scheme: Scheme, low: float) -> NDArray[np.intp]:
    """The bin of each prediction."""
    if bins < 1:
        raise EvalError(f"a reliability table of {bins} bins")
    if scheme == "width":
        return np.minimum(((p - low) / (1 - low) * bins).astype(np.intp), bins - 1)
    if scheme != "mass":
        raise EvalError(f"unknown scheme of bins '{scheme}'", fix="use width or mass")
    # Equal predictions share the bin of their first place, so that the table does not hang on the order of rows.
    first = np.searchsorted(np.sort(p), p, side="left")
    return np.asarray(first * bins // max(len(p), 1), dtype=np.intp)
