"""Attention over a forest's row on the CPU: scaled dot-product attention group by group."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from hizala.engines.policy.forest import Forest, Span
from hizala.errors import ConfigError, nearest

KINDS = ("auto", "sdpa", "flex")


def attend_over(forest: Forest, scale: float, kind: str = "auto") -> SdpaAttend:
    """The attention of a forest."""
    return SdpaAttend(forest, scale)


def checked(kind: str) -> str:
    """The kind of attention, if there is such a one. Raises ConfigError."""
    if kind not in KINDS:
        raise ConfigError(f"unknown attention '{kind}'{nearest(kind, KINDS)}", fix=f"known: {', '.join(KINDS)}")
    return kind


class SdpaAttend:
    """Every group by itself; no token sees another group.

    Args:
        forest: the row.
        scale: what query-key products are multiplied by.
    """

    def __init__(self, forest: Forest, scale: float) -> None:
        self.forest, self.scale = forest, scale

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        """(N, heads, d) of what each token gathers from its own branch."""
        parts = []
        for span in self.forest.spans:
            rows = slice(span.start, span.start + span.tokens)
            parts.append(self._group(span, q[rows], k[rows], v[rows], window))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _group(self, span: Span, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
        q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
        mask = self._mask(span, window, q.device)
        grouped = q.shape[1] != k.shape[1]
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=grouped)
        return out[0].transpose(0, 1)

    def _mask(self, span: Span, window: int | None, device: torch.device) -> Tensor:
        key = ("mask", span, window)
        if key not in self.forest.cache:
            self.forest.cache[key] = tree_mask(span, window).to(device)
        mask = self.forest.cache[key]
        assert isinstance(mask, Tensor)
        return mask


def tree_mask(span: Span, window: int | None) -> Tensor:
    """(n, n) bool for the n tokens of one group: True where the row's token sees the column's."""
    position = torch.cat([torch.arange(span.prompt), *(span.prompt + torch.arange(n) for n in span.responses)])
    branch = torch.cat([torch.full((n,), b) for b, n in enumerate((span.prompt, *span.responses))])
    behind = position[:, None] - position[None, :]
    seen = (behind >= 0) & ((branch[None, :] == 0) | (branch[:, None] == branch[None, :]))
    return seen if window is None else seen & (behind < window)
