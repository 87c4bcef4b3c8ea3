"""Generation by compiled passes: one call a step takes every row through all layers. See `core/ops/decode.c`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import torch
from torch import Tensor

from hizala.core.ops import kernels
from hizala.core.ops.kernels import DecodeModel, DecodeRows, Kernels
from hizala.engines.policy.decoder import Decoder, Layer, Linear, Norm
from hizala.engines.policy.prefill import Prefix

# Places of a row's own keys and values at first; they double when a response outgrows them.
PLACES = 64
# Tokens of a prompt that go through all layers together.
CHUNK = 512


def covering(module: Decoder) -> Kernels | None:
    """The compiled passes, if they cover this decoder as it stands: its shape, and weights that nothing adds to."""
    fast, arch = kernels.installed(), module.arch
    if fast is None or not fast.attends(arch.head_dim):
        return None
    plain = arch.activation == "silu" and not (arch.sandwich or arch.qkv_bias or arch.o_bias or arch.mlp_bias)
    whole = all(size % 16 == 0 for size in (arch.hidden, arch.intermediate, arch.vocab_size))
    alike = set(arch.windows) == {None} and len(set(arch.ropes)) == 1 and arch.embed_scale == 1.0
    held = all(type(p.data) is Tensor and p.dtype == torch.float32 and not p.is_cuda for p in module.model.parameters())
    layers = cast("list[Layer]", list(module.model.layers))
    own = all(type(part) is Linear for layer in layers for part in _products(layer))
    return fast if plain and whole and alike and held and own else None


def _products(layer: Layer) -> list[torch.nn.Module]:
    attention, mlp = layer.self_attn, layer.mlp
    of_attention = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*of_attention, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


class CompiledDecoder:
    """Rows that continue prompts, whose keys and values stand once for all rows of a prompt.

    Args:
        module: the decoder, in the dtype to compute in (float32 or bfloat16) and without dropout.
        fast: what `covering` gave.
        rows, length: rows of the pool; a row's tokens are at most `length`, its prompt included.
    """

    def __init__(self, module: Decoder, fast: Kernels, rows: int, length: int) -> None:
        self.module, self.fast, self.rows, self.length = module, fast, rows, length
        arch = module.arch
        self._wide = module.dtype == torch.float32
        self._words = arch.head_dim if self._wide else arch.head_dim // 2
        self._kept: list[Tensor] = []
        self._table = torch.tensor(self._addresses())
        positions = torch.arange(length)
        dtype, module.dtype = module.dtype, torch.float32
        rotation = module.rotary(positions)[arch.ropes[0]]
        module.dtype = dtype
        self._cosine, self._sine = rotation.cos.contiguous(), rotation.sin.contiguous()
        self._scratch: dict[int, Tensor] = {}
        self._logits = torch.empty(rows, arch.vocab_size)
        self._prefixes: list[Prefix | None] = [None] * rows
        self._slots, self._prompts, self._lengths = torch.arange(rows), *torch.zeros(2, rows, dtype=torch.int64)
        self._places = 0
        self._own = torch.empty(0, dtype=torch.int32)
        self._grow(PLACES)

    def _addresses(self) -> list[int]:
        """The table of `DecodeModel`."""
        out = []
        for layer in cast("list[Layer]", list(self.module.model.layers)):
            attention, mlp = layer.self_attn, layer.mlp
            heads = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
            normed = hasattr(attention, "q_norm")
            out += [
                self._norm(layer.input_layernorm),
                self._weight(*heads),
                self._norm(attention.q_norm) if normed else 0,
                self._norm(attention.k_norm) if normed else 0,
                self._weight(attention.o_proj.weight),
                self._norm(layer.post_attention_layernorm),
                self._weight(mlp.gate_proj.weight, mlp.up_proj.weight),
                self._weight(mlp.down_proj.weight),
            ]
        embedding = self.module.model.embed_tokens.weight.detach()
        return [
            *out,
            self._keep(embedding),
            self._norm(self.module.model.norm),
            self._weight(self.module.lm_head.weight),
        ]

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _norm(self, norm: Norm) -> int:
        return self._keep(norm.weight.detach() + norm.offset)

    def _weight(self, *parts: Tensor) -> int:
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return self._keep(self.fast.packed(whole, wide=self._wide))

    def _grow(self, places: int) -> None:
        """Room for so many tokens of each row's own."""
        arch, old, words = self.module.arch, self._places, self._words
        shape = (self.rows, arch.layers, arch.kv_heads, 2)
        # Zeros, not empty memory: a masked place has weight 0, and 0 times a stray NaN would be NaN.
        own = torch.zeros(*shape, words * places, dtype=torch.int32)
        if old:
            before = self._own.view(*shape, words * old)
            own[..., 0, :].view(*shape[:3], words, places)[..., :old] = before[..., 0, :].view(*shape[:3], words, old)
            own[..., 1, : words * old] = before[..., 1, :]
        self._own, self._places = own, places
        self._model = self._described(places, self._scratch)

    def _described(self, places: int, scratch: dict[int, Tensor]) -> DecodeModel:
        """The decoder over keys and values with so many places."""
        arch = self.module.arch
        sizes = (arch.layers, arch.hidden, arch.heads, arch.kv_heads, arch.head_dim, arch.intermediate)
        return DecodeModel(
            torch.tensor([*sizes, arch.vocab_size, int(self._wide), places]),
            self._table,
            self._cosine,
            self._sine,
            arch.eps,
            arch.attention_scale,
            arch.kv_heads * 2 * self._words * places,
            scratch,
        )

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[Prefix]:
        """The state after each prompt."""
        threads = max(1, min(torch.get_num_threads(), len(prompts)))
        if threads == 1:
            return [self._prefix(prompt, self._scratch) for prompt in prompts]
        parts = [prompts[i::threads] for i in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(lambda part: [self._prefix(prompt, {}) for prompt in part], parts))
        return [done[i % threads][i // threads] for i in range(len(prompts))]

    def _prefix(self, prompt: Sequence[int], scratch: dict[int, Tensor]) -> Prefix:
        arch, places = self.module.arch, -(-len(prompt) // 16) * 16
        state = torch.zeros(arch.layers, arch.kv_heads, 2, self._words * places, dtype=torch.int32)
        model, tokens = self._described(places, scratch), torch.tensor(prompt)
        for first in range(0, len(prompt), CHUNK):
            logits = self.fast.decode_prompt(model, tokens[first : first + CHUNK], first, state)
        return Prefix(state, logits, len(prompt))

    def load(self, prefix: Prefix, row: int) -> None:
        """Let a row continue a prefix."""
        self._prefixes[row] = prefix
        self._prompts[row], self._lengths[row] = prefix.state.data_ptr(), prefix.tokens

    def move(self, source: int, target: int) -> None:
        """Let row `target` be what row `source` is."""
        self._prefixes[target], self._prefixes[source] = self._prefixes[source], None
        for column in (self._slots, self._prompts, self._lengths):
            column[target], column[source] = column[source].clone(), column[target].clone()

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Append one token to each of the first A rows: tokens (A,), positions (A,) -> logits (A, V), valid until the
        next step."""
        live = len(tokens)
        most = int((positions - self._lengths[:live]).max()) + 1
        if most > self._places:
            self._grow(max(2 * self._places, -(-most // 16) * 16))
        slots = self._slots[:live] * (4 * self._own.stride(0)) + self._own.data_ptr()
        rows = DecodeRows(tokens, positions, slots, self._prompts[:live], self._lengths[:live])
        self.fast.decode_step(self._model, rows, self._logits[:live])
        return self._logits[:live]
