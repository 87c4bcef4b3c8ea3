"""Agreement of judges: raw, Cohen's and Fleiss' kappa, Krippendorff's alpha, each with a bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hizala.core.stats.resample import N_BOOT, statistic_interval
from hizala.errors import EvalError
from hizala.records import Estimate

Floats = NDArray[np.float64]
Weights = Literal["none", "linear", "quadratic"]
Metric = Literal["nominal", "ordinal", "interval", "ratio"]
# Below this the judges cannot disagree by chance: everyone says one thing, and chance-corrected agreement is undefined.
_NOTHING = 1e-12


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of R judges; kappa is Cohen's for two judges and Fleiss' for more, NaN where judgments are missing."""

    raw: Estimate
    kappa: Estimate
    alpha: Estimate


def codes(labels: Sequence[Sequence[Hashable | None]]) -> tuple[Floats, tuple[Hashable, ...]]:
    """Labels of R judges as numbers: a table (R, items), NaN for None, and the labels in order of their numbers.

    Numbers keep their order, and so do texts; mixed labels are ordered by their text.
    """
    found = {label for row in labels for label in row if label is not None}
    numeric = all(isinstance(label, int | float) and not isinstance(label, bool) for label in found)
    names = tuple(sorted(found, key=float if numeric else str))  # type: ignore[arg-type]
    number = {name: float(i) for i, name in enumerate(names)}
    width = {len(row) for row in labels}
    if len(width) != 1:
        raise EvalError(f"judges have different numbers of items: {sorted(width)}")
    return np.array([[math.nan if x is None else number[x] for x in row] for row in labels]), names


def raw_agreement(table: ArrayLike) -> float | None:
    """Share of pairs of judges who say the same, over all pairs on all items. None where no item has two judges.

    Args:
        table: (R, items), NaN where a judge has not judged.
    """
    given = _table(table)
    same, pairs = _pairs(given)
    return float(same.sum() / pairs.sum()) if pairs.sum() else None


