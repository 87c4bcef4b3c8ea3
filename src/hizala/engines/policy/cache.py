"""Generation state of a policy: a key-value cache on our own decoder, recomputation for any other causal model.

Decoding runs in float32 whatever the policy trains in, so that the log-probs a sampler reports are those of a float32
forward, unless bfloat16 is asked for. Dropout is off while a decoder is open. Where the compiled passes cover the
architecture, `compiled.CompiledDecoder` does what `CachedDecoder` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hizala.engines.policy.compiled import CompiledDecoder, covering
from hizala.engines.policy.decoder import Decoder, Layer
from hizala.engines.policy.prefill import Prefix, at_least_float32, prefilled, visible
from hizala.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class CachedDecoder:
    """Rows of one static key-value cache over our own decoder.

    A row's token at position p stands at place p of its row, so a row that is shorter than another is masked, never
    shifted, and a row taken over by another prompt needs no clearing.

    Args:
        module: the decoder, in the dtype to compute in and without dropout.
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
        """The state after each prompt."""
        whole, logits = prefilled(self.module, prompts)
        return [Prefix(whole[:, p, ..., : len(prompt), :], logits[p], len(prompt)) for p, prompt in enumerate(prompts)]

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
        masks = {w: visible(behind, w)[:, None, None] for w in set(arch.windows)}
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
        return at_least_float32(self.module.logits(self.module.final(x)))


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
        return [Prefix(ids[p, : len(prompt)], logits[p], len(prompt)) for p, prompt in enumerate(prompts)]

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
    def decoder(
        self, rows: int, length: int, dtype: str = "float32"
    ) -> Iterator[CachedDecoder | CompiledDecoder | RecomputingDecoder]:
        """A decoder for the weights as they stand: dropout off; all as it was when it closes.

        Args:
            rows, length: the size of the pool.
            dtype: what it computes in, float32 or bfloat16.
        Raises:
            ConfigError: another dtype than float32 for a model that is not our own decoder.
        """
        native, training = _native(self.module), self.module.training
        if native is None and dtype != "float32":
            raise ConfigError(f"this architecture is decoded in float32 alone, not in {dtype}", where="dtype")
        self.module.eval()
        try:
            if native is None:
                yield RecomputingDecoder(self.module, rows, length)
                return
            before, native.dtype = native.dtype, DTYPES[dtype]
            try:
                fast = covering(native)
                if fast is None:
                    yield CachedDecoder(native, rows, length)
                else:
                    yield CompiledDecoder(native, fast, rows, length)
            finally:
                native.dtype = before
        finally:
            self.module.train(training)


def _native(module: nn.Module) -> Decoder | None:
    """Our own decoder inside `module` (adapters may wrap it), or None."""
    return next((m for m in module.modules() if isinstance(m, Decoder)), None)
