"""Where rows of logits are cut so that the likeliest tokens with a given share of the probability stay."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hizala.core.ops import kernels

# The likeliest tokens that are put in order first: they nearly always hold the share that is asked for.
FEW = 128


class Cut(NamedTuple):
    """What is kept of each row: logits above `floor`, and those equal to it up to column `last`.

    Attributes:
        floor: (R,) the smallest logit that is kept.
        last: (R,) int64.
    """

    floor: Tensor
    last: Tensor

    def keeps(self, logits: Tensor) -> Tensor:
        """(R, V) bool, which of the logits are kept."""
        floor, columns = self.floor[:, None], logits.shape[-1]
        if bool((self.last == columns - 1).all()):
            return logits >= floor
        index = torch.arange(columns, device=logits.device)
        return (logits > floor) | ((logits == floor) & (index <= self.last[:, None]))

    def holds(self, logits: Tensor, columns: Tensor) -> Tensor:
        """(R,) bool, whether one logit a row (R,), which stands in column `columns` (R,), is kept."""
        return (logits > self.floor) | ((logits == self.floor) & (columns <= self.last))


def nucleus(logits: Tensor, floor: Tensor, share: float) -> Cut:
    """The smallest set of likeliest tokens that holds a share of what is not below `floor`.

    A token stays when those before it hold less than the share, so the likeliest always stays; of equal logits the
    one in the earlier column comes first.

    Args:
        logits: (R, V) float32 or better.
        floor: (R,) logits below it count as probability 0.
        share: (0, 1).
    Source: Holtzman et al. 2020, arXiv:1904.09751, sec. 3.1.
    """
    columns = logits.shape[-1]
    fast = kernels.drawing(logits)
    if fast is not None:
        return Cut(*fast.nucleus(logits, floor, share))
    top = logits.amax(-1, keepdim=True)
    # In float64: sums over a large vocabulary in float32 would move the cut.
    mass = torch.where(logits >= floor[:, None], (logits - top).exp_(), 0).sum(-1, dtype=torch.float64) * share
    few = min(columns, FEW)
    values = logits.topk(few, dim=-1).values
    count = _count(values, top, floor, mass)
    wide = ((count == few) & (few < columns)).nonzero()[:, 0]
    found = values.gather(-1, count[:, None] - 1)[:, 0]
    equal = (values == found[:, None]).cumsum(-1).gather(-1, count[:, None] - 1)[:, 0]
    if len(wide):
        ordered = logits[wide].sort(dim=-1, descending=True).values
        more = _count(ordered, top[wide], floor[wide], mass[wide])[:, None] - 1
        found[wide] = ordered.gather(-1, more)[:, 0]
        equal[wide] = (ordered == found[wide, None]).cumsum(-1).gather(-1, more)[:, 0]
    last = torch.full(found.shape, columns - 1, device=logits.device)
    level = logits == found[:, None]
    tied = (level.sum(-1) > equal).nonzero()[:, 0]
    if len(tied):
        # The column in which the last equal logit that is kept stands.
        last[tied] = (level[tied].cumsum(-1) >= equal[tied, None]).int().argmax(-1)
    return Cut(found, last)


def _count(ordered: Tensor, top: Tensor, floor: Tensor, mass: Tensor) -> Tensor:
    """(R,) how many of the falling logits have less than `mass` before them; at least 1."""
    weights = torch.where(ordered >= floor[:, None], (ordered - top).exp_(), 0).double()
    before = weights.cumsum(-1) - weights
    return (before < mass[:, None]).sum(-1)
