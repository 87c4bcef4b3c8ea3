"""From several numbers to one: members of an ensemble, steps of a response, attributes of a grade. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hizala.errors import ConfigError, nearest

Array = NDArray[np.float64]
# How members' scores become one: all but "mean" guard against a member that errs upward.
COMBINATIONS = ("mean", "minimum", "mean-std", "mean-variance")
# How the probabilities of a response's steps become its score.
AGGREGATIONS = ("min", "product", "last", "mean")


def combine(members: Array, how: str, lam: float | None = None) -> Array:
    """One score from those of M members.

    mean           mu = (1/M) sum_m r_m
    minimum        min_m r_m
    mean-std       mu - lam * sqrt(v),  v = (1/M) sum_m (r_m - mu)^2
    mean-variance  mu - lam * v

    Args:
        members: (..., M) scores on one scale; NaN where a member could not score.
        how: one of `COMBINATIONS`.
        lam: >= 0, weight of the members' disagreement, for the last two; None for the others.
    Returns:
        (...); NaN where any member is NaN, for a score of fewer members is another score.
    Raises:
        ConfigError: an unknown way, or a lam that lacks, is negative or has no effect.
    Source: Coste et al. 2023, arXiv:2310.02743, sec. 3.2: mean, worst-case, and uncertainty-weighted optimisation,
        which is mean-variance. mean-std is the same in the scores' own unit.
    """
    check_combination(how, lam)
    scores = np.asarray(members, dtype=np.float64)
    if how == "minimum":
        least: Array = scores.min(axis=-1)
        return least
    mean: Array = scores.mean(axis=-1)
    if how == "mean":
        return mean
    # Equal members have no disagreement, whatever the rounding of their mean.
    spread = np.where(np.ptp(scores, axis=-1) == 0, 0.0, scores.var(axis=-1))
    spread = np.where(np.isnan(mean), np.nan, spread)
    return mean - float(lam or 0.0) * (np.sqrt(spread) if how == "mean-std" else spread)


def check_combination(how: str, lam: float | None) -> None:
    """Raise ConfigError unless `combine` takes these settings."""
    if how not in COMBINATIONS:
        known = ", ".join(COMBINATIONS)
        raise ConfigError(f"unknown combination '{how}'{nearest(how, COMBINATIONS)}", fix=f"known: {known}")
    if how in ("mean", "minimum") and lam is not None:
        raise ConfigError(f"lam has no effect on '{how}'", fix="remove it, or choose mean-std or mean-variance")
    if how not in ("mean", "minimum") and (lam is None or lam < 0):
        raise ConfigError(f"'{how}' needs lam, the weight of the members' disagreement, at least 0")


def aggregate(probabilities: Sequence[float] | Array, how: str) -> float:
    """A response's score in [0, 1] from its steps' probabilities of being right.

    min: the weakest step.  product: all steps right, were they independent.  last: the last step.  mean: over steps.

    Args:
        probabilities: (S,) in [0, 1], in the order of the steps.
        how: one of `AGGREGATIONS`.
    Returns:
        The score; NaN for a response without steps.
    Raises:
        ConfigError: an unknown way.
    Source: Lightman et al. 2023, arXiv:2305.20050, app. F (product, minimum); Wang et al. 2023, arXiv:2312.08935,
        sec. 3.4 (minimum); Snell et al. 2024, arXiv:2408.03314, sec. 5.1 (last).
    """
    check_aggregation(how)
    steps = np.asarray(probabilities, dtype=np.float64)
    if not len(steps):
        return float("nan")
    if how == "last":
        return float(steps[-1])
    return float(steps.min() if how == "min" else steps.prod() if how == "product" else steps.mean())


def check_aggregation(how: str) -> None:
    """Raise ConfigError unless `aggregate` knows the way."""
    if how not in AGGREGATIONS:
        known = ", ".join(AGGREGATIONS)
        raise ConfigError(f"unknown aggregation '{how}'{nearest(how, AGGREGATIONS)}", fix=f"known: {known}")
