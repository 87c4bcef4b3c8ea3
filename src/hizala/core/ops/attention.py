"""Softmax attention over groups of tokens, with a backward of its own: compiled, or cut into rectangles.

On a CPU the general attention kernels run far below the speed of the matrix products they are made of when heads and
sequences are small. In PyTorch every rectangle of queries against keys is two batched products and one softmax. The
compiled form skips what no query sees and keeps one number a query for its backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hizala.core.ops import kernels

# Weights of a rectangle are kept for the backward pass up to this many elements, else computed again.
KEEP = 1 << 23


@dataclass(frozen=True, slots=True, eq=False)
class Rectangle:
    """Queries of rows [start, stop) against the keys of one or two runs of rows.

    Attributes:
        keys: runs of rows, each [start, stop).
        bias: (stop - start, keys) 0 where a query sees a key, -inf where not; every query sees at least one.
    """

    start: int
    stop: int
    keys: tuple[tuple[int, int], ...]
    bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Which keys each query sees: two runs of the keys of its group.

    Attributes:
        see: (M, 4) int32 [a, b) and [c, d), counted from the group's first key, a <= b <= c <= d; not both are empty.
        groups: (G, 4) int64 first query, queries, first key, keys of each group; together they hold every query once.
    """

    see: Tensor
    groups: Tensor


def compiled(q: Tensor) -> bool:
    """Whether `sight_attention` can work on queries like these (M, heads, d)."""
    fast = kernels.active(q)
    return fast is not None and fast.attends(q.shape[-1])


def sight_attention(q: Tensor, k: Tensor, v: Tensor, sight: Sight, scale: float) -> Tensor:
    """softmax(scale * q k^T) v over the keys each query sees. Only where `compiled(q)`.

    Args:
        q: (M, heads, d).
        k, v: (N, kv_heads, d); heads is a multiple of kv_heads.
    Returns:
        (M, heads, d).
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; backward from the log-sum-exp as in Dao et al. 2022,
    arXiv:2205.14135, alg. 4.
    """
    out: Tensor = _SightAttention.apply(q, k, v, sight, scale)  # type: ignore[no-untyped-call]
    return out


class _SightAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, sight: Sight, scale: float) -> Tensor:
        fast = kernels.active(q)
        assert fast is not None
        out, lse = fast.tree_attention(q, k, v, sight.see, sight.groups, scale)
        ctx.save_for_backward(q, k, v, lse)
        ctx.fast, ctx.sight, ctx.scale = fast, sight, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, lse = ctx.saved_tensors
        see, groups = ctx.sight.see, ctx.sight.groups
        return *ctx.fast.tree_attention_backward(q, k, v, see, groups, lse, grad, ctx.scale), None, None


def rectangle_attention(q: Tensor, k: Tensor, v: Tensor, rectangles: Sequence[Rectangle], scale: float) -> Tensor:
    """softmax(scale * q k^T + bias) v, rectangle by rectangle.

    Args:
        q: (N, heads, d).
        k, v: (N, kv_heads, d); heads is a multiple of kv_heads.
        rectangles: together they hold every row once.
    Returns:
        (N, heads, d).
    Source: Vaswani et al. 2017, arXiv:1706.03762, eq. 1.
    """
    out: Tensor = _Attention.apply(q, k, v, tuple(rectangles), scale)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, rectangles: tuple[Rectangle, ...], scale: float) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        kept: list[Tensor] = []
        keeping = any(ctx.needs_input_grad)
        for r in rectangles:
            weights = _weights(_queries(q, r, k.shape[1]), _keys(k, r), r, scale)
            _rows(out, r, k.shape[1]).copy_(_unfold(torch.bmm(weights, _keys(v, r)), r))
            if keeping and weights.numel() <= KEEP:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.rectangles, ctx.scale = rectangles, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        weights_kept = iter(kept)
        d_q = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        d_k, d_v = (
            torch.zeros(k.shape, dtype=k.dtype, device=k.device),
            torch.zeros(v.shape, dtype=v.dtype, device=v.device),
        )
        kv = k.shape[1]
        for r in ctx.rectangles:
            queries, keys, values = _queries(q, r, kv), _keys(k, r), _keys(v, r)
            if queries.shape[0] * queries.shape[1] * keys.shape[1] <= KEEP:
                weights = next(weights_kept)
            else:
                weights = _weights(queries, keys, r, ctx.scale)
            g = _queries(grad, r, kv)
            d_scores = _d_scores(torch.bmm(g, values.transpose(1, 2)), weights, ctx.scale)
            _rows(d_q, r, kv).copy_(_unfold(torch.bmm(d_scores, keys), r))
            _scatter(d_k, torch.bmm(d_scores.transpose(1, 2), queries), r)
            _scatter(d_v, torch.bmm(weights.transpose(1, 2), g), r)
        return d_q, d_k, d_v, None, None


def _weights(queries: Tensor, keys: Tensor, r: Rectangle, scale: float) -> Tensor:
    fast = kernels.active(queries)
    if fast is not None:
        return fast.softmax_(torch.bmm(queries, keys.transpose(1, 2)), r.bias, scale)
    rep = queries.shape[1] // (r.stop - r.start)
    bias = r.bias.repeat(rep, 1) if rep > 1 else r.bias
    scores = torch.baddbmm(bias.expand(keys.shape[0], *bias.shape), queries, keys.transpose(1, 2), alpha=scale)
    return torch.softmax(scores, dim=-1)


def _d_scores(d_weights: Tensor, weights: Tensor, scale: float) -> Tensor:
    fast = kernels.active(weights)
    if fast is not None:
        return fast.softmax_backward_(d_weights, weights, scale)
    d_scores: Tensor = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
    return d_scores.mul_(scale)


def _rows(x: Tensor, r: Rectangle, kv: int) -> Tensor:
    """(rows, kv, rep, d) view of a rectangle's rows."""
    return x[r.start : r.stop].view(r.stop - r.start, kv, -1, x.shape[-1])


def _queries(x: Tensor, r: Rectangle, kv: int) -> Tensor:
    """(kv, rep * rows, d): query heads that share a key head stand below one another."""
    part = x[r.start : r.stop]
    return part.reshape(part.shape[0], kv, -1, part.shape[-1]).permute(1, 2, 0, 3).reshape(kv, -1, part.shape[-1])


def _unfold(x: Tensor, r: Rectangle) -> Tensor:
    """(kv, rep * rows, d) back to (rows, kv, rep, d)."""
    return x.view(x.shape[0], -1, r.stop - r.start, x.shape[-1]).permute(2, 0, 1, 3)


def _keys(x: Tensor, r: Rectangle) -> Tensor:
    """(kv, keys, d) of the rows a rectangle's queries may see."""
    parts = [x[a:b].transpose(0, 1) for a, b in r.keys]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _scatter(target: Tensor, x: Tensor, r: Rectangle) -> None:
    at = 0
    for a, b in r.keys:
        target[a:b] += x[:, at : at + b - a].transpose(0, 1)
        at += b - a
