"""Correlation, and partial correlation: how two measures go together once a third is held fixed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hizala.core.stats.resample import N_BOOT, statistic_interval
from hizala.errors import EvalError
from hizala.records import Estimate

Floats = NDArray[np.float64]
Method = Literal["pearson", "spearman"]
# A residual this small beside its variable is rounding: the controls explain the variable wholly.
_EXPLAINED = 1e-10


def average_ranks(x: ArrayLike) -> Floats:
    """Ranks from 1, equal values sharing the mean of their places."""
    values = np.asarray(x, dtype=np.float64)
    _, place, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return np.asarray((last - (sizes - 1) / 2)[place], dtype=np.float64)


def correlation(x: ArrayLike, y: ArrayLike, method: Method = "pearson") -> float | None:
    """Pearson's correlation, or Spearman's: Pearson's of the ranks.

    Args:
        x, y: (n,).
        method: see above.
    Returns:
        In [-1, 1]; None where one side is constant or there are fewer than two.
    Raises:
        EvalError: unequal lengths, values that are not finite, or an unknown method.
    Source: Spearman 1904, "The Proof and Measurement of Association between Two Things", p. 76.
    """
    return partial_correlation(x, y, (), method)


def partial_correlation(
    x: ArrayLike, y: ArrayLike, controls: Sequence[ArrayLike], method: Method = "pearson"
) -> float | None:
    """Correlation of x and y once what the controls explain linearly of each is taken away.

    r = Pearson's correlation of the residuals of x and of y after least squares on (1, controls)

    Args:
        x, y: (n,).
        controls: columns of (n,); none gives the plain correlation.
        method: "spearman" takes ranks of every column first.
    Returns:
        In [-1, 1]; None where nothing of one side is left, or fewer than (controls + 2) rows stand.
    Raises:
        EvalError: as `correlation`.
    Source: Fisher 1924, "The Distribution of the Partial Correlation Coefficient", p. 329.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (x, y, *controls)]
    n = len(columns[0])
    if any(column.shape != (n,) for column in columns) or not all(np.isfinite(column).all() for column in columns):
        raise EvalError("a correlation needs columns of equal length with finite values")
    if method not in ("pearson", "spearman"):
        raise EvalError(f"unknown method '{method}' of correlation", fix="use pearson or spearman")
    if n < len(controls) + 2:
        return None
    if method == "spearman":
        columns = [average_ranks(column) for column in columns]
    centred = np.stack([column - column.mean() for column in columns], axis=1)
    sides, given = centred[:, :2], centred[:, 2:]
    spread = np.sqrt((sides**2).sum(axis=0))
    # An exact zero spread never survives the mean's rounding, hence the scale of the values themselves.
    scale = np.sqrt(n) * np.maximum(np.abs(np.stack(columns[:2])).max(axis=1), 1e-300)
    if (spread <= _EXPLAINED * scale).any():
        return None
    if given.shape[1]:
        sides = sides - given @ np.linalg.lstsq(given, sides, rcond=None)[0]
        left = np.sqrt((sides**2).sum(axis=0))
        if (left <= _EXPLAINED * spread).any():
            return None
        spread = left
    return float(np.clip((sides[:, 0] @ sides[:, 1]) / (spread[0] * spread[1]), -1.0, 1.0))


def correlation_interval(
    x: ArrayLike,
    y: ArrayLike,
    controls: Sequence[ArrayLike] = (),
    method: Method = "spearman",
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> Estimate:
    """`partial_correlation` (plain without controls) with a bootstrap interval; see `resample.statistic_interval`.

    Args:
        x, y, controls, method: as in `partial_correlation`; a row with None or NaN anywhere is "not scored".
        clusters, level, seed, n_boot: as in `statistic_interval`.
    Raises:
        EvalError: as both.
    """

    def figure(*columns: Floats) -> float:
        found = partial_correlation(columns[0], columns[1], columns[2:], method)
        return math.nan if found is None else found

    columns = [np.asarray(column, dtype=np.float64) for column in (x, y, *controls)]
    return statistic_interval(figure, *columns, clusters=clusters, level=level, seed=seed, n_boot=n_boot)
