"""The distribution a sampler really draws from: temperature, then top-k, top-p and min-p, renormalised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hizala.core.ops import kernels
from hizala.core.ops.nucleus import Cut, nucleus
from hizala.errors import ConfigError

_CHUNK = 1 << 23  # logits worked on at a time: 64 MB of float64


@dataclass(frozen=True, slots=True)
class Distribution:
    """How next-token logits become the distribution tokens are drawn from.

    q = softmax(logits / temperature), cut to the top_k most likely tokens, then to the smallest set of them that holds
    a share top_p of what is left, then to tokens at least min_p times as likely as the likeliest; renormalised.

    Attributes:
        temperature: >= 0; 0 is greedy: the likeliest token, with probability 1.
        top_k: >= 0; 0 keeps all. Tokens tied with the k-th are kept.
        top_p: (0, 1]; 1 keeps all.
        min_p: [0, 1); 0 keeps all.
    Raises:
        ConfigError: a bound above is violated, or truncation is asked for with temperature 0, where it does nothing.
    Source: Holtzman et al. 2020, arXiv:1904.09751, sec. 3.1 (top-p); Nguyen et al. 2024, arXiv:2407.01082, sec. 3.
    Differs: vLLM applies min_p before top_k and top_p; the order here is that of transformers.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature must be a finite number >= 0, not {self.temperature}", where="temperature")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be >= 0, not {self.top_k}", where="top_k", fix="0 keeps every token")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], not {self.top_p}", where="top_p", fix="1 keeps every token")
        if not 0 <= self.min_p < 1:
            raise ConfigError(f"min_p must be in [0, 1), not {self.min_p}", where="min_p", fix="0 keeps every token")
        if self.greedy and self.truncates:
            raise ConfigError(
                "top_k, top_p and min_p have no effect at temperature 0",
                where="temperature",
                fix="leave them out, or set a temperature above 0",
            )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0

    @property
    def truncates(self) -> bool:
        """Whether some tokens may be cut off."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def scaled(self, logits: Tensor) -> Tensor:
        """(R, V) float32 logits of the distribution drawn from, -inf at tokens cut off; not for temperature 0."""
        scaled = logits.float()
        if self.temperature != 1:
            scaled = scaled / self.temperature
        return scaled.masked_fill(~self.cut(scaled).keeps(scaled), float("-inf")) if self.truncates else scaled

    def cut(self, scaled: Tensor) -> Cut:
        """What is kept of (R, V) logits, float32 or better, that were divided by the temperature."""
        floor = torch.full(scaled.shape[:1], float("-inf"), dtype=scaled.dtype, device=scaled.device)
        if 0 < self.top_k < scaled.shape[-1]:
            floor = scaled.topk(self.top_k, dim=-1).values[:, -1]
        last = torch.full(floor.shape, scaled.shape[-1] - 1, device=scaled.device)
        if self.top_p < 1:
            floor, last = nucleus(scaled, floor, self.top_p)
        if self.min_p > 0:
            least = scaled.amax(dim=-1) + math.log(self.min_p)
            last = torch.where(least > floor, scaled.shape[-1] - 1, last)
            floor = torch.maximum(least, floor)
        return Cut(floor, last)

    def logps(self, logits: Tensor) -> Tensor:
        """(R, V) nats: log-probs of the distribution drawn from; -inf where nothing is drawn."""
        if self.greedy:
            logps = torch.full(logits.shape, float("-inf"), device=logits.device)
            return logps.scatter(-1, logits.argmax(dim=-1, keepdim=True), 0.0)
        return self.scaled(logits).log_softmax(dim=-1)

    def draw(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Draw one token a row by inverting the cumulative distribution.

        Args:
            logits: (R, V).
            uniforms: (R,) float64 in [0, 1), one a row: what makes a row's draw independent of the other rows.
        Returns:
            tokens (R,) int64, and their log-probs (R,) float32 nats under the distribution drawn from.
        """
        if self.greedy:
            tokens = logits.argmax(dim=-1)
            return tokens, torch.zeros(tokens.shape, device=logits.device)
        fast = kernels.drawing(logits)
        if fast is not None:
            temperature = 1.0 if self.truncates else self.temperature
            return fast.draw(self.scaled(logits) if self.truncates else logits, uniforms, temperature)
        rows = max(1, _CHUNK // logits.shape[-1])
        if len(logits) > rows:
            parts = [
                self.draw(*part) for part in zip(torch.split(logits, rows), torch.split(uniforms, rows), strict=True)
            ]
            return torch.cat([tokens for tokens, _ in parts]), torch.cat([logps for _, logps in parts])
        scaled = self.scaled(logits)
        scaled = scaled - scaled.amax(dim=-1, keepdim=True)
        # In float64: a float32 sum over a large vocabulary would shift the edges between tokens.
        cumulative = scaled.exp().cumsum(dim=-1, dtype=torch.float64)
        total = cumulative[:, -1]
        # Strictly below the total, so that a token of probability 0 at the end is never taken.
        point = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
        tokens = torch.searchsorted(cumulative, point[:, None], right=True)[:, 0]
        logps = scaled.gather(-1, tokens[:, None])[:, 0] - total.log().float()
        return tokens, logps
