"""Heads on the final hidden states: a score for each response, a value for each counted token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KINDS = ("score", "value")
FILE = "heads.safetensors"


class Head(nn.Module):
    """One number from a hidden state: w . h + b, computed in float32 or better.

    Starts at zero, so that a fresh head says nothing: scores and values are 0.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        """(M,) numbers of (M, hidden) states."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        return hidden.to(wide) @ self.weight.to(wide) + self.bias.to(wide)
