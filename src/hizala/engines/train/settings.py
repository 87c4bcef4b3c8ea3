"""What the engine can be told, with types and bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hizala.core.schedule import SCHEDULES
from hizala.errors import ConfigError, nearest
from hizala.registry import Bound


def check_bound(name: str, value: Any, bound: Bound) -> None:
    """Raise ConfigError unless a number lies within its bound; None is not bounded."""
    if value is None:
        return
    if not math.isfinite(value):
        raise ConfigError(f"{name} is {value}", fix="give a finite number")
    for word, limit, holds in (
        ("greater than", bound.gt, bound.gt is None or value > bound.gt),
        ("at least", bound.ge, bound.ge is None or value >= bound.ge),
        ("less than", bound.lt, bound.lt is None or value < bound.lt),
        ("at most", bound.le, bound.le is None or value <= bound.le),
    ):
        if not holds:
            raise ConfigError(f"{name} is {value}, but must be {word} {limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of the engine: optimiser, schedule, budget, checkpoints.

    Args:
        learning_rate: peak learning rate of AdamW.
        total_steps: optimiser steps of the whole run; the schedule ends there.
        schedule: constant, linear, cosine or wsd.
        warmup: share of the steps over which the learning rate rises.
        decay: share of the steps of the final decay of wsd (0.2 when not given).
        floor: factor of the learning rate at the end of the run (0 when not given); not for constant.
        weight_decay: decoupled decay; norms and biases are spared.
        betas: decay of AdamW's first and second moments.
        eps: added to the root of AdamW's second moment.
        max_grad_norm: gradients are scaled down to this norm; None leaves them.
        token_budget: tokens in one forward; memory follows it, the gradient does not.
        nonfinite_limit: consecutive steps with a non-finite gradient after which training stops.
        keep_last: newest checkpoints to keep.
        sync_every: steps after which a live reference moves towards the policy; None: it stands still.
        sync_mix: how far it moves, 1 is all the way.
        identity: digest of what makes this run this run; a checkpoint of another identity is refused.
    """

    learning_rate: Annotated[float, Bound(gt=0)]
    total_steps: Annotated[int, Bound(ge=1)]
    schedule: str = "constant"
    warmup: Annotated[float, Bound(ge=0, le=1)] = 0.0
    decay: Annotated[float | None, Bound(ge=0, le=1)] = None
    floor: Annotated[float | None, Bound(ge=0, le=1)] = None
    weight_decay: Annotated[float, Bound(ge=0)] = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: Annotated[float, Bound(gt=0)] = 1e-8
    max_grad_norm: Annotated[float | None, Bound(gt=0)] = 1.0
    token_budget: Annotated[int, Bound(ge=1)] = 8192
    nonfinite_limit: Annotated[int, Bound(ge=1)] = 5
    keep_last: Annotated[int, Bound(ge=1)] = 1
    sync_every: Annotated[int | None, Bound(ge=1)] = None
    sync_mix: Annotated[float, Bound(gt=0, le=1)] = 1.0
    identity: str = ""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            hint = hints[field.name]
            if get_origin(hint) is Annotated:
                check_bound(field.name, getattr(self, field.name), get_args(hint)[1])
        for beta in self.betas:
            check_bound("betas", beta, Bound(ge=0, lt=1))
        if self.schedule not in SCHEDULES:
            known = ", ".join(SCHEDULES)
            raise ConfigError(f"unknown schedule '{self.schedule}'{nearest(self.schedule, SCHEDULES)}", fix=known)
        if self.decay is not None and self.schedule != "wsd":
            raise ConfigError(f"decay has no effect with schedule '{self.schedule}'", fix="remove it, or choose wsd")
        if self.floor is not None and self.schedule == "constant":
            raise ConfigError(
                "floor has no effect with schedule 'constant'", fix="remove it, or choose another schedule"
            )
        if self.schedule == "wsd" and self.warmup_steps + self.decay_steps > self.total_steps:
            raise ConfigError("warmup and decay together are longer than the run", fix="lower one of them")

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up."""
        return round(self.warmup * self.total_steps)

    @property
    def decay_steps(self) -> int:
        """Steps of the final decay of wsd."""
        return round((0.2 if self.decay is None else self.decay) * self.total_steps)
