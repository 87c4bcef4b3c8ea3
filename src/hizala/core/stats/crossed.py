"""Intervals for a mean over units measured under several seeds: both the units and the seeds are a sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from hizala.errors import EvalError
from hizala.records import Estimate

_NAN = math.nan


def crossed_interval(values: NDArray[np.float64], level: float = 0.95) -> Estimate:
    """Mean of a table of S seeds by P units with an interval for new seeds and new units.

    y[s, p] = mu + a[s] + b[p] + e[s, p], all random
    V = (max(MS_a, MS_e) + max(MS_b, MS_e) - MS_e) / (S P), the unbiased variance of the mean with no component below 0
    bounds = mean -+ t sqrt(V), degrees of freedom by Satterthwaite over the mean squares that stand in V

    Few seeds are taken for what they are: with three the interval is wide where seeds differ, and no wider than that
    of the units where they do not. One seed has the interval of its units alone, and `method` says so; one unit (a
    figure that has one value a seed) has that of the seeds.

    Args:
        values: (S, P); a unit with a NaN under any seed is left out of all.
        level: coverage, (0, 1).
    Returns:
        Estimate: n counts units used, unscored those left out. Bounds are NaN for a single value.
    Raises:
        EvalError: not a table, an infinite value, or a level outside (0, 1).
    Source: Searle, Casella and McCulloch 1992, "Variance Components", sec. 4.2 (two-way crossed, no replication);
        Satterthwaite 1946, doi:10.2307/3002019, eq. 17.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not 0 < level < 1:
        raise EvalError(f"crossed_interval takes a table and a level between 0 and 1, got {table.shape} and {level}")
    if np.isinf(table).any():
        raise EvalError("a value is infinite")
    whole = ~np.isnan(table).any(axis=0)
    unscored, table = int((~whole).sum()), table[:, whole]
    seeds, units = table.shape
    if table.size == 0:
        return Estimate(_NAN, _NAN, _NAN, 0, unscored, "no scored units", level)
    mean = float(table.mean())
    if table.size == 1:
        return Estimate(mean, _NAN, _NAN, 1, unscored, "one value: no interval", level)
    if seeds == 1 or units == 1:
        flat = table.ravel()
        parts = [(float(flat.var(ddof=1)), len(flat) - 1)]
        method = "Student t over units, one seed" if seeds == 1 else f"Student t over {seeds} seeds"
    else:
        parts = _mean_squares(table)
        method = f"Student t over {seeds} seeds crossed with units"
    variance = sum(square for square, _ in parts) / table.size
    if variance <= 0:
        return Estimate(mean, mean, mean, units, unscored, f"all {table.size} values equal", level)
    spread = sum(square**2 / degrees for square, degrees in parts)
    degrees = sum(square for square, _ in parts) ** 2 / spread
    half = float(student.ppf((1 + level) / 2, degrees)) * math.sqrt(variance)
    return Estimate(mean, mean - half, mean + half, units, unscored, method, level)


def _mean_squares(table: NDArray[np.float64]) -> list[tuple[float, int]]:
    """The mean squares whose sum over S P is the variance of the mean, with their degrees of freedom."""
    seeds, units = table.shape
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns[None, :] + table.mean()
    by_seed, by_unit = units * float(rows.var(ddof=1)), seeds * float(columns.var(ddof=1))
    error = float((rest**2).sum()) / ((seeds - 1) * (units - 1))
    if by_seed <= error and by_unit <= error:
        return [(error, (seeds - 1) * (units - 1))]
    if by_seed <= error:
        return [(by_unit, units - 1)]
    if by_unit <= error:
        return [(by_seed, seeds - 1)]
    # max + max - error = by_seed + (by_unit - error): the difference of two large mean squares has the units' freedom.
    return [(by_seed, seeds - 1), (by_unit - error, units - 1)]
