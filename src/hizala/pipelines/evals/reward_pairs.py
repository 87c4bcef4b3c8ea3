"""What a reward model says of held-out pairs: accuracy by bucket, calibration before and after scaling, length bias."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.core.stats import calibration as cal
from hizala.core.stats import mean_interval
from hizala.core.stats.association import correlation_interval
from hizala.core.stats.resample import statistic_interval
from hizala.errors import EvalError
from hizala.pipelines.evals.reward_rows import PairRow, Scored, buckets, centred, folds
from hizala.pipelines.evals.suite import Measure, row
from hizala.records import Estimate, Finding

Floats = NDArray[np.float64]
BINS = 10
SYMMETRIC_BINS = 20


def accuracy_measures(rows: Sequence[PairRow]) -> dict[str, Measure]:
    """Per pair: ranked rightly (a tie is one half), and the negative log-likelihood; each bucket's accuracy."""
    if not rows:
        return {}
    margins, clusters = _margins(rows), [r.scored.prompt for r in rows]
    right = np.where(np.isnan(margins), np.nan, 0.5 * (1 + np.sign(margins)))
    measures = {
        "reward/accuracy": _measure(right, clusters),
        "reward/nll": _measure(_nll(margins), clusters),
    }
    for bucket in buckets(rows):
        inside = [clusters[i] for i in np.flatnonzero(bucket.members)]
        measures[f"reward/accuracy.{bucket.name}"] = _measure(right[bucket.members], inside)
    return measures


def bucket_table(rows: Sequence[PairRow], seed: int = 0) -> list[dict[str, Any]]:
    """The buckets of the pairs with bounds and accuracy, as plain values for a report."""
    measures = accuracy_measures(rows)
    told = []
    for bucket in buckets(rows):
        measure = measures[f"reward/accuracy.{bucket.name}"]
        found = mean_interval(measure.values, measure.clusters, seed=seed)
        told.append({**bucket.told, "pairs": int(bucket.members.sum()), "accuracy": row(found)})
    return told


def calibration(
    rows: Sequence[PairRow], name: str, seed: int = 0
) -> tuple[dict[str, Estimate], dict[str, Any], list[Finding]]:
    """Calibration of sigmoid(margin) as it is, and with a temperature fitted on the other half of the prompts.

    The pairs are divided in two by prompt; each half is scaled by the temperature of the other, so that every scaled
    figure is of pairs the temperature has not seen. `calibration` states the conventions.

    Returns:
        (figures, the reliability tables as plain values, findings).
    """
    margins, clusters = _margins(rows), [r.scored.prompt for r in rows]
    figures, tables = _one_calibration(margins, clusters, "", seed)
    findings: list[Finding] = []
    known = ~np.isnan(margins)
    scaled = np.full_like(margins, np.nan)
    try:
        fold = np.array(folds(rows))
        scaled[known], temperatures = cal.cross_fitted(margins[known], fold[known].tolist())
        whole = cal.fit_temperature(margins[known])
    except EvalError as error:
        findings.append(Finding("no-temperature", "warning", f"{name}: {error.message}", name))
        return figures, {"before": tables}, findings
    if not all(math.isfinite(t) for t in (*temperatures.values(), whole)):
        message = f"{name}: on half of the pairs no positive scale is better than chance, so no temperature fits"
        findings.append(Finding("no-temperature", "warning", message, name))
        return figures, {"before": tables}, findings
    after, scaled_tables = _one_calibration(scaled, clusters, "_scaled", seed)
    spread = statistic_interval(
        _temperature, margins[known], clusters=[c for c, k in zip(clusters, known, strict=True) if k], seed=seed
    )
    told = {"before": tables, "after": scaled_tables, "temperatures": [temperatures[i] for i in sorted(temperatures)]}
    return figures | after | {"reward/temperature": spread}, told, findings


