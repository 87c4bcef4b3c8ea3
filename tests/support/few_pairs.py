"""Log-probs of a few responses written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hizala.core.logps import Pairs, SeqLogps

Response = Sequence[float]


def responses(*tokens: Response, grad: bool = False) -> SeqLogps:
    """Log-probs of responses from those of their tokens."""
    count = torch.tensor([len(t) for t in tokens])
    flat = torch.tensor([x for t in tokens for x in t], dtype=torch.float64, requires_grad=grad)
    return SeqLogps(flat, torch.repeat_interleave(torch.arange(len(tokens)), count), count)


def pairs(*both: tuple[Response, Response], grad: bool = False) -> Pairs:
    """Pairs from the tokens of (chosen, rejected)."""
    chosen, rejected = zip(*both, strict=True)
    return Pairs(responses(*chosen, grad=grad), responses(*rejected, grad=grad))


def gaps(*of: tuple[float, float], grad: bool = False) -> tuple[Pairs, Pairs]:
    """A policy and a reference whose log-ratios of (chosen, rejected) are the given nats, one token each."""
    policy = pairs(*(((-4.0 + w,), (-4.0 + lose,)) for w, lose in of), grad=grad)
    return policy, pairs(*((((-4.0,), (-4.0,))) for _ in of))


def slopes(policy: Pairs, total: torch.Tensor) -> tuple[list[float], list[float]]:
    """Gradient of a scalar at the tokens of the chosen and of the rejected responses."""
    total.backward()
    return tuple(  # type: ignore[return-value]
        [0.0] * len(side.tokens) if side.tokens.grad is None else side.tokens.grad.tolist()
        for side in (policy.chosen, policy.rejected)
    )
