"""From unreduced terms to one scalar: numerators here, denominators declared from the masks of the whole batch.

A denominator is a count that the masks alone decide, so every process knows it before the first forward and the
gradient cannot depend on how the batch was cut into micro-batches, rows or ranks. Terms that a loss zeroes while
it runs leave the numerator and never the denominator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hizala.core.logps import Terms
from hizala.errors import ConfigError, nearest
from hizala.records import TokenGroup

# What a loss's terms may count, and the reductions each unit allows; the first is its default.
REDUCTIONS: dict[str, tuple[str, ...]] = {
    "token": ("token", "response", "fixed"),
    "chosen_token": ("token", "response"),
    "response": ("response",),
    "pair": ("pair",),
    "group": ("group",),
    "step": ("step",),
    "grade": ("grade",),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the masks of some groups say: all that a denominator needs.

    Attributes:
        count: (R,) counted tokens of each response, responses in the order of the groups.
        size: (G,) responses of each group.
        weight: (G,) weight of each group.
        steps: (R,) marked steps of each response.
        grades: (R,) graded attributes of each response.
    """

    count: NDArray[np.int64]
    size: NDArray[np.int64]
    weight: NDArray[np.float64]
    steps: NDArray[np.int64]
    grades: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[TokenGroup]) -> Layout:
        """The layout of tokenised groups."""
        count = np.fromiter((sum(map(bool, r.mask)) for g in groups for r in g.responses), dtype=np.int64)
        size = np.fromiter((len(g.responses) for g in groups), dtype=np.int64, count=len(groups))
        weight = np.fromiter((g.weight for g in groups), dtype=np.float64, count=len(groups))
        steps = np.fromiter((len(r.marks) for g in groups for r in g.responses), dtype=np.int64)
        grades = np.fromiter((len(r.attributes) for g in groups for r in g.responses), dtype=np.int64)
        return cls(count, size, weight, steps, grades)

    @property
    def response_weight(self) -> NDArray[np.float64]:
        """(R,) weight of the group each response belongs to."""
        return np.repeat(self.weight, self.size)

    @property
    def uniform(self) -> bool:
        """Every group weighs 1."""
        return bool((self.weight == 1.0).all())


def check_reduction(unit: str, reduction: str) -> None:
    """Raise ConfigError unless terms of this unit can be reduced so."""
    if unit not in REDUCTIONS:
        raise ConfigError(f"unknown unit '{unit}' of a loss's terms{nearest(unit, REDUCTIONS)}")
    if reduction not in REDUCTIONS[unit]:
        allowed = ", ".join(REDUCTIONS[unit])
        raise ConfigError(f"a loss of one term a {unit} cannot be reduced by '{reduction}'", fix=f"choose: {allowed}")


def denominator(layout: Layout, unit: str, reduction: str, length: int = 1) -> float:
    """Sum of the weights of all units of a batch, known from its masks.

    by token:    sum over groups of weight * counted tokens
    by response: sum over responses with at least one counted token of their group's weight
                 (terms of unit "response": over all responses)
    fixed:       sum over all responses of their group's weight * length (Dr. GRPO, arXiv:2503.20783, sec. 3.2)
    by pair, by group: sum over pairs, over groups, of the group's weight
    by step, by grade: sum over responses of their group's weight times their marked steps, their graded attributes

    Args:
        layout: of the WHOLE global batch.
        unit: what the loss's terms count, a key of `REDUCTIONS`.
        reduction: one of `REDUCTIONS[unit]`.
        length: tokens that "fixed" counts for each response, however long it is.
    Returns:
        The denominator, in weighted units; 0 for a batch with nothing to count.
    Raises:
        ConfigError: the unit is unknown or cannot be reduced so.
    """
    check_reduction(unit, reduction)
    if unit in ("pair", "group"):
        return float(layout.weight.sum())
    count, weight = layout.count, layout.response_weight
    if unit in ("step", "grade"):
        return float(((layout.steps if unit == "step" else layout.grades) * weight).sum())
    if unit == "chosen_token":
        count, weight = count[0::2], weight[0::2]
    if reduction == "token":
        return float((count * weight).sum())
    if reduction == "fixed":
        return float(weight.sum() * length)
    return float(weight.sum() if unit == "response" else weight[count > 0].sum())


def reduce(terms: Terms, layout: Layout, reduction: str, denominator: float) -> Tensor:
    """This part's share of the batch's loss: weighted sum of terms over the declared global denominator.

    by token, fixed: sum_t weight(t) * loss_t / D
    by response: sum_r weight(r) * (1 / n_r) * sum_{t in r} loss_t / D
    by pair, by group: sum_u weight(u) * loss_u / D

    Args:
        terms: (U,) of one micro-batch.
        layout: of the groups of that micro-batch.
        reduction: one of `REDUCTIONS[terms.unit]`.
        denominator: D, of the whole batch.
    Returns:
        Scalar, nats. Shares of all micro-batches and ranks add up to the batch's loss; 0 where D is 0.
    """
    check_reduction(terms.unit, reduction)
    per_token = terms.unit in ("token", "chosen_token")
    spread = per_token or terms.unit in ("step", "grade")
    if layout.uniform and not (per_token and reduction == "response"):
        return terms.loss.sum() / (denominator or 1.0)
    if terms.unit in ("pair", "group"):
        weight = layout.weight
    else:
        side = slice(0, None, 2) if terms.unit == "chosen_token" else slice(None)
        weight = layout.response_weight[side]
        if per_token and reduction == "response":
            weight = weight / np.maximum(layout.count[side], 1)
    factor = torch.from_numpy(weight / (denominator or 1.0)).to(terms.loss.device, terms.loss.dtype)
    if spread:
        assert terms.segments is not None, "such terms say which response each belongs to"
        factor = factor[terms.segments]
    return (terms.loss * factor).sum()
