"""Agreement of judges, people or models, on the same items."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any, Literal

import numpy as np

from hizala.core.stats.agreement import Agreement, agreement_of, codes
from hizala.errors import EvalError
from hizala.readers.score.rows import Annotations, RowError, each, name_of, number_of, refuse, unique
from hizala.readers.score.suite import Figures, Scores, suite

Label = str | float | None


@suite(
    "agreement",
    source="Cohen 1960, doi:10.1177/001316446002000104; Fleiss 1971, doi:10.1037/h0031619; Krippendorff 2011, "
    "https://repository.upenn.edu/asc_papers/43, sec. C",
)
def agreement(
    annotations: Annotations,
    *,
    metric: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal",
    seed: int = 0,
) -> Scores:
    """Agreement of judges: raw, Cohen's or Fleiss' kappa and Krippendorff's alpha, of all and of every pair.

    Args:
        metric: how labels differ, for alpha; all but nominal need numbers
        seed: of the resampling for intervals
    """
    unique(annotations, lambda row: (str(row.get("judge")), str(row.get("id"))), "judgment")
    rows = each(annotations, lambda row: _row(row, metric != "nominal"))
    judges, items = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    if len(judges) < 2:
        raise EvalError(f"only '{judges[0]}' has judged: agreement needs two judges", where=annotations.name)
    place = {name: i for i, name in enumerate(items)}
    labels: list[list[Label]] = [[None] * len(items) for _ in judges]
    clusters: list[Hashable] = list(items)
    for judge, item, label, prompt in rows:
        labels[judges.index(judge)][place[item]] = label
        clusters[place[item]] = item if prompt is None else ("prompt", prompt)
    if len({type(row[2]) for row in rows if row[2] is not None}) > 1:
        refuse([("the file", "mixes labels that are text with labels that are numbers")], annotations.name)
    numbers, names = codes(labels)
    table = (
        numbers
        if metric == "nominal"
        else np.array([[np.nan if label is None else float(label) for label in row] for row in labels])
    )

    def of(chosen: list[int]) -> Figures:
        return _figures(agreement_of(table[chosen], metric, clusters, seed=seed))

    results = {f"{judges[i]} / {judges[j]}": of([i, j]) for i, j in combinations(range(len(judges)), 2)}
    overall = {"judges": judges, "items": len(items), "labels": list(names), **of(list(range(len(judges))))}
    return Scores("one row a judgment", results, overall)


def _figures(found: Agreement) -> Figures:
    return {"raw": found.raw, "kappa": found.kappa, "alpha": found.alpha}


def _row(row: Mapping[str, Any], numeric: bool) -> tuple[str, str, Label, str | None]:
    judge, item = name_of(row, "judge"), name_of(row, "id")
    if "label" not in row:
        raise RowError("has no 'label'")
    label = row["label"]
    if label is not None and not (isinstance(label, str) and not numeric):
        label = number_of(row, "label")
    prompt = name_of(row, "prompt") if "prompt" in row else None
    return judge, item, label, prompt
