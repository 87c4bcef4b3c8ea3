"""Quality of rankings: Kendall's tau, NDCG, top-1 and best-of-n, each of one list; `None` where it is not defined."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hizala.errors import EvalError

Floats = NDArray[np.float64]


def relevance(ranks: ArrayLike) -> Floats:
    """Ranks (0 is best, ties equal) as relevance: how many different places stand below; the worst has 0."""
    given = np.asarray(ranks)
    levels = np.unique(given)
    return (len(levels) - 1 - np.searchsorted(levels, given)).astype(np.float64)


def kendall_tau(x: ArrayLike, y: ArrayLike, variant: Literal["a", "b"] = "b") -> float | None:
    """Kendall's rank correlation: pairs ordered alike minus pairs ordered oppositely, over all pairs.

    tau_a = (C - D) / (n (n - 1) / 2)
    tau_b = (C - D) / sqrt((pairs not tied in x) (pairs not tied in y))

    Args:
        x, y: (n,) two gradings of the same items.
        variant: "a" counts a tie as no agreement; "b" takes ties out of the denominator, so that 1 can be reached.
    Returns:
        In [-1, 1]; None for fewer than two items, and for tau_b where one side is constant.
    Raises:
        EvalError: unequal lengths or values that are not finite.
    Source: Kendall 1938, "A New Measure of Rank Correlation", p. 82 (a); Kendall 1945, "The Treatment of Ties in
        Ranking Problems", sec. 3 (b).
    """
    a, b = _two(x, y)
    n = len(a)
    if n < 2:
        return None
    upper = np.triu_indices(n, 1)
    left, right = (np.sign(v[:, None] - v[None, :])[upper] for v in (a, b))
    score = float((left * right).sum())
    if variant == "a":
        return score / (n * (n - 1) / 2)
    if variant != "b":
        raise EvalError(f"unknown variant '{variant}' of Kendall's tau", fix="use a or b")
    scale = float(np.abs(left).sum()) * float(np.abs(right).sum())
    return score / math.sqrt(scale) if scale else None


def ndcg(
    scores: ArrayLike, relevance: ArrayLike, k: int | None = None, gain: Literal["exponential", "linear"] = "linear"
) -> float | None:
    """Normalised discounted cumulative gain of the order that scores give.

    DCG@k = sum over places i = 1..k of gain(relevance at i) / log2(i + 1),  NDCG = DCG / DCG of the best order
    gain(r) = r (linear) or 2^r - 1 (exponential); items of equal score count with their mean gain, which is the
    expectation over the orders that the tie leaves open.

    Args:
        scores: (n,) higher stands first.
        relevance: (n,) at least 0; higher is better.
        k: places looked at; None is all.
        gain: see above.
    Returns:
        In [0, 1]; None for an empty list and where no item has any gain.
    Raises:
        EvalError: unequal lengths, a negative relevance, k < 1, or values that are not finite.
    Source: Jarvelin and Kekalainen 2002, doi:10.1145/582415.582418, sec. 2 (linear); Burges et al. 2005, "Learning to
        Rank using Gradient Descent", sec. 5 (exponential); ties: McSherry and Najork 2008, "Computing Information
        Retrieval Performance Measures Efficiently in the Presence of Tied Scores", sec. 2.
    """
    given, grades = _two(scores, relevance)
    if (grades < 0).any() or (k is not None and k < 1):
        raise EvalError("NDCG needs relevance of at least 0 and k of at least 1")
    if gain not in ("exponential", "linear"):
        raise EvalError(f"unknown gain '{gain}' of NDCG", fix="use exponential or linear")
    n = len(given)
    gains = grades if gain == "linear" else np.exp2(grades) - 1
    discount = np.zeros(n)
    top = min(n, n if k is None else k)
    discount[:top] = 1 / np.log2(np.arange(2, top + 2))
    best = float((np.sort(gains)[::-1] * discount).sum())
    if best <= 0:
        return None
    levels, level = np.unique(-given, return_inverse=True)
    sizes = np.bincount(level, minlength=len(levels))
    mean = np.bincount(level, gains, len(levels)) / sizes
    return float((np.repeat(mean, sizes) * discount).sum()) / best


def top1(scores: ArrayLike, relevance: ArrayLike) -> float | None:
    """Probability that the highest score is of a best item; items tied at the top share it. None for one item.

    Args:
        scores, relevance: (n,) as in `ndcg`.
    Raises:
        EvalError: as `ndcg`.
    """
    given, grades = _two(scores, relevance)
    if len(given) < 2 or grades.max() == grades.min():
        return None
    return float((grades[given == given.max()] == grades.max()).mean())


def best_of_n(selector: ArrayLike, value: ArrayLike, n: int) -> float:
    """Expected value of the one of n samples that the selector likes most, from N >= n samples, without drawing.

    E = sum over levels g of the selector, lowest first, of (C(N_<=g, n) - C(N_<g, n)) / C(N, n) * mean value at g

    The expectation is over all subsets of n of the N; among samples that the selector likes equally one is taken at
    random. Over N independent samples it is unbiased for the value of best-of-n.

    Args:
        selector: (N,) the proxy's scores; `value` itself gives the ceiling.
        value: (N,) what is wanted of the selected sample, gold or proxy.
        n: 1 to N.
    Raises:
        EvalError: n outside of 1..N, unequal lengths, or values that are not finite.
    Source: Nakano et al. 2021, arXiv:2112.09332, app. I, ties added.
    """
    given, wanted = _two(selector, value)
    total = len(given)
    if not 1 <= n <= total:
        raise EvalError(f"best of {n} from {total} samples", fix="draw at least n samples for each prompt")
    levels, level = np.unique(given, return_inverse=True)
    sizes = np.bincount(level, minlength=len(levels))
    upto = np.concatenate([[0], np.cumsum(sizes)])
    share = np.array([math.comb(int(c), n) / math.comb(total, n) for c in upto])
    mean = np.bincount(level, wanted, len(levels)) / sizes
    return float((np.diff(share) * mean).sum())


def best_of_n_kl(n: int) -> float:
    """KL divergence of best-of-n from the policy it draws from, nats: log n - (n - 1) / n.

    Args:
        n: at least 1.
    Raises:
        EvalError: n < 1.
    Source: Stiennon et al. 2020, arXiv:2009.01325, app. G.3.
    Differs: it is exact where no two samples are alike to the selector; else it is an upper bound (Beirami et al.
        2024, arXiv:2401.01879, sec. 3), and so it is for a model that repeats itself.
    """
    if n < 1:
        raise EvalError(f"best of {n} samples")
    return math.log(n) - (n - 1) / n


def _two(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise EvalError(f"two gradings of one list differ in shape: {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise EvalError("a grading holds a value that is not finite")
    return a, b
