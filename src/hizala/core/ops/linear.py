"""A linear map by compiled products where they are at hand: the weight is rounded on the way, its gradient summed in
float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hizala.core.ops import kernels

# Compiled products rearrange the weight at every call: with fewer rows that would cost more than it gains.
FEWEST = 128


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T computed in the dtype of x, whatever the weight is held in.

    Args:
        x: (N, in).
        weight: (out, in).
    Returns:
        (N, out).
    """
    fast = kernels.active(x)
    if fast is not None and x.dim() == 2 and fast.multiplies(*weight.shape):
        out: Tensor = _Linear.apply(x, weight)  # type: ignore[no-untyped-call]
        return out
    return torch.nn.functional.linear(x, weight.to(x.dtype))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        d_x = product(grad, weight, across=True) if ctx.needs_input_grad[0] else None
        d_weight = weight_gradient(grad, x).to(weight.dtype) if ctx.needs_input_grad[1] else None
        return d_x, d_weight


def product(x: Tensor, weight: Tensor, *, across: bool = False) -> Tensor:
    """x weight^T of (N, in) and (out, in), or with `across` x weight of (N, in) and (in, out), in the dtype of x."""
    fast = kernels.active(x)
    if (
        fast is not None
        and len(x) >= FEWEST
        and weight.dtype in (torch.float32, torch.bfloat16)
        and fast.multiplies(*weight.shape)
    ):
        return fast.multiply(x, weight, across=across)
    narrow = weight.to(x.dtype)
    return x @ (narrow if across else narrow.T)


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """grad^T x of (N, out) and (N, in): (out, in), in float32 where it is compiled, else in their dtype."""
    fast = kernels.active(x)
    if fast is not None and fast.multiplies(grad.shape[1], x.shape[1]):
        return fast.outer_sum(grad, x)
    return grad.T @ x