def _temperature(margins: Floats) -> float:
    try:
        found = cal.fit_temperature(margins)
    except EvalError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def _one_calibration(
    margins: Floats, clusters: Sequence[Hashable], suffix: str, seed: int
) -> tuple[dict[str, Estimate], dict[str, Any]]:
    def error(scheme: cal.Scheme) -> Estimate:
        return statistic_interval(
            lambda m: cal.ece(*cal.confidence(m), BINS, scheme, low=0.5),
            margins,
            clusters=clusters,
            seed=seed,
            lifted=True,
        )

    known = margins[~np.isnan(margins)]
    sure, right = cal.confidence(known)
    squares = (1 - cal.sigmoid(margins)) ** 2
    figures = {
        f"reward/ece{suffix}": error("width"),
        f"reward/ece_mass{suffix}": error("mass"),
        f"reward/brier{suffix}": mean_interval(squares, list(clusters), seed=seed),
    }
    if suffix:
        figures[f"reward/nll{suffix}"] = mean_interval(_nll(margins), list(clusters), seed=seed)
    chance, most = cal.ece_by_chance(sure, BINS, low=0.5, seed=seed)
    tables = {
        "bins": [_bin(b) for b in cal.reliability(sure, right, BINS, low=0.5) if b.n],
        "brier": asdict(cal.brier(*cal.symmetrised(known), SYMMETRIC_BINS)) if len(known) else None,
        "ece_by_chance": {"mean": _finite(chance), "q95": _finite(most)},
        "pairs": len(known),
    }
    return figures, tables


def _bin(found: cal.Bin) -> dict[str, Any]:
    told = {"low": found.low, "high": found.high, "n": found.n, "predicted": found.predicted}
    return {**told, "observed": row(found.observed)}


def length_bias(groups: Sequence[Scored], rows: Sequence[PairRow], seed: int = 0) -> dict[str, Estimate]:
    """How the score goes with the response's length, and what of it the gold reward does not explain.

    length_correlation  Spearman's correlation of score and tokens, each less its group's mean
    length_partial      the same with the gold reward held fixed, where it is known
    length_preferred    share of the pairs of unequal length whose longer response scores higher
    length_chosen       share of them whose longer response people preferred
    gold_correlation    Spearman's correlation of score and gold reward, each less its group's mean
    """
    score, length, value, prompts = centred(groups)
    figures = {"reward/length_correlation": correlation_interval(score, length, clusters=prompts, seed=seed)}
    if not np.isnan(value).all():
        partial = correlation_interval(score, length, [value], clusters=prompts, seed=seed)
        figures["reward/length_partial"] = partial
        figures["reward/gold_correlation"] = correlation_interval(score, value, clusters=prompts, seed=seed)
    uneven = [r for r in rows if r.longer != 0]
    clusters = [r.scored.prompt for r in uneven]
    longer = [0.5 * (1 + float(np.sign(r.margin * r.longer))) if not np.isnan(r.margin) else None for r in uneven]
    figures["reward/length_preferred"] = mean_interval(longer, clusters, seed=seed)
    figures["reward/length_chosen"] = mean_interval([float(r.longer > 0) for r in uneven], clusters, seed=seed)
    return figures


def grade_correlation(groups: Sequence[Scored], attribute: str | None, seed: int = 0) -> dict[str, Estimate]:
    """Spearman's correlation of the score with the annotator's grades, over all responses that have one.

    Scores learnt from comparisons have another constant for each prompt; of them this says little.

    Args:
        groups: as scored.
        attribute: which grade; None is the score of the response as a whole.
        seed: of the bootstrap.
    """
    rows = [
        (score, grade, scored.prompt)
        for scored in groups
        for score, response in zip(scored.scores, scored.group.responses, strict=True)
        if (grade := response.score if attribute is None else response.attributes.get(attribute)) is not None
    ]
    if not rows:
        return {}
    scores, grades, prompts = zip(*rows, strict=True)
    return {"reward/grade_correlation": correlation_interval(scores, grades, clusters=prompts, seed=seed)}


def _margins(rows: Sequence[PairRow]) -> Floats:
    return np.array([r.margin for r in rows], dtype=np.float64)


def _nll(margins: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # NaN is "not scored" and stays NaN
        return np.asarray(np.logaddexp(0.0, -margins))


def _measure(values: Floats, clusters: Sequence[Hashable]) -> Measure:
    return Measure([None if math.isnan(v) else float(v) for v in values], list(clusters))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
