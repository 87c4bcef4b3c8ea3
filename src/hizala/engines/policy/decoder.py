"""Our own decoder for Llama, Qwen 2, Qwen 3, Mistral and Gemma 3 (text), without transformers.

Parameter names are those of Hugging Face (`model.layers.0.self_attn.q_proj.weight`, ...), so safetensors files load
and save as they are. Tokens stand in one row: activations are (N, hidden), heads are (N, heads, head_dim). Who sees
whom is not the decoder's business: it is handed an `Attend`. A key-value cache therefore needs nothing but

    decoder.embed(ids) -> x;  rope = decoder.rotary(positions)
    for layer in decoder.model.layers:
        q, k, v = layer.project(x, rope)          # rotated; k, v go into the cache
        x = layer.finish(x, attention(q, k, v))   # (N, heads, head_dim) back to the residual row
    decoder.logits(decoder.final(x))

Weights are held as they were loaded (float32 masters) and computed with in `decoder.dtype`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hizala.core.ops.elementwise import gated, rms_norm, turn_heads
from hizala.core.ops.linear import linear
from hizala.engines.policy.arch import Arch, Rope


class Attend(Protocol):
    """Attention over a row: (N, heads, d), (N, kv_heads, d), (N, kv_heads, d), window -> (N, heads, d).

    With `rows` (M,), ascending places in the row, the queries and the result are of those only: (M, heads, d).
    """

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, window: int | None, rows: Tensor | None = None) -> Tensor: ...


class Rotation(NamedTuple):
    """Cosines and sines of a row's positions, (N, head_dim) each."""

    cos: Tensor
    sin: Tensor


