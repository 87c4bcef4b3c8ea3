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


def _sequence_ratios(case: Case) -> list[float]:
    """exp of the mean log-ratio of its response, for every sampled token."""
    out: list[float] = []
    for news, olds in zip(tokens(case, "policy"), tokens(case, "old"), strict=True):
        for new, old in zip(news, olds, strict=True):
            if len(new):
                out += [math.exp(math.fsum(new - old) / len(new))] * len(new)
    return out


def _sequence_surrogate(case: Case, clip_low: float, clip_high: float) -> Numbers:
    out = []
    for s, a in zip(_sequence_ratios(case), column(case, "advantages"), strict=True):
        out.append(-min(s * a, min(max(s, 1 - clip_low), 1 + clip_high) * a))
    return np.array(out)


def gspo(case: Case, *, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Numbers:
    """arXiv:2507.18071 eq. 5 and 7: one ratio a response, exp of the mean log-ratio of its tokens."""
    return _sequence_surrogate(case, clip_low, clip_high)


def gspo_token(case: Case, *, clip_low: float = 3e-4, clip_high: float = 4e-4) -> Numbers:
    """arXiv:2507.18071 eq. 13: in value each token's ratio is its response's; the paper's s_{i,t} differs in slope."""
    return _sequence_surrogate(case, clip_low, clip_high)


def cispo(case: Case, *, clip_low: float = 1.0, clip_high: float = 4.0) -> Numbers:
    """arXiv:2506.13585 eq. 4 and 5: clipped weight times advantage times log pi."""
    out = []
    for new, old, a in zip(*(column(case, r) for r in ("policy", "old", "advantages")), strict=True):
        out.append(-min(max(math.exp(new - old), 1 - clip_low), 1 + clip_high) * a * new)
    return np.array(out)


def reinforce(case: Case, *, weighted: bool = False) -> Numbers:
    """Williams 1992, thm. 1: advantage times log pi, or times pi / old where samples are older."""
    out = []
    for new, old, a in zip(*(column(case, r) for r in ("policy", "old", "advantages")), strict=True):
        out.append(-a * (math.exp(new) / math.exp(old) if weighted else new))
    return np.array(out)


def value(case: Case, *, value_clip: float | None = None) -> Numbers:
    """arXiv:1707.06347 eq. 9, half the squared error; in a range as arXiv:2005.12729: the larger of two errors."""
    out = []
    for new, old, target in zip(*(column(case, r) for r in ("values", "old_values", "returns")), strict=True):
        errors = [(new - target) ** 2]
        if value_clip is not None:
            errors.append((min(max(new, old - value_clip), old + value_clip) - target) ** 2)
        out.append(max(errors) / 2)
    return np.array(out)
