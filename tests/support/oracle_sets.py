"""Losses on thumbs, lists, steps and grades as their papers write them, in float64 NumPy: one term a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from loss_cases import Case
from oracle_view import Numbers, attributes, flat, labels, sigmoid, softplus, tokens, totals


def nll(case: Case) -> Numbers:
    """-log pi of every counted token."""
    return -np.concatenate([response for group in tokens(case, "policy") for response in group])


def chosen_nll(case: Case) -> Numbers:
    """arXiv:2404.19733 eq. 1: -log pi of every counted token of the first response."""
    return -np.concatenate([group[0] for group in tokens(case, "policy")])


def _ratios(case: Case) -> Numbers:
    return flat(totals(case, "policy")) - flat(totals(case, "reference"))


def kto(case: Case, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Numbers:
    """arXiv:2402.01306 eq. 8: lambda_y - v(x, y), z0 = max(0, mean log-ratio of mismatched responses)."""
    z0 = max(0.0, case.mismatch)
    out = []
    for s, up in zip(_ratios(case), labels(case), strict=True):
        weight = desirable_weight if up else undesirable_weight
        value = weight * float(sigmoid(beta * (s - z0) if up else beta * (z0 - s)))
        out.append(weight - value)
    return np.array(out)


def bco(case: Case, *, beta: float, shift: float) -> Numbers:
    """arXiv:2404.04656 eq. 9: -log sigma(r - delta) for a thumb up, -log sigma(-(r - delta)) for one down."""
    out = []
    for s, up in zip(_ratios(case), labels(case), strict=True):
        out.append(float(softplus(-(beta * s - shift) if up else beta * s - shift)))
    return np.array(out)


def ranking(values: Sequence[float], ranks: Sequence[int]) -> float:
    """-log of the Plackett-Luce probability of a ranking: the best is drawn first, without replacement.

    Equal ranks are no information about each other: each of a tie is drawn against itself and all that rank worse.
    """
    out = 0.0
    for value, rank in zip(values, ranks, strict=True):
        worse = [other for other, r in zip(values, ranks, strict=True) if r > rank]
        if worse:
            top = max(value, *worse)
            out += top + math.log(math.fsum(math.exp(x - top) for x in (value, *worse))) - value
    return out


def _lists(case: Case, values: list[list[float]]) -> Numbers:
    ranks = [[int(b.rank or 0) for b in g.responses] for g in case.groups]
    return np.array([ranking(v, r) for v, r in zip(values, ranks, strict=True)])


def pl_dpo(case: Case, *, beta: float) -> Numbers:
    """arXiv:2305.18290 eq. 20 (app. A.3): Plackett-Luce on beta (log pi - log ref)."""
    pairs = zip(totals(case, "policy"), totals(case, "reference"), strict=True)
    return _lists(case, [[beta * (p - r) for p, r in zip(*group, strict=True)] for group in pairs])


def plackett_luce(case: Case) -> Numbers:
    """Plackett 1975: the same on the scores of a reward model."""
    return _lists(case, [[float(scores[0]) for scores in group] for group in case.roles["scores"]])


def attribute_regression(case: Case) -> Numbers:
    """arXiv:2311.09528 sec. 3: squared error of each known attribute."""
    scores = [s.tolist() for group in case.roles["scores"] for s in group]
    return np.array([(scores[i][k] - grade) ** 2 for i, k, grade in attributes(case)])


def step_correctness(case: Case) -> Numbers:
    """arXiv:2305.20050 app. F: cross-entropy of each marked step."""
    out = []
    for group, scores in zip(case.groups, case.roles["step_scores"], strict=True):
        for branch, step_scores in zip(group.responses, scores, strict=True):
            for (_, right), score in zip(branch.marks, step_scores.tolist(), strict=True):
                out.append(float(softplus(-score if right else score)))
    return np.array(out)


def aot_unpaired(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2406.05882 eq. 9: sorted log-ratios of the good responses against those of the bad ones."""
    s, up = _ratios(case), labels(case)
    u, v = np.sort(s[up]), np.sort(s[~up])
    x = beta * (u - v)
    return (1 - label_smoothing) * softplus(-x) + label_smoothing * softplus(x)
