"""A linear map whose weight's gradient is summed in float32 where compiled products are at hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hizala.core.ops import kernels


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T computed in the dtype of x, whatever the weight is held in.

    Args:
        x: (N, in).
        weight: (out, in).
    Returns:
        (N, out).
    """
    fast = kernels.active(x)
    if fast is not None and x.dim() == 2 and weight.requires_grad and fast.multiplies(*weight.shape):
        out: Tensor = _Linear.apply(x, weight)  # type: ignore[no-untyped-call]
        return out
    return torch.nn.functional.linear(x, weight.to(x.dtype))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        narrow = weight.to(x.dtype)
        ctx.save_for_backward(x, narrow)
        ctx.dtype = weight.dtype
        return x @ narrow.T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, narrow = ctx.saved_tensors
        d_x = grad @ narrow if ctx.needs_input_grad[0] else None
        d_weight = weight_gradient(grad, x).to(ctx.dtype) if ctx.needs_input_grad[1] else None
        return d_x, d_weight


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x of (N, out) and (N, in): (out, in), in float32 where it is compiled, else in their dtype."""
    fast = kernels.active(x)
    if fast is not None and fast.multiplies(grad.shape[1], x.shape[1]):
        return fast.outer_sum(grad, x)
    return grad.T @ x
