"""The critic's loss."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hizala.core.logps import SeqLogps, Terms
from hizala.registry import Bound, loss


@loss("value", data="rollout", source="Schulman et al. 2017, arXiv:1707.06347, eq. 9")
def value(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    old: SeqLogps,
    *,
    value_clip: Annotated[float | None, Bound(gt=0)] = None,
) -> Terms:
    """Squared error of what the critic expects, on request moved no further than a range within one batch.

    loss_t = (V_t - R_t)^2 / 2
    with value_clip = c: max of that and (V_old + clip(V_t - V_old, -c, c) - R_t)^2 / 2

    Args:
        values: (N,) what the critic expects before each sampled token, in units of reward; gradient reaches it alone.
        old_values: (N,) the same under the weights that sampled; read with `value_clip` alone.
        returns: (N,) what came of it.
        old: says which response each token belongs to; its values are not read.
        value_clip: > 0, in units of reward; none: no range.
    Returns:
        Terms: loss (N,), reward squared; metrics `value`, `return`, `error` (absolute), `clipped` (share of tokens at
        which the range stops the gradient) (N,).
    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 9; the range: Engstrom et al. 2020, arXiv:2005.12729, sec. 3.
    Differs: verl and OpenRLHF compute this, always with a range (0.5 and 0.2 unless told). In TRL the trainer of PPO
        is gone since 1.16.
    """
    held, returns = old_values.detach().to(values.dtype), returns.detach().to(values.dtype)
    terms, stopped = (values - returns).square(), torch.zeros_like(values, dtype=torch.bool)
    if value_clip is not None:
        near = held + (values - held).clamp(-value_clip, value_clip)
        other = (near - returns).square()
        stopped = (other > terms) & ((values - held).abs() > value_clip)
        terms = torch.maximum(terms, other)
    found = {"value": values, "return": returns, "error": (values - returns).abs(), "clipped": stopped}
    metrics = {name: column.detach().to(values.dtype) for name, column in found.items()}
    return Terms(terms / 2, "token", metrics, old.segments)
