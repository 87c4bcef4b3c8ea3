"""The optimiser, and the norm of the gradient that clipping and the non-finite check rest on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hizala.engines.train.settings import Settings
from hizala.engines.train.sharded import is_sharded_tensor
from hizala.errors import TrainError

# Sums of float32 squares over more elements than this lose digits that a clip factor would hand to every weight.
_CHUNK = 16384


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that train, by name, tied ones once.

    Raises:
        TrainError: there is none.
    """
    found = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not found:
        raise TrainError("the policy has no parameter to train")
    return found


def build(module: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW with one fused kernel a step; parameters of fewer than two axes (norms, biases) do not decay.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101, alg. 2.
    """
    parameters = list(trainable(module).values())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor."""
    return tensor.to_local() if is_sharded_tensor(tensor) else tensor


def gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """This process's parts of the gradients there are."""
    return [local(p.grad) for p in parameters if p.grad is not None]


def squared_norm(grads: list[Tensor], device: torch.device | str = "cpu") -> Tensor:
    """() float64: sum of squares of this process's gradients, to about 1e-7 relative in float32."""
    pieces = [piece for grad in grads if grad.numel() for piece in _pieces(grad)]
    if not pieces:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack(torch._foreach_norm(pieces)).double().square().sum()


def _pieces(grad: Tensor) -> Iterable[Tensor]:
    if grad.device.type != "cpu" or grad.dtype == torch.float64 or grad.numel() <= _CHUNK:
        return (grad,)
    return torch.split(grad.reshape(-1), _CHUNK)
