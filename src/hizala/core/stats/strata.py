"""Figures made of parts of different size: weighted means of shares or of means, each part with its own spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hizala.core.stats.bootstrap import wilson
from hizala.errors import EvalError
from hizala.records import Estimate

_NORMAL = NormalDist()
_NAN = math.nan


def stratified_mean(strata: Sequence[NDArray[np.float64]], level: float = 0.95) -> Estimate:
    """Mean of the parts' means with a normal interval: every part counts alike, whatever its size.

    value = mean_d m_d,  variance = sum_d s_d^2 / n_d / D^2

    Args:
        strata: values of each of the D parts, NaN for not scored; parts must be independent.
        level: coverage, (0, 1).
    Returns:
        Estimate: n counts scored values; without an interval where a part has fewer than two.
    Raises:
        EvalError: no parts, or a part without a scored value.
    Source: Cochran 1977, "Sampling Techniques", sec. 5.3.
    """
    kept = [part[~np.isnan(part)] for part in strata]
    if not kept or any(len(part) == 0 for part in kept):
        raise EvalError("a mean over parts needs a scored value in each of them")
    value = float(np.mean([part.mean() for part in kept]))
    n = sum(map(len, kept))
    unscored = sum(map(len, strata)) - n
    if any(len(part) < 2 for part in kept):
        return Estimate(value, _NAN, _NAN, n, unscored, "a part has one value: no interval", level)
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in kept)) / len(kept)
    half = _NORMAL.inv_cdf((1 + level) / 2) * error
    return Estimate(value, value - half, value + half, n, unscored, f"normal, {len(kept)} parts of equal weight", level)


def weighted_shares(
    shares: Sequence[float], sizes: Sequence[int], weights: Sequence[float], level: float = 0.95, unscored: int = 0
) -> Estimate:
    """Weighted mean of independent shares, with bounds that Wilson's bounds of the parts give.

    value = sum w p / sum w
    low   = value - sqrt(sum (w (p - l))^2) / sum w,  high = value + sqrt(sum (w (u - p))^2) / sum w
    l, u  = Wilson's bounds of each share

    Args:
        shares: (k,) in [0, 1].
        sizes: (k,) trials behind each.
        weights: (k,) at least 0, of any sum above 0.
        level: coverage, (0, 1).
        unscored: trials without an outcome.
    Returns:
        Estimate; n is the sum of sizes.
    Raises:
        EvalError: unequal lengths, weights that sum to 0, or a share without trials.
    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures", doi:10.1002/sim.3095,
        sec. 2 (recovery of variances), for a weighted sum.
    """
    if not len(shares) == len(sizes) == len(weights) or not sum(weights) > 0 or min(sizes, default=0) < 1:
        raise EvalError("a weighted share needs as many sizes of at least 1 and weights as shares")
    bounds = [wilson(p * n, n, level) for p, n in zip(shares, sizes, strict=True)]
    total = sum(weights)
    value = sum(w * p for w, p in zip(weights, shares, strict=True)) / total
    down = math.hypot(*(w * (p - b.low) for w, p, b in zip(weights, shares, bounds, strict=True))) / total
    up = math.hypot(*(w * (b.high - p) for w, p, b in zip(weights, shares, bounds, strict=True))) / total
    return Estimate(
        value, value - down, value + up, sum(sizes), unscored, "Wilson bounds of the parts, combined", level
    )


def mean_of(parts: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates, whatever they are of, with bounds that theirs give.

    value = mean v_k,  low = value - sqrt(sum (v_k - l_k)^2) / K,  high = value + sqrt(sum (u_k - v_k)^2) / K

    Args:
        parts: at least one, all at one level; without an interval of a part the mean has none.
    Raises:
        EvalError: no parts, or parts at different levels.
    Source: Zou and Donner 2008, doi:10.1002/sim.3095, sec. 2.
    """
    if not parts or len({part.level for part in parts}) > 1:
        raise EvalError("a mean of estimates needs some, all at one level")
    count = len(parts)
    value = sum(part.value for part in parts) / count
    down = math.hypot(*(part.value - part.low for part in parts)) / count
    up = math.hypot(*(part.high - part.value for part in parts)) / count
    n, unscored = sum(part.n for part in parts), sum(part.unscored for part in parts)
    method = "bounds of the parts, combined"
    return Estimate(value, value - down, value + up, n, unscored, method, parts[0].level)
