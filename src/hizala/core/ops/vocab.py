"""Log-probs of given tokens without the (tokens, vocabulary) logits ever standing in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hizala.core.ops import kernels
from hizala.core.ops.linear import product, weight_gradient

# Elements of one (tokens, vocabulary) block. 2 Mi is 8 MiB in float32: large enough for a matrix product at full
# speed, small enough to stay in a last-level cache.
BLOCK = 1 << 21
# A GPU needs larger products to be busy.
BLOCK_CUDA = 1 << 25
# Up to this many elements the probabilities are kept for the backward pass instead of being computed twice: 64 MiB in
# bfloat16.
KEEP = 1 << 25


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    block: int | None = None,
    keep: int = KEEP,
) -> tuple[Tensor, Tensor | None]:
    """log softmax(hidden weight^T / temperature) at `targets`, in blocks over the vocabulary.

    Args:
        hidden: (M, H) states that predict the tokens; the products are computed in their dtype.
        weight: (V, H) rows of the vocabulary, in any floating dtype.
        targets: (M,) int64 in [0, V).
        temperature: > 0; divides the logits.
        entropy: also return the entropy of each distribution.
        block: most logits that stand in memory at once; None for `BLOCK`, on a GPU `BLOCK_CUDA`.
        keep: up to this many logits in all, probabilities are kept for the backward pass.
    Returns:
        (M,) nats, and (M,) nats or None; float32 or better, the softmax being computed in it.
    """
    if targets.shape[0] == 0:
        # Nothing to score, but the result stays part of the graph so that a backward pass finds its way.
        nothing = hidden.sum(-1).to(torch.promote_types(hidden.dtype, torch.float32))
        return nothing, nothing if entropy else None
    if block is None:
        block = BLOCK_CUDA if hidden.is_cuda else BLOCK
    logps, plogp = _TokenLogps.apply(hidden, weight, targets, 1.0 / temperature, entropy, block, keep)  # type: ignore[no-untyped-call]
    return logps, plogp if entropy else None


class _TokenLogps(torch.autograd.Function):
    """Blocks over the vocabulary: the weight's gradient is then complete block by block and needs no accumulator.

    Forward, with b a block: lse = logsumexp_b(lse_b). Backward: dlogits_b = g (onehot - softmax_b exp(lse_b - lse)).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scale: float, entropy: bool, block: int, keep: int
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        (m, _), v = hidden.shape, weight.shape[0]
        step = max(1, min(v, block // m))
        # Compiled products work on multiples of 16.
        step -= step % 16 if step > 16 else 0
        rows = torch.arange(m, device=hidden.device)
        at_target = torch.empty(m, dtype=wide, device=hidden.device)
        # What outlives a block stands before the loop: small survivors between large blocks would break up the heap.
        blocks = -(-v // step)
        lses = torch.empty(blocks, m, dtype=wide, device=hidden.device)
        sums = torch.empty(blocks if entropy else 0, m, dtype=wide, device=hidden.device)
        kept: list[Tensor] = []
        keeping = (ctx.needs_input_grad[0] or ctx.needs_input_grad[1]) and m * v <= keep
        for i, start in enumerate(range(0, v, step)):
            raw = _logits(hidden, weight[start : start + step], scale)
            inside = (targets >= start) & (targets < start + raw.shape[1])
            column = (targets - start).clamp(0, raw.shape[1] - 1)
            torch.where(inside, raw[rows, column].to(wide), at_target, out=at_target)
            fast = kernels.active(raw)
            if fast is not None:
                lses[i], share, mean = fast.log_sum_exp(raw, softmax=keeping, mean=entropy)
                kept += [] if share is None else [share]
                if mean is not None:
                    sums[i] = mean
            else:
                logits = raw.to(wide)
                logp = torch.log_softmax(logits, dim=-1)
                # log_softmax is one fused pass where logsumexp takes four; any column's difference gives it back.
                torch.sub(logits[:, 0], logp[:, 0], out=lses[i])
                kept += [torch.softmax(raw, dim=-1)] if keeping else []
                if entropy:
                    torch.sum(logp.exp() * logits, -1, out=sums[i])
        lse = lses[0] if blocks == 1 else torch.logsumexp(lses, dim=0)
        mean_logit = torch.zeros((), dtype=wide, device=hidden.device).expand(m)
        if entropy:
            mean_logit = (sums * (lses - lse).exp()).sum(0)
        ctx.save_for_backward(hidden, weight, targets, lses, lse, mean_logit, *kept)
        ctx.scale, ctx.step, ctx.entropy = scale, step, entropy
        return at_target - lse, lse - mean_logit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logps: Tensor, d_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, lses, lse, mean_logit, *kept = ctx.saved_tensors
        m, v = hidden.shape[0], weight.shape[0]
        d_hidden = torch.zeros(hidden.shape, dtype=lse.dtype, device=hidden.device) if ctx.needs_input_grad[0] else None
        d_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        rows = torch.arange(m, device=hidden.device)
        # Entropy that is measured and not trained on costs nothing here.
        spreading = ctx.entropy and bool(d_entropy.any())
        for i, start in enumerate(range(0, v, ctx.step)):
            part = weight[start : start + ctx.step]
            if kept and not spreading:
                p, raw = kept[i], None
            else:
                raw = _logits(hidden, part, ctx.scale)
                fast = kernels.active(raw)
                p = torch.softmax(raw, dim=-1) if fast is None else fast.log_sum_exp(raw, softmax=True)[1]
                assert p is not None
            share = (lses[i] - lse).exp()
            grad = p * (-d_logps * share)[:, None].to(p.dtype)
            if spreading and raw is not None:
                grad = grad - p * (raw - mean_logit[:, None]) * (d_entropy * share)[:, None]
                grad = grad.to(p.dtype)
            inside = (targets >= start) & (targets < start + part.shape[0])
            column = (targets - start).clamp(0, part.shape[0] - 1)
            grad[rows, column] += torch.where(inside, d_logps, 0).to(grad.dtype)
            if ctx.scale != 1.0:
                grad = grad * ctx.scale
            if d_hidden is not None:
                d_hidden += product(grad, part, across=True)
            if d_weight is not None:
                d_weight[start : start + ctx.step] = weight_gradient(grad, hidden)
        return None if d_hidden is None else d_hidden.to(hidden.dtype), d_weight, None, None, None, None, None


def _logits(hidden: Tensor, part: Tensor, scale: float) -> Tensor:
    logits = product(hidden, part)
    return logits if scale == 1.0 else logits * scale
