"""Losses on rollouts as their papers write them, in float64 NumPy: one term a sampled token."""

from __future__ import annotations

import math

import numpy as np
from loss_cases import Case
from oracle_view import Numbers, tokens


def column(case: Case, role: str) -> list[float]:
    """One value a sampled token, responses in the order of the groups."""
    return [float(x) for group in tokens(case, role) for response in group for x in response]


def clip(case: Case, *, clip_low: float = 0.2, clip_high: float = 0.2, dual_clip: float | None = None) -> Numbers:
    """arXiv:1707.06347 eq. 7, each end apart; with a dual clip arXiv:1912.09729: max(that, c * A) where A < 0."""
    out = []
    for new, old, a in zip(*(column(case, r) for r in ("policy", "old", "advantages")), strict=True):
        ratio = math.exp(new - old)
        inside = min(max(ratio, 1 - clip_low), 1 + clip_high)
        surrogate = min(ratio * a, inside * a)
        if dual_clip is not None and a < 0:
            surrogate = max(surrogate, dual_clip * a)
        out.append(-surrogate)
    return np.array(out)


def kl(case: Case, *, estimator: str = "k3", unbiased: bool = False) -> Numbers:
    """arXiv:2402.03300 eq. 4 and its two sisters; weighed by pi / old as arXiv:2512.02556 eq. 7."""
    out = []
    for new, old, held in zip(*(column(case, r) for r in ("policy", "old", "reference")), strict=True):
        d = new - held
        k = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}[estimator[:2]]
        out.append(k * math.exp(new - old) if unbiased else k)
    return np.array(out)


def entropy(case: Case) -> Numbers:
    """arXiv:1602.01783 sec. 4: the entropy before each token, with a minus sign."""
    return np.array([-h for h in column(case, "entropy")])
