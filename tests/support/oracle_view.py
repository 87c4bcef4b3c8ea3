"""What the oracles read: plain float64 numbers of a case, taken apart without the library's own sums and masks."""

from __future__ import annotations

import math

import numpy as np
from loss_cases import ATTRIBUTES, Case
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def tokens(case: Case, role: str) -> list[list[Numbers]]:
    """Values a counted token: group -> response -> (n,)."""
    return [[np.array(response.tolist(), dtype=np.float64) for response in group] for group in case.roles[role]]


def totals(case: Case, role: str) -> list[list[float]]:
    """Sum over each response's tokens: group -> response."""
    return [[math.fsum(response) for response in group] for group in tokens(case, role)]


def means(case: Case, role: str) -> list[list[float]]:
    """Mean over each response's tokens, 0 for an empty response."""
    return [[math.fsum(r) / len(r) if len(r) else 0.0 for r in group] for group in tokens(case, role)]


def sides(table: list[list[float]]) -> tuple[Numbers, Numbers]:
    """(chosen, rejected) of groups of two."""
    array = np.array(table, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def flat(table: list[list[float]]) -> Numbers:
    """All responses in the order of the groups."""
    return np.array([x for group in table for x in group], dtype=np.float64)


def log_ratio(case: Case) -> tuple[Numbers, Numbers]:
    """log pi - log ref of the chosen and of the rejected response of each pair, nats."""
    (cw, cl), (rw, rl) = sides(totals(case, "policy")), sides(totals(case, "reference"))
    return cw - rw, cl - rl


def lengths(case: Case) -> tuple[Numbers, Numbers]:
    """Counted tokens of the chosen and of the rejected response."""
    return sides([[float(sum(b.mask)) for b in g.responses] for g in case.groups])


def labels(case: Case) -> NDArray[np.bool_]:
    """Thumbs of all responses."""
    return np.array([bool(b.label) for g in case.groups for b in g.responses])


def attributes(case: Case) -> list[tuple[int, int, float]]:
    """(response, column, grade) of every known attribute, responses outermost."""
    branches = [b for g in case.groups for b in g.responses]
    return [
        (i, k, b.attributes[a]) for i, b in enumerate(branches) for k, a in enumerate(ATTRIBUTES) if a in b.attributes
    ]


def softplus(x: Numbers | float) -> Numbers:
    """log(1 + exp(x)) without overflow."""
    x = np.asarray(x, dtype=np.float64)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def log_sigmoid(x: Numbers | float) -> Numbers:
    """log of the logistic function."""
    return -softplus(-np.asarray(x, dtype=np.float64))


def sigmoid(x: Numbers | float) -> Numbers:
    """The logistic function."""
    return np.exp(log_sigmoid(x))