class Embedding(nn.Embedding):
    """An embedding whose weights come from a file: drawing them first would cost time and imports."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its input, whatever its weight is held in."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are: they come from a file."""

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b, (N, out)."""
        bias: Tensor | None = self.bias
        if bias is None:
            return linear(x, self.weight)
        return F.linear(x, self.weight.to(x.dtype), bias.to(x.dtype))


class Norm(nn.Module):
    """Root-mean-square norm with statistics in float32 or better; weight counts as `offset + weight`."""

    def __init__(self, size: int, eps: float, offset: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), 1.0 - offset))
        self.eps, self.offset = eps, offset

    def forward(self, x: Tensor) -> Tensor:
        """x / rms(x) * (offset + weight) over the last axis."""
        return rms_norm(x, self.weight, self.eps, self.offset)


class Attention(nn.Module):
    """The projections of an attention layer."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        q, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
        self.q_proj = Linear(arch.hidden, q, bias=arch.qkv_bias)
        self.k_proj = Linear(arch.hidden, kv, bias=arch.qkv_bias)
        self.v_proj = Linear(arch.hidden, kv, bias=arch.qkv_bias)
        self.o_proj = Linear(q, arch.hidden, bias=arch.o_bias)
        if arch.qk_norm:
            self.q_norm = Norm(arch.head_dim, arch.eps, arch.norm_offset)
            self.k_norm = Norm(arch.head_dim, arch.eps, arch.norm_offset)

    def project(self, x: Tensor, rotation: Rotation, rows: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of normed x (N, hidden), queries and keys normed per head and rotated.

        With `rows` (M,) the queries are of those only.
        """
        d, turn = self.arch.head_dim, rotation
        k, v = (p(x).view(len(x), -1, d) for p in (self.k_proj, self.v_proj))
        if rows is not None:
            x, turn = x.index_select(0, rows), Rotation(*(t.index_select(0, rows) for t in rotation))
        q = self.q_proj(x).view(len(x), -1, d)
        if not self.arch.qk_norm:
            return turn_heads(q, None, *turn), turn_heads(k, None, *rotation), v
        eps, offset = self.arch.eps, self.arch.norm_offset
        q = turn_heads(q, self.q_norm.weight, *turn, eps, offset)
        return q, turn_heads(k, self.k_norm.weight, *rotation, eps, offset), v


class Mlp(nn.Module):
    """The gated feed-forward block."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.activation = arch.activation
        self.gate_proj = Linear(arch.hidden, arch.intermediate, bias=arch.mlp_bias)
        self.up_proj = Linear(arch.hidden, arch.intermediate, bias=arch.mlp_bias)
        self.down_proj = Linear(arch.intermediate, arch.hidden, bias=arch.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """down(act(gate x) * up x), (N, hidden)."""
        out: Tensor = self.down_proj(gated(self.gate_proj(x), self.up_proj(x), self.activation))
        return out


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self, arch: Arch, index: int) -> None:
        super().__init__()
        self.arch, self.window, self.rope = arch, arch.windows[index], arch.ropes[index]
        self.self_attn = Attention(arch)
        self.mlp = Mlp(arch)
        self.input_layernorm = Norm(arch.hidden, arch.eps, arch.norm_offset)
        self.post_attention_layernorm = Norm(arch.hidden, arch.eps, arch.norm_offset)
        if arch.sandwich:
            self.pre_feedforward_layernorm = Norm(arch.hidden, arch.eps, arch.norm_offset)
            self.post_feedforward_layernorm = Norm(arch.hidden, arch.eps, arch.norm_offset)

    def forward(self, x: Tensor, rotations: dict[Rope, Rotation], attend: Attend, rows: Tensor | None = None) -> Tensor:
        """The residual row (N, hidden) after this layer; where `rows` are given, only those (M, hidden)."""
        q, k, v = self.project(x, rotations, rows)
        attended = attend(q, k, v, self.window, rows)
        return self.finish(x if rows is None else x.index_select(0, rows), attended)

    def project(
        self, x: Tensor, rotations: dict[Rope, Rotation], rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (N, heads, d), of `rows` (M,) only where given, keys and values (N, kv_heads, d) of the residual
        row x, rotated."""
        normed: Tensor = self.input_layernorm(x)
        return self.self_attn.project(normed, rotations[self.rope], rows)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The residual row after the attention output (N, heads, d) and the feed-forward block are added."""
        out: Tensor = self.self_attn.o_proj(attended.flatten(1))
        if self.arch.sandwich:
            x = x + self.post_attention_layernorm(out)
            out = self.mlp(self.pre_feedforward_layernorm(x))
            out = self.post_feedforward_layernorm(out)
        else:
            x = x + out
            out = self.mlp(self.post_attention_layernorm(x))
        return x + out


class Trunk(nn.Module):
    """Embedding, layers and final norm."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.embed_tokens = Embedding(arch.vocab_size, arch.hidden)
        self.layers = nn.ModuleList(Layer(arch, i) for i in range(arch.layers))
        self.norm = Norm(arch.hidden, arch.eps, arch.norm_offset)


class Decoder(nn.Module):
    """A causal language model over one row of tokens.

    Attributes:
        dtype: what it computes in.
        angle_dtype: what rotary angles are computed in; float32 is what transformers does.
        checkpointing: recompute each layer in the backward pass instead of keeping its activations.
    """

    def __init__(self, arch: Arch, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.arch, self.dtype = arch, dtype
        self.angle_dtype = torch.float32
        self.checkpointing = False
        self.model = Trunk(arch)
        self.lm_head = Linear(arch.hidden, arch.vocab_size, bias=False)
        if arch.tied:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.heads = nn.ModuleDict()
        self._frequencies: dict[tuple[Rope, torch.device], Tensor] = {}

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        attend: Attend,
        rows: Tensor | None = None,
        readout: Callable[[Tensor], Any] | None = None,
    ) -> Any:
        """Final hidden states of a row of tokens.

        Args:
            ids, positions: (N,) tokens and their positions.
            attend: who sees whom.
            rows: (M,) places in the row that are asked for, ascending, each once; None for all. The last layer computes
                only what they need.
            readout: made of the (M, hidden) states while the weights of the whole model are at hand (under FSDP they
                are only during this call); its result is returned.
        """
        x, rotations = self.embed(ids), self.rotary(positions)
        final = len(self.model.layers) - 1
        for i, layer in enumerate(self.model.layers):
            wanted = rows if i == final else None
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(layer, x, rotations, attend, wanted, use_reentrant=False)
            else:
                x = layer(x, rotations, attend, wanted)
        x = self.final(x)
        return x if readout is None else readout(x)

    def embed(self, ids: Tensor) -> Tensor:
        """The residual row (N, hidden) of token ids (N,)."""
        x: Tensor = self.model.embed_tokens(ids)
        if self.arch.embed_scale != 1.0:
            # Rounded to float32 first, as transformers holds it.
            x = x * torch.tensor(self.arch.embed_scale, dtype=torch.float32).item()
        return x.to(self.dtype)

    def rotary(self, positions: Tensor) -> dict[Rope, Rotation]:
        """Cosines and sines (N, head_dim) of positions (N,), for every kind of rotary embedding in the model."""
        tables = {}
        for rope in dict.fromkeys(self.arch.ropes):
            key = (rope, positions.device)
            if key not in self._frequencies:
                self._frequencies[key] = frequencies(rope, self.arch.head_dim).to(positions.device)
            angles = positions[:, None].to(self.angle_dtype) * self._frequencies[key].to(self.angle_dtype)
            angles = torch.cat((angles, angles), dim=-1)
            tables[rope] = Rotation(angles.cos().to(self.dtype), angles.sin().to(self.dtype))
        return tables

    def final(self, x: Tensor) -> Tensor:
        """The final norm of the residual row."""
        out: Tensor = self.model.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, vocab) logits of final hidden states; for generation, where few rows are asked for."""
        out: Tensor = self.lm_head(hidden)
        return out


def frequencies(rope: Rope, head_dim: int) -> Tensor:
    """(head_dim / 2,) radians a position, in float32 as transformers computes them.

    Source: Su et al. 2021, arXiv:2104.09864, eq. 15; kind llama3 from Meta's Llama 3.1 reference code.
    """
    exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain: Tensor = 1.0 / (rope.theta**exponent)
    if rope.kind == "linear":
        return plain / rope.factor
    if rope.kind != "llama3":
        return plain
    wavelength = 2 * math.pi / plain
    longest, shortest = rope.original_context / rope.low_freq_factor, rope.original_context / rope.high_freq_factor
    slow = torch.where(wavelength > longest, plain / rope.factor, plain)
    blend = (rope.original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    smooth = (1 - blend) * slow / rope.factor + blend * slow
    between = (wavelength >= shortest) & (wavelength <= longest)
    return torch.where(between, smooth, slow)
