"""Generation state of a policy: a key-value cache on our own decoder, recomputation for any other causal model.

Decoding runs in float32 whatever the policy trains in, so that the log-probs a sampler reports are those of a float32
forward. Dropout is off while a decoder is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hizala.engines.policy.decoder import Decoder, Layer


@dataclass(frozen=True, slots=True)
class Prefix:
    """A prompt's state: keys and values (layers, 2, kv_heads, tokens, d), and the logits (V,) of what follows."""

    state: Tensor
    logits: Tensor


class CachedDecoder:
    """Rows of one static key-value cache over our own decoder.

    A row's token at position p stands at place p of its row, so a row that is shorter than another is masked, never
    shifted, and a row taken over by another prompt needs no clearing.

    Args:
        module: the decoder, in float32 and without dropout.
        rows, length: the size of the cache; a row's tokens are at most `length`, its prompt included.
    """

    def __init__(self, module: Decoder, rows: int, length: int) -> None:
        self.module, self.rows, self.length = module, rows, length
        arch, self.device = module.arch, module.model.norm.weight.device
        # Zeros, not empty memory: a masked place has weight 0, and 0 times a stray NaN would be NaN.
        shape = (arch.layers, 2, rows, arch.kv_heads, length, arch.head_dim)
        self.cache = torch.zeros(shape, dtype=module.dtype, device=self.device)
        self._layers = cast("list[Layer]", list(module.model.layers))
        self._places = torch.arange(length, device=self.device)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[Prefix]:
        """The state after each prompt. Prompts are padded on the right, where causal attention never looks."""
        arch, width = self.module.arch, max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.as_tensor(prompt)
        x = self.module.embed(ids.to(self.device).view(-1))
        rotations = self.module.rotary(self._places[:width].repeat(len(prompts)))
        state = []
        for layer in self._layers:
            q, k, v = (
                t.view(len(prompts), width, -1, arch.head_dim).transpose(1, 2) for t in layer.project(x, rotations)
            )
            state.append(torch.stack((k, v), dim=1))
            seen = _band(width, layer.window, self.device)
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
        last = torch.tensor([row * width + len(prompt) - 1 for row, prompt in enumerate(prompts)], device=self.device)
        logits = self.module.logits(self.module.final(x[last]))
        whole = torch.stack(state)  # (layers, P, 2, kv_heads, width, d)
        return [Prefix(whole[:, p, ..., : len(prompt), :], logits[p]) for p, prompt in enumerate(prompts)]

    def load(self, prefix: Prefix, row: int) -> None:
        """Let a row continue a prefix."""
        self.cache[:, :, row, :, : prefix.state.shape[3]] = prefix.state

    def move(self, source: int, target: int) -> None:
        """Let row `target` be what row `source` is."""
        self.cache[:, :, target] = self.cache[:, :, source]

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Append one token to each of the first A rows: tokens (A,), positions (A,) -> logits (A, V)."""
        arch, live = self.module.arch, tokens.shape[0]
        width = int(positions.max()) + 1
        positions = positions.to(self.device)
        rows = torch.arange(live, device=self.device)
        behind = positions[:, None] - self._places[:width]
        masks = {w: _visible(behind, w)[:, None, None] for w in set(arch.windows)}
        x = self.module.embed(tokens.to(self.device))
        rotations = self.module.rotary(positions)
        for index, layer in enumerate(self._layers):
            q, k, v = layer.project(x, rotations)
            keys, values = self.cache[index, 0, :live], self.cache[index, 1, :live]
            keys[rows, :, positions] = k
            values[rows, :, positions] = v
            # The query heads that share a key head stand as rows of one product, so that keys are read once.
            grouped = q.view(live, arch.kv_heads, -1, arch.head_dim)
            out = scaled_dot_product_attention(
                grouped,
                keys[:, :, :width],
                values[:, :, :width],
                attn_mask=masks[layer.window],
                scale=arch.attention_scale,
            )
            x = layer.finish(x, out.reshape(live, arch.heads, arch.head_dim))
        return self.module.logits(self.module.final(x))


class RecomputingDecoder:
    """Any causal model of transformers, without a cache: every step is a forward over all live rows.

    Slow, and right for every causal architecture: rows are padded on the right, where neither a causal mask nor a
    recurrence looks.

    Args:
        module: called as `module(input_ids=…, attention_mask=…).logits`.
        rows, length: the size of the pool.
    """

    def __init__(self, module: nn.Module, rows: int, length: int) -> None:
        self.module, self.rows, self.length = module, rows, length
        self.device = next(module.parameters()).device
        self.ids = torch.zeros(rows, length, dtype=torch.int64, device=self.device)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[Prefix]:
        """The logits after each prompt; the state is the prompt itself. No forward is wider than the pool."""
        starts = range(0, len(prompts), self.rows)
        return [prefix for start in starts for prefix in self._prefill(prompts[start : start + self.rows])]

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> list[Prefix]:
        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.int64, device=self.device)
        lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.as_tensor(prompt)
        logits = self._forward(ids, lengths)
        return [Prefix(ids[p, : len(prompt)], logits[p]) for p, prompt in enumerate(prompts)]

    def load(self, prefix: Prefix, row: int) -> None:
        """Let a row continue a prefix."""
        self.ids[row, : len(prefix.state)] = prefix.state

    def move(self, source: int, target: int) -> None:
        """Let row `target` be what row `source` is."""
        self.ids[target] = self.ids[source]

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Append one token to each of the first A rows: tokens (A,), positions (A,) -> logits (A, V)."""
        positions = positions.to(self.device)
        self.ids[torch.arange(len(tokens), device=self.device), positions] = tokens.to(self.device)
        return self._forward(self.ids[: len(tokens), : int(positions.max()) + 1], positions + 1)

    def _forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(ids.shape[1], device=self.device) < lengths[:, None]
        logits = self.module(input_ids=ids, attention_mask=mask.long()).logits
        picked: Tensor = logits[torch.arange(len(ids), device=self.device), lengths - 1]
        return picked.float()


