"""How good a benchmark is: how many models it tells apart, and whether people agree where it does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from hizala.core.stats.association import correlation
from hizala.errors import EvalError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings of M models: (M,) value, low, high, and mean and variance of the resampled values."""

    value: Floats
    low: Floats
    high: Floats
    mean: Floats
    variance: Floats


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures of a benchmark against people.

    Attributes:
        pairs, overlapping: pairs of models, and those whose intervals overlap.
        strict: share of pairs that both order alike by their values.
        with_confidence: over pairs that people separate: 1 the same order, 0.5 the benchmark's intervals overlap.
        spearman: rank correlation of the values.
        log_loss, brier: of the benchmark's P(a < b) for what people say of a and b.
    """

    pairs: int
    overlapping: int
    strict: float
    with_confidence: float
    spearman: float
    log_loss: float
    brier: float


def overlapping(low: Floats, high: Floats) -> int:
    """Pairs of intervals of which the one that starts first ends after the other starts.

    Touching ends are no overlap; a model without spread (the baseline) overlaps the interval it stands in.
    """
    order = np.argsort(low, kind="stable")
    i, j = np.triu_indices(len(low), 1)
    return int((low[order][j] < high[order][i]).sum())


def quality(benchmark: Ratings, people: Ratings) -> Quality:
    """Separability, agreement and calibration of a benchmark against ratings by people.

    P(a < b) = Phi((mean_b - mean_a) / sqrt(var_a + var_b)) from the benchmark's resampled values

    Args:
        benchmark, people: of the same models in the same order.
    Raises:
        EvalError: fewer than two models.
    Source: Li et al. 2024, arXiv:2406.11939, sec. 3 (separability, agreement with confidence, Brier score).
    Differs: the notebook that published these figures counts two models of equal intervals as one. As there, a
        model without spread overlaps for separability and does not for agreement.
    """
    count = len(benchmark.value)
    if count < 2 or len(people.value) != count:
        raise EvalError(f"the quality of a benchmark needs two models that people rated too, got {count}")
    same, total, credit = 0, 0, 0.0
    losses, squares = [], []
    tiny = float(np.finfo(np.float64).eps)
    for a, b in combinations(range(count), 2):
        below, told = benchmark.value[a] < benchmark.value[b], people.value[a] < people.value[b]
        above, said = benchmark.value[a] > benchmark.value[b], people.value[a] > people.value[b]
        same += int((below and told) or (above and said))
        spread = math.sqrt(benchmark.variance[a] + benchmark.variance[b])
        shift = float(benchmark.mean[b] - benchmark.mean[a])
        p = float(ndtr(shift / spread)) if spread > 0 else 0.5 + 0.5 * float(np.sign(shift))
        squares.append((p - told) ** 2)
        p = min(max(p, tiny), 1 - tiny)
        losses.append(-math.log(p if told else 1 - p))
        if _shared(people, a, b):
            continue
        total += 1
        if _shared(benchmark, a, b):
            credit += 0.5
        else:
            credit += float((benchmark.low[a] < benchmark.low[b]) == (people.low[a] < people.low[b]))
    order = correlation(benchmark.value, people.value, "spearman")
    pairs = count * (count - 1) // 2
    return Quality(
        pairs,
        overlapping(benchmark.low, benchmark.high),
        same / pairs,
        credit / total if total else math.nan,
        math.nan if order is None else order,
        math.fsum(losses) / pairs,
        math.fsum(squares) / pairs,
    )


def _shared(ratings: Ratings, a: int, b: int) -> bool:
    low, high = max(ratings.low[a], ratings.low[b]), min(ratings.high[a], ratings.high[b])
    return bool(high - low > 0)
