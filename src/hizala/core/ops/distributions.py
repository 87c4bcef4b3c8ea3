"""What a whole distribution over the vocabulary says at each token, without all logits standing in memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Elements of one (tokens, vocabulary) block of logits.
BLOCK = 1 << 21


class Unembedding(NamedTuple):
    """States that predict tokens and the vocabulary they are read against: logits = hidden weight^T.

    Attributes:
        hidden: (M, H).
        weight: (V, H).
    """

    hidden: Tensor
    weight: Tensor


@torch.no_grad()
def log_collision(of: Unembedding, *, block: int = BLOCK) -> Tensor:
    """log of the probability that two draws are the same token, at each state.

    log sum_v p_v^2 = logsumexp(2 z) - 2 logsumexp(z),  z the logits

    Args:
        of: M states; the products are computed in their dtype.
        block: most logits that stand in memory at once.
    Returns:
        (M,) nats, <= 0, float32 or better, without gradient.
    """
    parts = []
    for part in torch.split(of.hidden, _rows(of.weight, block)):
        logits = _logits(part, of.weight)
        parts.append(torch.logsumexp(2 * logits, -1) - 2 * torch.logsumexp(logits, -1))
    return torch.cat(parts)


def divergence(policy: Unembedding, reference: Unembedding, *, block: int = BLOCK) -> Tensor:
    """KL(reference || policy) over the vocabulary at each state.

    KL = sum_v p_ref(v) (log p_ref(v) - log p_pi(v))

    Args:
        policy: M states; the gradient reaches them and the vocabulary.
        reference: the same M places under the reference, same vocabulary; no gradient.
        block: most logits of one side that stand in memory at once; they are computed again in the backward pass.
    Returns:
        (M,) nats, >= 0 up to rounding, float32 or better.
    """
    step = _rows(policy.weight, block)
    away = reference.weight.detach()
    parts = [
        checkpoint(_divergence, mine, policy.weight, other.detach(), away, use_reentrant=False)
        for mine, other in zip(torch.split(policy.hidden, step), torch.split(reference.hidden, step), strict=True)
    ]
    return torch.cat(parts)


def _divergence(hidden: Tensor, weight: Tensor, other: Tensor, other_weight: Tensor) -> Tensor:
    log_policy = torch.log_softmax(_logits(hidden, weight), -1)
    log_reference = torch.log_softmax(_logits(other, other_weight), -1)
    return (log_reference.exp() * (log_reference - log_policy)).sum(-1)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return (hidden @ weight.to(hidden.dtype).T).to(wide)


def _rows(weight: Tensor, block: int) -> int:
    return max(1, block // weight.shape[0])