class Generates:
    """What a policy needs to be sampled from; it has `module`, see `protocols.Policy`."""

    module: nn.Module

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and response the model was made for; None where its config names no bound."""
        config: Any = getattr(self, "config", None) or getattr(self.module, "config", None) or {}
        name = "max_position_embeddings"
        bound = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        return None if bound is None else int(bound)

    def room(self, length: int, limit: int) -> int:
        """How many rows of `length` tokens fit into `limit` bytes of state; at least 1."""
        native = _native(self.module)
        if native is None:
            # What a recomputed row holds is its logits at every position, in float32.
            vocabulary: Any = getattr(getattr(self.module, "config", None), "vocab_size", 50_000)
            each = 4 * length * int(vocabulary)
        else:
            arch = native.arch
            each = 4 * length * arch.layers * 2 * arch.kv_heads * arch.head_dim
        return max(1, limit // each)

    @contextmanager
    def decoder(self, rows: int, length: int) -> Iterator[CachedDecoder | RecomputingDecoder]:
        """A decoder for the weights as they stand: float32, dropout off; all as it was when it closes."""
        native, training = _native(self.module), self.module.training
        self.module.eval()
        try:
            if native is None:
                yield RecomputingDecoder(self.module, rows, length)
                return
            dtype, native.dtype = native.dtype, torch.float32
            try:
                yield CachedDecoder(native, rows, length)
            finally:
                native.dtype = dtype
        finally:
            self.module.train(training)


def _native(module: nn.Module) -> Decoder | None:
    """Our own decoder inside `module` (adapters may wrap it), or None."""
    return next((m for m in module.modules() if isinstance(m, Decoder)), None)


def _visible(behind: Tensor, window: int | None) -> Tensor:
    """Where a place `behind` positions back is seen."""
    seen = behind >= 0
    return seen if window is None else seen & (behind < window)


def _band(width: int, window: int | None, device: torch.device) -> Tensor | None:
    """(width, width) mask of a sliding window, or None where plain causal attention is the same."""
    if window is None or width <= window:
        return None
    places = torch.arange(width, device=device)
    return _visible(places[:, None] - places, window)
