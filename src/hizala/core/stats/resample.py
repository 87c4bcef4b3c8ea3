"""Bootstrap intervals for figures that are not means: correlations, calibration errors, harmonic means."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hizala.errors import EvalError
from hizala.records import Estimate

Floats = NDArray[np.float64]
N_BOOT = 999
# Above this share of resamples without a value the rest says little about the figure.
MAX_UNDEFINED = 0.05
_NORMAL = NormalDist()
_NAN = math.nan


def statistic_interval(
    statistic: Callable[..., float],
    *columns: Sequence[float | None] | NDArray[np.generic],
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_boot: int = N_BOOT,
    lifted: bool = False,
) -> Estimate:
    """A figure of rows with a bias-corrected percentile bootstrap interval; whole clusters are drawn.

    bounds = quantiles of the resampled figures at Phi(2 z0 -+ z),  z = Phi^-1((1 + level) / 2)
    z0     = Phi^-1(share of resampled figures below the figure itself, ties half)
    where `lifted`: figure -+ z sd(resampled figures), not below 0

    Args:
        statistic: (columns as float64 arrays) -> the figure; NaN where it is not defined.
        columns: equally long; a row with None or NaN in any of them is "not scored" and left out.
        clusters: one key a row; without it every row is its own cluster.
        level: coverage, (0, 1).
        seed: of the resampling.
        n_boot: resamples.
        lifted: for a figure of at least 0 that chance alone lifts, and lifts again in every resample (a calibration
            error): resamples lie above it and their quantiles would leave it outside. The bounds then say how much
            the measured figure varies, chance included.
    Returns:
        Estimate: n counts clusters, unscored counts rows. Without an interval (bounds NaN) where the figure is not
        defined, there is one cluster, or more than MAX_UNDEFINED of the resamples have no figure; `method` says so.
    Raises:
        EvalError: no columns, unequal lengths, an infinite value, or a level n_boot cannot resolve.
    Source: Efron 1987, "Better Bootstrap Confidence Intervals", eq. 2.3 with a = 0; lifted: Davison and
        Hinkley 1997, sec. 5.2.
    """
    if not 0 < level < 1 or (1 - level) / 2 * n_boot < 1:
        raise EvalError(f"{n_boot} resamples cannot resolve an interval at level {level}", fix="raise n_boot")
    rows, keys, unscored = _rows(columns, clusters)
    order, starts, sizes = _members(keys)
    n = len(sizes)
    if n == 0:
        return Estimate(_NAN, _NAN, _NAN, 0, unscored, "no scored units", level)
    value = float(statistic(*rows))
    if not math.isfinite(value):
        return Estimate(_NAN, _NAN, _NAN, n, unscored, "not defined on these units", level)
    if n == 1:
        return Estimate(value, _NAN, _NAN, 1, unscored, "one unit: no interval", level)
    generator = np.random.default_rng(seed)
    found = np.empty(n_boot)
    for i in range(n_boot):
        which = generator.integers(0, n, n)
        taken = sizes[which]
        # Rows start[which[0]], start[which[0]] + 1, ... of each drawn cluster, one after the other.
        drawn = order[np.repeat(starts[which] - (np.cumsum(taken) - taken), taken) + np.arange(taken.sum())]
        found[i] = statistic(*(row[drawn] for row in rows))
    defined = np.sort(found[np.isfinite(found)])
    if n_boot - len(defined) > MAX_UNDEFINED * n_boot:
        lost = f"{n_boot - len(defined)} of {n_boot} resamples have no figure: no interval"
        return Estimate(value, _NAN, _NAN, n, unscored, lost, level)
    if lifted:
        reach = _NORMAL.inv_cdf((1 + level) / 2) * float(defined.std(ddof=1))
        low, high, kind = max(0.0, value - reach), value + reach, "bootstrap standard error"
    else:
        low, high = _bias_corrected(defined, value, level)
        kind = "bias-corrected bootstrap"
    method = f"{kind}, {n_boot} resamples" + (" of clusters" if clusters is not None else "")
    return Estimate(value, low, high, n, unscored, method, level)


def _rows(
    columns: Sequence[Sequence[float | None] | NDArray[np.generic]], clusters: Sequence[Hashable] | None
) -> tuple[list[Floats], NDArray[np.intp], int]:
    """The scored rows, the number of each one's cluster, and how many rows were not scored."""
    if not columns:
        raise EvalError("a figure needs at least one column")
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    count = len(arrays[0])
    if any(array.shape != (count,) for array in arrays) or (clusters is not None and len(clusters) != count):
        raise EvalError("the columns of a figure, and its clusters, must be equally long")
    if any(np.isinf(array).any() for array in arrays):
        raise EvalError("a value is infinite")
    kept = np.all([~np.isnan(array) for array in arrays], axis=0)
    numbers: dict[Hashable, int] = {}
    given = range(count) if clusters is None else clusters
    keys = np.array([numbers.setdefault(key, len(numbers)) for key in given], dtype=np.intp)
    return [array[kept] for array in arrays], keys[kept], int(count - kept.sum())


def _members(keys: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows in the order of their clusters, and where in it each cluster starts and how many rows it has."""
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    return order, starts, np.diff(starts, append=len(keys))


def _bias_corrected(found: Floats, value: float, level: float) -> tuple[float, float]:
    # Resamples that equal the figure differ from it by rounding; without the tolerance z0 would hang on that.
    hair = 1e-9 * float(found.std())
    n = len(found)
    below = ((found < value - hair).sum() + (found <= value + hair).sum()) / (2 * n)
    z0 = _NORMAL.inv_cdf(min(max(float(below), 0.5 / n), 1 - 0.5 / n))
    z = _NORMAL.inv_cdf((1 + level) / 2)
    low, high = np.quantile(found, [_NORMAL.cdf(2 * z0 - z), _NORMAL.cdf(2 * z0 + z)])
    return float(low), float(high)
