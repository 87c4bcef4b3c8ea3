"""A place for compiled passes and products. Whoever has built them installs them; PyTorch serves otherwise.

This module does no building and no loading: `hizala.engines.policy.native` does, and checks what it built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Kernels(Protocol):
    """Passes over bfloat16 tensors on the CPU; sums are in float32. Shapes as in `core.ops.elementwise`."""

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """(rows, d), float32 (d,) -> normed (rows, d), 1 / rms (rows,)."""

    def rms_norm_backward(self, x: Tensor, weight: Tensor, rstd: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of x (rows, d) and, in float32, of the weight (d,)."""

    def turn_heads(
        self, x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """(N, heads, d), normed where a float32 weight (d,) is given, turned; and 1 / rms (N, heads)."""

    def turn_heads_backward(
        self, x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, rstd: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of x and, in float32, of the weight."""

    def silu_gated(self, gate: Tensor, value: Tensor) -> Tensor:
        """silu(gate) * value, (N, d)."""

    def silu_gated_backward(self, gate: Tensor, value: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of gate and value."""

    def softmax_(self, scores: Tensor, bias: Tensor, scale: float) -> Tensor:
        """softmax(scale * scores + bias) in place; the rows of the bias repeat over the rows of the scores."""

    def softmax_backward_(self, grad: Tensor, weights: Tensor, scale: float) -> Tensor:
        """scale * weights * (grad - sum(weights * grad)) in place of grad."""

    def log_sum_exp(
        self, logits: Tensor, *, softmax: bool, mean: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(M,) float32 log-sum-exp of (M, V) logits, and where asked for their softmax and their mean (M,) under it."""

    def multiplies(self, rows: int, columns: int) -> bool:
        """Whether there are products of this size; not every processor has the instructions."""

    def multiply(self, x: Tensor, weight: Tensor, *, across: bool = False, wide: bool = False) -> Tensor:
        """x weight^T of (n, in) and (out, in), or with `across` x weight; the weight in bfloat16, or float32 and then
        rounded; with `wide` the result is not rounded but stays in float32."""

    def outer_sum(self, left: Tensor, right: Tensor) -> Tensor:
        """left^T right of (n, rows) and (n, columns), (rows, columns) in float32."""

    def attends(self, head_dim: int) -> bool:
        """Whether there is attention over trees for heads of this size; not every processor has the instructions."""

    def tree_attention(
        self, q: Tensor, k: Tensor, v: Tensor, see: Tensor, groups: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        """Attended (M, heads, d) and log-sum-exp of the scores (M, heads); see `core.ops.attention.Sight`."""

    def tree_attention_backward(
        self, q: Tensor, k: Tensor, v: Tensor, see: Tensor, groups: Tensor, lse: Tensor, grad: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k and v."""

    def draw(self, logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Tokens (R,) drawn from softmax(float32 logits (R, V) / temperature) by numbers (R,) float64 in [0, 1), and
        their log-probs (R,)."""

    def nucleus(self, logits: Tensor, floor: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """The smallest float32 logit kept of each row (R,), and the column up to which those equal to it are; see
        `core.ops.nucleus`."""

    def softmax_kept(
        self, logits: Tensor, floor: Tensor, last: Tensor, targets: Tensor, *, softmax: bool, mean: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Of what `Cut` keeps of float32 logits (R, V), and of the targets (R,): log-sum-exp (R,), and where asked for
        the softmax (R, V), 0 elsewhere, and the mean of the logits (R,) under it."""

    def packed(self, weight: Tensor, *, wide: bool) -> Tensor:
        """A float32 weight (out, in) as words for `decode_step`, float32 where `wide`, else rounded to bfloat16."""

    def decode_step(self, model: DecodeModel, rows: DecodeRows, logits: Tensor) -> None:
        """The next token of each row through all layers; its float32 logits (rows, V) are written."""

    def decode_prompt(self, model: DecodeModel, tokens: Tensor, first: int, state: Tensor) -> Tensor:
        """Tokens (n,) of one prompt, from place `first` on, through all layers: their keys and values are written into
        `state`, which holds those before them; the float32 logits (V,) of what follows."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodeModel:
    """A decoder as `decode.c` reads it; whoever makes it keeps the tensors alive that `table` has the addresses of.

    Attributes:
        shape: int64, see `Shape` there: layers, hidden, heads, kv heads, d, intermediate, vocab, wide, places.
        table: int64 addresses of packed weights and of float32 norm weights, layer by layer, then embedding, final
            norm and output.
        cosine, sine: (positions, d) float32.
        eps, scale: of the norms, of attention scores.
        step: words between a row's slots in one layer and in the next.
        scratch: memory that is used again from step to step.
    """

    shape: Tensor
    table: Tensor
    cosine: Tensor
    sine: Tensor
    eps: float
    scale: float
    step: int
    scratch: dict[int, Tensor]


class DecodeRows(NamedTuple):
    """What is known of each of R rows, int64: its token, the token's position, the address of its slot, that of its
    prompt's keys and values, and the prompt's length."""

    tokens: Tensor
    positions: Tensor
    slots: Tensor
    prompts: Tensor
    lengths: Tensor


_installed: Kernels | None = None


def install(kernels: Kernels | None) -> None:
    """Use these from now on; None: PyTorch alone."""
    global _installed
    _installed = kernels


def installed() -> Kernels | None:
    """What is installed."""
    return _installed


def active(x: Tensor) -> Kernels | None:
    """What is installed, if it can work on this tensor."""
    if _installed is not None and x.dtype == torch.bfloat16 and x.device.type == "cpu":
        return _installed
    return None


def drawing(logits: Tensor) -> Kernels | None:
    """What is installed, if it can draw tokens from these logits (R, V)."""
    usable = _installed is not None and logits.dtype == torch.float32 and logits.device.type == "cpu"
    return _installed if usable and _installed is not None and _installed.attends(16) else None
