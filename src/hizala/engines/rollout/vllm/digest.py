"""What weights are, in one line: a digest that trainer and engine compute each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import Tensor


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, in the order of the names."""
    total = sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        # NumPy has no bfloat16: the bytes are hashed as they lie.
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
