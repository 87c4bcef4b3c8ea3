"""What generation starts from: the state after each prompt, computed in one forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from hizala.engines.policy.decoder import Decoder, Layer


@dataclass(frozen=True, slots=True)
class Prefix:
    """The state after a prompt of so many tokens, as its decoder holds it, and the logits (V,) of what follows."""

    state: Tensor
    logits: Tensor
    tokens: int


def prefilled(module: Decoder, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Keys and values (layers, P, 2, kv_heads, width, d) of P prompts, and the logits (P, V) of what follows each.

    Prompts are padded on the right, where causal attention never looks.
    """
    arch, width, device = module.arch, max(map(len, prompts)), module.model.norm.weight.device
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.as_tensor(prompt)
    x = module.embed(ids.to(device).view(-1))
    rotations = module.rotary(torch.arange(width, device=device).repeat(len(prompts)))
    state = []
    for layer in cast("list[Layer]", list(module.model.layers)):
        q, k, v = (t.view(len(prompts), width, -1, arch.head_dim).transpose(1, 2) for t in layer.project(x, rotations))
        state.append(torch.stack((k, v), dim=1))
        seen = _band(width, layer.window, device)
        out = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=seen,
            is_causal=seen is None,
            scale=arch.attention_scale,
            enable_gqa=arch.heads != arch.kv_heads,
        )
        x = layer.finish(x, out.transpose(1, 2).flatten(0, 1))
    last = torch.tensor([row * width + len(prompt) - 1 for row, prompt in enumerate(prompts)], device=device)
    return torch.stack(state), at_least_float32(module.logits(module.final(x[last])))


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits as they are drawn from."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def visible(behind: Tensor, window: int | None) -> Tensor:
    """Where a place `behind` positions back is seen."""
    seen = behind >= 0
    return seen if window is None else seen & (behind < window)


def _band(width: int, window: int | None, device: torch.device) -> Tensor | None:
    """(width, width) mask of a sliding window, or None where plain causal attention is the same."""
    if window is None or width <= window:
        return None
    places = torch.arange(width, device=device)
    return visible(places[:, None] - places, window)