def cohen_kappa(a: ArrayLike, b: ArrayLike, weights: Weights = "none") -> float | None:
    """Cohen's kappa of two judges, also weighted.

    kappa = 1 - sum w O / sum w E,  O: share of items by both labels, E: product of the judges' own shares
    w = 1 where the labels differ (none), |i - j| (linear), (i - j)^2 (quadratic)

    Args:
        a, b: (n,) labels as numbers; for weights their order and distance count.
        weights: see above.
    Returns:
        At most 1; 0 is chance. None for no items, and where chance leaves no room for disagreement.
    Raises:
        EvalError: unequal lengths, NaN, or unknown weights.
    Source: Cohen 1960, doi:10.1177/001316446002000104, p. 40; weighted: Cohen 1968, doi:10.1037/h0026256, p. 215.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1 or np.isnan(left).any() or np.isnan(right).any():
        raise EvalError("kappa of two judges needs a label from both for every item")
    if weights not in ("none", "linear", "quadratic"):
        raise EvalError(f"unknown weights '{weights}' of kappa", fix="use none, linear or quadratic")
    if not len(left):
        return None
    labels, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    k, n = len(labels), len(left)
    seen = np.bincount(place[:n] * k + place[n:], minlength=k * k).reshape(k, k) / n
    chance = np.outer(seen.sum(axis=1), seen.sum(axis=0))
    apart = np.abs(labels[:, None] - labels[None, :])
    w = {"none": (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
    expected = float((w * chance).sum())
    return 1 - float((w * seen).sum()) / expected if expected > _NOTHING else None


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Fleiss' kappa of m judges, who need not be the same for every item.

    kappa = (P - P_e) / (1 - P_e),  P = mean_i (sum_j n_ij^2 - m) / (m (m - 1)),  P_e = sum_j (share of label j)^2

    Args:
        counts: (items, labels) how many judges gave each label; every row sums to m >= 2.
    Returns:
        At most 1; None for no items, and where all judges give one label.
    Raises:
        EvalError: rows of different sums, or sums below 2: use `krippendorff_alpha`.
    Source: Fleiss 1971, doi:10.1037/h0031619, eqs. 1-7.
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 2 or (n < 0).any():
        raise EvalError("Fleiss' kappa takes a table of counts, items by labels")
    if not len(n):
        return None
    m = float(n[0].sum())
    if m < 2 or (n.sum(axis=1) != m).any():
        fix = "use Krippendorff's alpha, which takes missing judgments"
        raise EvalError("Fleiss' kappa needs the same number of judges, two or more, on every item", fix=fix)
    seen = float(((n**2).sum(axis=1) - m).mean() / (m * (m - 1)))
    chance = float(((n.sum(axis=0) / n.sum()) ** 2).sum())
    return (seen - chance) / (1 - chance) if 1 - chance > _NOTHING else None


def krippendorff_alpha(table: ArrayLike, metric: Metric = "nominal") -> float | None:
    """Krippendorff's alpha: any number of judges, judgments may be missing, labels may be ordered or measured.

    alpha = 1 - D_o / D_e over coincidences o_ck = sum_u n_uc (n_uk - [c = k]) / (m_u - 1), n_c = sum_k o_ck
    D_o = sum o_ck d_ck / n,  D_e = sum n_c n_k d_ck / (n (n - 1)),  d by the metric

    Args:
        table: (R, items), NaN where a judge has not judged; items with one judgment are left out.
        metric: nominal, ordinal, interval or ratio differences of labels.
    Returns:
        At most 1; None where no item has two judgments, or all are alike.
    Raises:
        EvalError: an unknown metric, or negative labels under "ratio".
    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
        https://repository.upenn.edu/asc_papers/43, secs. A-E.
    """
    given = _table(table)
    if metric not in ("nominal", "ordinal", "interval", "ratio"):
        raise EvalError(f"unknown metric '{metric}' of alpha", fix="use nominal, ordinal, interval or ratio")
    given = given[:, (~np.isnan(given)).sum(axis=0) >= 2]
    if not given.shape[1]:
        return None
    labels = np.unique(given[~np.isnan(given)])
    n = np.stack([(given == label).sum(axis=0) for label in labels], axis=1).astype(np.float64)
    m = n.sum(axis=1)
    seen = (n / (m - 1)[:, None]).T @ n - np.diag((n / (m - 1)[:, None]).sum(axis=0))
    own = seen.sum(axis=1)
    apart = _distances(labels, own, metric)
    total = float(own.sum())
    expected = float(own @ apart @ own) / (total - 1)
    return 1 - float((seen * apart).sum()) / expected if expected > _NOTHING else None


def agreement_of(
    table: ArrayLike,
    metric: Metric = "nominal",
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> Agreement:
    """Raw agreement, kappa and alpha of R judges with intervals; items (or whole clusters of them) are resampled.

    Args:
        table: (R, items), R >= 2; NaN where a judge has not judged.
        metric: of alpha; kappa is always nominal.
        clusters: one key an item, of items that belong together (one prompt's pairs).
        level, seed, n_boot: as in `statistic_interval`.
    Returns:
        Agreement; items with fewer than two judgments are unscored in each, and kappa is over items that all judged.
    Raises:
        EvalError: fewer than two judges, or as the three figures.
    Source: Efron 1987, as `statistic_interval`.
    """
    given = _table(table)
    if len(given) < 2:
        raise EvalError("agreement needs two judges")
    labels = np.unique(given[~np.isnan(given)])
    judged = np.asarray((~np.isnan(given)).sum(axis=0))
    enough, full = judged >= 2, judged == len(given)

    def kappa(part: Floats) -> float | None:
        if len(given) == 2:
            return cohen_kappa(part[0], part[1])
        return fleiss_kappa(np.stack([(part == label).sum(axis=0) for label in labels], axis=1))

    def interval(figure: object, usable: NDArray[np.bool_]) -> Estimate:
        def on(drawn: Floats) -> float:
            value = figure(given[:, drawn.astype(np.intp)])  # type: ignore[operator]
            return math.nan if value is None else float(value)

        items = np.where(usable, np.arange(given.shape[1], dtype=np.float64), math.nan)
        return statistic_interval(on, items, clusters=clusters, level=level, seed=seed, n_boot=n_boot)

    return Agreement(
        interval(raw_agreement, enough),
        interval(kappa, full),
        interval(lambda part: krippendorff_alpha(part, metric), enough),
    )


def _table(table: ArrayLike) -> Floats:
    given = np.asarray(table, dtype=np.float64)
    if given.ndim != 2 or np.isinf(given).any():
        raise EvalError("agreement takes a table of finite labels, judges by items")
    return given


def _pairs(given: Floats) -> tuple[Floats, Floats]:
    """Of each item: ordered pairs of judgments that are alike, and all."""
    m = (~np.isnan(given)).sum(axis=0).astype(np.float64)
    labels = np.unique(given[~np.isnan(given)])
    same = np.zeros(given.shape[1])
    for label in labels:
        count = (given == label).sum(axis=0)
        same += count * (count - 1)
    return same, m * (m - 1)


def _distances(labels: Floats, own: Floats, metric: str) -> Floats:
    apart = labels[:, None] - labels[None, :]
    if metric == "nominal":
        return np.asarray(apart != 0, dtype=np.float64)
    if metric == "interval":
        return np.asarray(apart**2, dtype=np.float64)
    if metric == "ratio":
        if (labels < 0).any():
            raise EvalError("ratio differences need labels of at least 0")
        total = labels[:, None] + labels[None, :]
        return np.asarray(np.divide(apart, total, out=np.zeros_like(apart), where=total > 0) ** 2, dtype=np.float64)
    upto = np.cumsum(own)
    place = np.arange(len(own))
    low, high = np.minimum.outer(place, place), np.maximum.outer(place, place)
    # Counts of all labels from one to the other, less half of both ends.
    between = upto[high] - upto[low] + own[low] - (own[:, None] + own[None, :]) / 2
    return np.asarray(np.where(apart == 0, 0.0, between**2), dtype=np.float64)
