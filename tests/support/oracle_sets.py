"""Losses on thumbs, lists, steps and grades as their papers write them, in float64 NumPy: one term a unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from loss_cases import Case
from oracle_view import Numbers, attributes, flat, labels, sigmoid, softplus, tokens, totals


def nll(case: Case) -> Numbers:
    """arXiv:2203.02155 sec. 3.5: -log pi of every counted token."""
    return -np.concatenate([response for group in tokens(case, "policy") for response in group])


def chosen_nll(case: Case) -> Numbers:
    """arXiv:2404.19733 eq. 1: -log pi of every counted token of the first response."""
    return -np.concatenate([group[0] for group in tokens(case, "policy")])


def _ratios(case: Case) -> Numbers:
    return flat(totals(case, "policy")) - flat(totals(case, "reference"))


def desirable_nll(case: Case) -> Numbers:
    """arXiv:2203.02155 sec. 3.5 on thumbs up: -log pi of their tokens, 0 for those of thumbs down."""
    responses = [r for group in tokens(case, "policy") for r in group]
    return np.concatenate([-r if up else 0 * r for r, up in zip(responses, labels(case), strict=True)])


def kto(
    case: Case, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0, decay: float = 0.0
) -> Numbers:
    """arXiv:2402.01306 eq. 8: lambda_y - v(x, y), z0 = max(0, mean log-ratio of mismatched responses)."""
    z0 = max(0.0, decay * case.state["mismatch"] + (1 - decay) * case.mismatch)
    out = []
    for s, up in zip(_ratios(case), labels(case), strict=True):
        weight = desirable_weight if up else undesirable_weight
        value = weight * float(sigmoid(beta * (s - z0) if up else beta * (z0 - s)))
        out.append(weight - value)
    return np.array(out)


def bco(
    case: Case, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0, decay: float = 0.9
) -> Numbers:
    """arXiv:2404.04656: -log sigma(r - delta) for a thumb up, -log sigma(delta - r) for one down.

    delta is half the sum of the mean reward of either kind in the steps before; `decay` shapes only what comes after.
    """
    state = case.state
    means = [state[f"{kind}_reward"] / state[kind] for kind in ("up", "down") if state[kind]]
    delta = sum(means) / len(means) if means else 0.0
    out = []
    for s, up in zip(_ratios(case), labels(case), strict=True):
        weight = desirable_weight if up else undesirable_weight
        out.append(weight * float(softplus(-(beta * s - delta) if up else beta * s - delta)))
    return np.array(out)


def sppo_soft(case: Case, *, beta: float) -> Numbers:
    """arXiv:2405.00675 eq. 4.7: (log-ratio - eta (P - 1/2))^2, eta = 1 / beta, P the grade."""
    grades = np.array([float(b.score or 0.0) for b in case.branches()])
    return np.square(_ratios(case) - (grades - 0.5) / beta)


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


def grade_mse(case: Case) -> Numbers:
    """arXiv:2110.14168 sec. 4.2: squared error of the score."""
    scores = [float(s[0]) for group in case.roles["scores"] for s in group]
    return np.array([(s - float(b.score or 0.0)) ** 2 for s, b in zip(scores, case.branches(), strict=True)])


def attribute_mse(case: Case) -> Numbers:
    """arXiv:2311.09528 sec. 3: squared error of each known attribute."""
    scores = [s.tolist() for group in case.roles["scores"] for s in group]
    return np.array([(scores[i][k] - grade) ** 2 for i, k, grade in attributes(case)])


def step_bce(case: Case) -> Numbers:
    """arXiv:2305.20050 app. F: cross-entropy of each marked step."""
    out = []
    for group, scores in zip(case.groups, case.roles["step_scores"], strict=True):
        for branch, step_scores in zip(group.responses, scores, strict=True):
            for (_, right), score in zip(branch.marks, step_scores.tolist(), strict=True):
                out.append(float(softplus(-score if right else score)))
    return np.array(out)


def aot_unpaired(case: Case, *, beta: float, label_smoothing: float = 0.0) -> Numbers:
    """arXiv:2406.05882, unpaired: the integral over t of c(beta (Q+(t) - Q-(t))), Q the quantile functions.

    With n thumbs up and m down, t is cut into n m equal parts, on each of which one up meets one down; a part's cost
    is shared equally by the two, scaled so that the mean over all responses is the integral.
    """
    s, up = _ratios(case), labels(case)
    good, bad = np.flatnonzero(up), np.flatnonzero(~up)
    good, bad = good[np.argsort(s[good], kind="stable")], bad[np.argsort(s[bad], kind="stable")]
    out = np.zeros(len(s))
    for i, j in zip(np.repeat(good, len(bad)), np.repeat(bad, len(good)), strict=True):
        x = beta * (s[i] - s[j])
        cost = float((1 - label_smoothing) * softplus(-x) + label_smoothing * softplus(x))
        share = cost / (len(good) * len(bad)) * len(s) / 2
        out[i] += share
        out[j] += share
    return out
