"""What a reward model says of rankings and of marked steps."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hizala.core.stats import mean_interval, ranking
from hizala.core.stats.resample import statistic_interval
from hizala.core.stats.steps import first_error, first_wrong, predicted_error
from hizala.pipelines.evals.reward_rows import Scored, places
from hizala.pipelines.evals.suite import Measure
from hizala.records import Estimate, Group

THRESHOLD = 0.5


def ranking_measures(groups: Sequence[Scored]) -> dict[str, Measure]:
    """Per list of three or more responses: Kendall's tau b, NDCG (linear and exponential gain), NDCG@3, top-1.

    The relevance of a response is the number of different places below it. A list with a response that was not
    scored, or where a figure is not defined (all responses tied, say), is "not scored" for it.
    """
    lists = [g for g in groups if len(g.scores) > 2]
    if not lists:
        return {}
    values: dict[str, list[float | None]] = {}
    for scored in lists:
        grades = ranking.relevance(places(scored.group.responses))
        usable = not np.isnan(scored.scores).any()
        for name, figure in _list_figures(scored.scores, grades).items() if usable else ():
            values.setdefault(name, []).append(figure)
        if not usable:
            for name in _LIST_FIGURES:
                values.setdefault(name, []).append(None)
    clusters = [scored.prompt for scored in lists]
    return {f"reward/{name}": Measure(values[name], clusters) for name in _LIST_FIGURES}


_LIST_FIGURES = ("kendall_tau", "ndcg", "ndcg_exponential", "ndcg_3", "top1")


def _list_figures(scores: np.ndarray, grades: np.ndarray) -> dict[str, float | None]:
    found = (
        ranking.kendall_tau(scores, grades),
        ranking.ndcg(scores, grades),
        ranking.ndcg(scores, grades, gain="exponential"),
        ranking.ndcg(scores, grades, k=3),
        ranking.top1(scores, grades),
    )
    return dict(zip(_LIST_FIGURES, found, strict=True))


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """A response whose steps were scored.

    Attributes:
        group: the group it stands in.
        marks: whether each step is right; None is not marked.
        probabilities: of each step being right, one a step; NaN where it could not be scored.
        prompt: what the bootstrap draws together.
    """

    group: Group
    marks: Sequence[bool | None]
    probabilities: Sequence[float]
    prompt: Hashable


def step_figures(answers: Sequence[ScoredSteps], seed: int = 0) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """Step accuracy and first-error detection, in all and by task; a step is called right at probability >= 1/2.

    step_accuracy      share of the marked steps called as they are marked
    step_right         the same for always saying "right": what step_accuracy must beat
    first_error_wrong  of the answers with a wrong step, the share whose first wrong step is named exactly
    first_error_right  of the answers marked right throughout, the share called so
    first_error_f1     harmonic mean of both

    A step that was not scored is left out and counted, and for the last three so is its answer.

    Source: Zheng et al. 2024, ProcessBench, arXiv:2412.06559, sec. 3.1 (the last three).
    """
    if not answers:
        return {}, {}
    hits: list[float | None] = []
    always: list[float] = []
    clusters: list[Hashable] = []
    for answer in answers:
        for mark, p in zip(answer.marks, answer.probabilities, strict=True):
            if mark is not None:
                hits.append(None if math.isnan(p) else float((p >= THRESHOLD) == mark))
                always.append(float(mark))
                clusters.append(answer.prompt)
    figures = {
        "reward/step_accuracy": mean_interval(hits, clusters, seed=seed),
        "reward/step_right": mean_interval(always, clusters, seed=seed),
        **_first_error(answers, "", seed),
    }
    tasks = sorted({str(a.group.meta.get("task") or "") for a in answers} - {""})
    by_task = []
    for task in tasks if len(tasks) > 1 else ():
        some = [a for a in answers if a.group.meta.get("task") == task and _whole(a)]
        found = first_error([_predicted(a) for a in some], [first_wrong(a.marks) for a in some])
        told = {"task": task, "answers": len(some), "wrong": found.wrong, "right": found.right, "f1": found.f1}
        by_task.append({key: None if isinstance(v, float) and math.isnan(v) else v for key, v in told.items()})
    return figures, {"first_error": by_task}


def _whole(answer: ScoredSteps) -> bool:
    """Whether every step was scored; else an error behind the last one read could not have been named."""
    return not any(math.isnan(p) for p in answer.probabilities)


def _predicted(answer: ScoredSteps) -> int | None:
    return predicted_error(answer.probabilities, THRESHOLD)


def _first_error(answers: Sequence[ScoredSteps], suffix: str, seed: int) -> dict[str, Estimate]:
    """The three figures with intervals; an answer stands as its index of the first wrong step, -1 for none."""
    guessed = [float(-1 if (p := _predicted(a)) is None else p) if _whole(a) else math.nan for a in answers]
    actual = [float(-1 if (p := first_wrong(a.marks)) is None else p) for a in answers]
    clusters = [a.prompt for a in answers]

    def f1(guess: np.ndarray, truth: np.ndarray) -> float:
        hit, wrong = guess == truth, truth >= 0
        if wrong.all() or not wrong.any():
            return math.nan
        a, b = float(hit[wrong].mean()), float(hit[~wrong].mean())
        return 2 * a * b / (a + b) if a + b > 0 else 0.0

    figures = {f"reward/first_error_f1{suffix}": statistic_interval(f1, guessed, actual, clusters=clusters, seed=seed)}
    for kind, wanted in (("wrong", True), ("right", False)):
        some = [
            (None if math.isnan(g) else float(g == t), c)
            for g, t, c in zip(guessed, actual, clusters, strict=True)
            if (t >= 0) == wanted
        ]
        if some:
            values, keys = zip(*some, strict=True)
            figures[f"reward/first_error_{kind}{suffix}"] = mean_interval(values, keys, seed=seed)
    return figures
