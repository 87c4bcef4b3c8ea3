"""Learning-rate schedules: pure functions from a step to a factor in [0, 1]."""

from __future__ import annotations

import math

SCHEDULES: tuple[str, ...] = ("constant", "linear", "cosine", "wsd")


def factor(
    step: int, total: int, *, kind: str = "constant", warmup: int = 0, decay: int = 0, floor: float = 0.0
) -> float:
    """Factor of the peak learning rate at a step.

    warm-up: (step + 1) / warmup for step < warmup, so that the first step already learns
    with p = (step - warmup) / (total - warmup):
      constant: 1
      linear:   1 - (1 - floor) * p
      cosine:   floor + (1 - floor) * (1 + cos(pi * p)) / 2
      wsd:      1 until the last `decay` steps, then linear down to floor over them

    Args:
        step: 0-based index of the step about to be taken; at or past `total` counts as the end of the schedule.
        total: steps of the whole run.
        kind: one of `SCHEDULES`.
        warmup: steps of linear warm-up, in [0, total].
        decay: steps of the final linear decay of "wsd"; not used by the others.
        floor: factor at the end of the run, [0, 1]; not used by "constant".
    Returns:
        Factor in [0, 1].
    Source: cosine: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5; wsd (warm-up, stable, decay): Hu et al. 2024,
        arXiv:2404.06395, sec. 4.2, with a linear decay.
    Differs: transformers warms up with step / warmup, whose first step has factor 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    if kind == "wsd":
        progress = (step - (total - decay)) / max(decay, 1)
    else:
        progress = (step - warmup) / max(total - warmup, 1)
    progress = min(max(progress, 0.0), 1.0)
    if kind == "cosine":
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
    return 1 - (1 - floor) * progress
