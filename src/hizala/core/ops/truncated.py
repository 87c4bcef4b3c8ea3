"""Log-probs of given tokens under a truncated, tempered distribution, with an exact gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hizala.core.distribution import Distribution
from hizala.core.ops import kernels
from hizala.core.ops.linear import product, weight_gradient
from hizala.core.ops.nucleus import Cut
from hizala.core.ops.vocab import token_logps
from hizala.errors import ConfigError

# Logits that stand in memory at once, unless so few rows would make the weight's gradient slow to add up.
BLOCK = 1 << 21
FEWEST_ROWS = 64


class Reading(NamedTuple):
    """What is read of next-token distributions at M tokens.

    Attributes:
        logps: (M,) nats, float32 or better.
        entropy: (M,) nats, where it was asked for.
        outside: (M,) bool, the token is one that was cut off and kept all the same.
    """

    logps: Tensor
    entropy: Tensor | None
    outside: Tensor


def logps_at(
    hidden: Tensor, weight: Tensor, targets: Tensor, distribution: Distribution | None, *, entropy: bool = False
) -> Reading:
    """Log-probs at `targets` of the distribution tokens are drawn from, None being softmax(hidden weight^T).

    Args:
        hidden, weight, targets, entropy: see `truncated_logps`.
    Raises:
        ConfigError: the distribution is greedy: whatever it draws has log-prob 0, whichever the weights.
    """
    _refuse_greedy(distribution)
    if distribution is not None and distribution.truncates:
        return truncated_logps(hidden, weight, targets, distribution, entropy=entropy)
    temperature = 1.0 if distribution is None else distribution.temperature
    found = token_logps(hidden, weight, targets, temperature=temperature, entropy=entropy)
    return Reading(*found, torch.zeros_like(targets, dtype=torch.bool))


def logps_of(logits: Tensor, targets: Tensor, distribution: Distribution | None, *, entropy: bool = False) -> Reading:
    """`logps_at` for logits (M, V), float32 or better, that stand in memory anyway."""
    _refuse_greedy(distribution)
    scaled = logits if distribution is None or distribution.temperature == 1 else logits / distribution.temperature
    outside = torch.zeros_like(targets, dtype=torch.bool)
    if distribution is not None and distribution.truncates:
        kept = distribution.cut(scaled.detach()).keeps(scaled.detach())
        outside = ~kept.gather(1, targets[:, None])[:, 0]
        scaled = scaled.masked_fill(~kept.scatter_(1, targets[:, None], True), float("-inf"))
    logq = torch.log_softmax(scaled, dim=-1)
    spread = -(logq.exp() * logq.masked_fill(logq == float("-inf"), 0)).sum(-1) if entropy else None
    return Reading(logq.gather(1, targets[:, None])[:, 0], spread, outside)


def _refuse_greedy(distribution: Distribution | None) -> None:
    if distribution is not None and distribution.greedy:
        fix = "sample with a temperature above 0"
        raise ConfigError("a greedy distribution has nothing to learn from", where="temperature", fix=fix)


def truncated_logps(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    distribution: Distribution,
    *,
    entropy: bool = False,
    block: int = BLOCK,
) -> Reading:
    """log q at `targets`, q = softmax(hidden weight^T / temperature) cut to the kept set K and renormalised.

    log q(y) = z_y - log sum_{v in K} exp z_v,  z = logits / temperature

    K is found as the sampler finds it (`Distribution.cut`), on logits in float32 or better, and is a constant for the
    gradient; the target is always in it, so that a token that was sampled has a finite log-prob even where rounding
    has moved the cut past it.

    Args:
        hidden: (M, H) states that predict the tokens.
        weight: (V, H) rows of the vocabulary, in any floating dtype.
        targets: (M,) int64 in [0, V).
        distribution: temperature and cuts; not greedy.
        entropy: also return the entropy of each q.
        block: most logits that stand in memory at once; they are computed again in the backward pass.
    """
    if targets.shape[0] == 0:
        # Nothing to score, but the result stays part of the graph so that a backward pass finds its way.
        nothing = hidden.sum(-1).to(torch.promote_types(hidden.dtype, torch.float32))
        return Reading(nothing, nothing if entropy else None, targets.bool())
    rows = max(FEWEST_ROWS, block // weight.shape[0])
    logps, entropies, outside = _Truncated.apply(hidden, weight, targets, distribution, entropy, rows)  # type: ignore[no-untyped-call]
    return Reading(logps, entropies if entropy else None, outside)


class _Truncated(torch.autograd.Function):
    """Blocks of rows: a cut needs whole rows. dlogits_v = g (1[v = y] - q_v) / T for v in K, else 0."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, distribution: Distribution, spread: bool, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        logps = torch.empty(len(targets), dtype=wide, device=hidden.device)
        lse, entropy, floor = (torch.zeros_like(logps) for _ in range(3))
        last, outside = torch.empty_like(targets), torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
        for start in range(0, len(targets), rows):
            part = slice(start, start + rows)
            logits = _logits(hidden[part], weight, distribution.temperature)
            cut = distribution.cut(logits)
            at_target = logits.gather(1, targets[part, None])[:, 0]
            outside[part] = ~cut.holds(at_target, targets[part])
            lse[part], _, mean = _softmax(logits, cut, targets[part], softmax=False, mean=spread)
            logps[part] = at_target - lse[part]
            if mean is not None:
                entropy[part] = lse[part] - mean
            floor[part], last[part] = cut
        ctx.save_for_backward(hidden, weight, targets, lse, entropy, floor, last)
        ctx.temperature, ctx.rows = distribution.temperature, rows
        ctx.mark_non_differentiable(outside)
        return logps, entropy, outside

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_logps: Tensor, d_entropy: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, lse, entropy, floor, last = ctx.saved_tensors
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros(weight.shape, dtype=lse.dtype, device=weight.device) if ctx.needs_input_grad[1] else None
        spreading = bool(d_entropy.any())
        for start in range(0, len(targets), ctx.rows):
            part = slice(start, start + ctx.rows)
            # The same product in the same blocks as before, so that the same logits are kept.
            logits = _logits(hidden[part], weight, ctx.temperature)
            cut = Cut(floor[part], last[part])
            q = _softmax(logits, cut, targets[part], softmax=True, mean=False)[1]
            assert q is not None
            d = d_logps[part, None] / ctx.temperature
            grad = q * -d
            if spreading:
                surprise = logits.sub_((lse - entropy)[part, None])
                grad -= surprise.mul_(q).mul_(d_entropy[part, None] / ctx.temperature)
            grad = grad.scatter_add_(1, targets[part, None], d).to(hidden.dtype)
            if d_hidden is not None:
                d_hidden[part] = product(grad, weight, across=True)
            if d_weight is not None:
                d_weight += weight_gradient(grad, hidden[part])
        return d_hidden, None if d_weight is None else d_weight.to(weight.dtype), None, None, None, None


def _softmax(
    logits: Tensor, cut: Cut, targets: Tensor, *, softmax: bool, mean: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See `Kernels.softmax_kept`."""
    fast = kernels.drawing(logits)
    if fast is not None:
        return fast.softmax_kept(logits, cut.floor, cut.last, targets, softmax=softmax, mean=mean)
    kept = cut.keeps(logits).scatter_(1, targets[:, None], True)
    inside = logits.masked_fill(~kept, float("-inf"))
    lse = inside.logsumexp(-1)
    q = inside.softmax(-1) if softmax or mean else None
    spread = (q * logits.masked_fill(~kept, 0)).sum(-1) if q is not None and mean else None
    return lse, q, spread


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """(m, V) float32 or better: rounded to bfloat16, logits would tie that do not."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    fast = kernels.active(hidden)
    if fast is not None and fast.multiplies(*weight.shape) and weight.dtype in (torch.float32, torch.bfloat16):
        logits = fast.multiply(hidden, weight, wide=True)
    else:
        logits = hidden.to(wide) @ weight.to(hidden.dtype).to(wide).T
    return logits if temperature == 1 else logits / temperature
