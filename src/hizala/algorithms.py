"""THE TABLE: an algorithm is a row. It names its data, losses and weights, reduction, defaults and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hizala.registry import Registry


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row of the table.

    Attributes:
        name: what a recipe calls it.
        data: what a group must hold (`registry.DATA_SHAPES`).
        losses: registered losses and their default weights; weight 0 is offered but off.
        summary: one line for `--help` and docs.
        source: paper and equation.
        defaults: vetted settings of a stage that differ from the general ones, parameters of its losses included.
        heads: heads that the losses read and training adds where the model has none.
        produces: what its stage leaves: a policy, or a reward model that later stages score with.
    """

    name: str
    data: str
    losses: Mapping[str, float]
    summary: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    produces: Literal["policy", "reward"] = "policy"


algorithms: Registry[Algorithm] = Registry("algorithm")

for _row in (
    Algorithm(
        name="sft",
        data="response",
        losses={"nll": 1.0},
        summary="supervised fine-tuning on the response tokens",
        source="Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5",
        defaults={"learning_rate": 5e-4},
    ),
    Algorithm(
        name="dpo",
        data="pair",
        losses={"dpo": 1.0, "chosen_nll": 0.0},
        summary="Direct Preference Optimization; label_smoothing > 0 makes it cDPO",
        source="Rafailov et al. 2023, arXiv:2305.18290, eq. 7",
        defaults={"learning_rate": 5e-5},
    ),
):
    algorithms.add(_row.name, _row)
