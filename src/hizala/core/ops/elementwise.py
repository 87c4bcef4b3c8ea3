"""Elementwise pieces of a decoder layer, each with a backward of its own that keeps little and passes rarely.

In bfloat16 every pass over an activation costs as much as a small matrix product, so each piece reads its input once,
works in float32 (or better) and rounds once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import gelu, silu
from torch.nn.functional import rms_norm as fused_rms_norm

from hizala.core.ops import kernels


def rms_norm(x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
    """x / rms(x) * (offset + weight) over the last axis, rms(x) = sqrt(mean(x^2) + eps).

    Args:
        x: (..., d), any float dtype; statistics and products are in float32 or better, rounded once.
        weight: (d,).
    Returns:
        (..., d) in the dtype of x.
    Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4.
    """
    if x.is_cuda:
        # One fused kernel forward and backward, statistics in float32.
        return fused_rms_norm(x, (x.shape[-1],), (weight + offset).to(x.dtype), eps)
    out: Tensor = _RmsNorm.apply(x, weight, eps, offset)  # type: ignore[no-untyped-call]
    return out


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, offset: float) -> Tensor:
        ctx.offset = offset
        fast = kernels.active(x)
        if fast is not None:
            rows = x.reshape(-1, x.shape[-1]).contiguous()
            normed, rstd = fast.rms_norm(rows, weight.float() + offset, eps)
            ctx.save_for_backward(rows, weight, rstd)
            return normed.view(x.shape)
        wide = torch.promote_types(x.dtype, torch.float32)
        xw = x.to(wide)
        rstd = (torch.linalg.vector_norm(xw, dim=-1, keepdim=True).square() / x.shape[-1] + eps).rsqrt()
        ctx.save_for_backward(x, weight, rstd)
        out: Tensor = (xw * rstd).mul_(weight.to(wide) + offset).to(x.dtype)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rstd = ctx.saved_tensors
        fast = kernels.active(x)
        if fast is not None:
            d_rows, d_scale = fast.rms_norm_backward(x, weight.float() + ctx.offset, rstd, grad.reshape(x.shape))
            return d_rows.view(grad.shape), d_scale.to(weight.dtype), None, None
        unit = x.to(rstd.dtype) * rstd
        g = grad.to(rstd.dtype)
        product = g * unit
        d_weight = product.flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        scale = weight.to(rstd.dtype) + ctx.offset
        shrink = (product @ scale)[..., None] / x.shape[-1]
        d_x = (g * scale).sub_(unit.mul_(shrink)).mul_(rstd)
        return d_x.to(x.dtype), d_weight, None, None


def gated(gate: Tensor, up: Tensor, kind: str) -> Tensor:
    """act(gate) * up with act silu or the tanh approximation of gelu; keeps its two inputs only.

    Source: Shazeer 2020, arXiv:2002.05202, eq. 6.
    """
    out: Tensor = _Gated.apply(gate, up, kind)  # type: ignore[no-untyped-call]
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        fast = kernels.active(gate)
        if fast is not None and kind == "silu" and gate.dim() == 2 and _rows_alike(gate, up):
            return fast.silu_gated(gate, up)
        return _act(gate, kind).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        fast = kernels.active(gate)
        if fast is not None and ctx.kind == "silu" and gate.dim() == 2 and _rows_alike(gate, up):
            return *fast.silu_gated_backward(gate, up, grad), None
        d_up = _act(gate, ctx.kind).mul_(grad)
        d_act = grad * up
        if ctx.kind == "silu":
            return torch.ops.aten.silu_backward(d_act, gate), d_up, None
        return torch.ops.aten.gelu_backward(d_act, gate, approximate="tanh"), d_up, None


def _act(gate: Tensor, kind: str) -> Tensor:
    return silu(gate) if kind == "silu" else gelu(gate, approximate="tanh")


def _rows_alike(a: Tensor, b: Tensor) -> bool:
    return a.stride(-1) == b.stride(-1) == 1 and a.stride(0) == b.stride(0)


def turn_heads(
    x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, eps: float = 0.0, offset: float = 0.0
) -> Tensor:
    """`rotate(rms_norm(x, weight, eps, offset), cos, sin)`, the norm left out where there is no weight.

    Args:
        x: (N, heads, d).
        weight: (d,) or None.
        cos, sin: (N, d), both halves alike, in the dtype of x.
    """
    if kernels.active(x) is not None and x.stride(2) == 1 and x.stride(1) == x.shape[2]:
        out: Tensor = _TurnHeads.apply(x, weight, cos, sin, eps, offset)  # type: ignore[no-untyped-call]
        return out
    return rotate(x if weight is None else rms_norm(x, weight, eps, offset), cos, sin)


class _TurnHeads(torch.autograd.Function):
    """The compiled form of `turn_heads`: one pass, one rounding."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, eps: float, offset: float
    ) -> Tensor:
        fast = kernels.active(x)
        assert fast is not None
        scale = None if weight is None else weight.float() + offset
        out, rstd = fast.turn_heads(x, scale, cos, sin, eps)
        ctx.save_for_backward(x, scale, cos, sin, rstd)
        ctx.fast, ctx.weight_dtype = fast, None if weight is None else weight.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, cos, sin, rstd = ctx.saved_tensors
        d_x, d_scale = ctx.fast.turn_heads_backward(x, scale, cos, sin, rstd, grad)
        d_weight = None if scale is None else d_scale.to(ctx.weight_dtype)
        return d_x, d_weight, None, None, None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads (N, heads, d) turned by angles: first half of d against second half.

    Args:
        x: (N, heads, d).
        cos, sin: (N, d), both halves alike, in the dtype of x.
    Source: Su et al. 2021, arXiv:2104.09864, eq. 34, with halves in place of neighbours.
    """
    out: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return out


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1.0), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    half = x.shape[-1] // 2
    sin = sin[:, None, :half]
    out = x * cos[:, None]
    out[..., :half].addcmul_(x[..., half:], sin, value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin, value=sign)
    return out
