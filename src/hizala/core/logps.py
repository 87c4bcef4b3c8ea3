"""Log-probs of responses as values that losses read: flat over tokens, with the response each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SeqLogps:
    """Log-probs of R responses holding N counted tokens in all.

    Attributes:
        tokens: (N,) nats, log-prob of each counted token; responses stand one after another.
        segments: (N,) int64 in [0, R), the response each token belongs to, non-decreasing.
        count: (R,) counted tokens of each response; may be 0.
        entropy: (N,) nats, entropy of the distribution at each counted token, where it was asked for.
    """

    tokens: Tensor
    segments: Tensor
    count: Tensor
    entropy: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """(R,) nats summed over each response's counted tokens; 0 for an empty response."""
        zero = torch.zeros(self.count.shape[0], dtype=self.tokens.dtype, device=self.tokens.device)
        return zero.index_add(0, self.segments, self.tokens)

    @property
    def mean(self) -> Tensor:
        """(R,) nats per counted token; 0 for an empty response."""
        return self.total / self.count.clamp(min=1).to(self.tokens.dtype)

    def rows(self, start: int, step: int) -> SeqLogps:
        """The responses start, start + step, … as a `SeqLogps` of their own (chosen: rows(0, 2))."""
        wanted = (self.segments % step) == start
        entropy = None if self.entropy is None else self.entropy[wanted]
        return SeqLogps(self.tokens[wanted], self.segments[wanted] // step, self.count[start::step], entropy)

    def detach(self) -> SeqLogps:
        """The same values without gradient."""
        entropy = None if self.entropy is None else self.entropy.detach()
        return SeqLogps(self.tokens.detach(), self.segments, self.count, entropy)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Log-probs of P preference pairs: (P,) chosen and (P,) rejected responses."""

    chosen: SeqLogps
    rejected: SeqLogps

    @classmethod
    def of(cls, logps: SeqLogps) -> Pairs:
        """Pairs from 2P responses that stand chosen, rejected, chosen, rejected, …"""
        return cls(logps.rows(0, 2), logps.rows(1, 2))

    def detach(self) -> Pairs:
        """The same values without gradient."""
        return Pairs(self.chosen.detach(), self.rejected.detach())


@dataclass(frozen=True, slots=True)
class Lists:
    """The rankings of R responses in G groups.

    Attributes:
        rank: (R,) int64, 0 is best; equal ranks within a group are ties. Only their order within a group counts.
        group: (R,) int64 in [0, G), the group each response belongs to, non-decreasing.
    """

    rank: Tensor
    group: Tensor


@dataclass(frozen=True, slots=True)
class Marks:
    """The marked steps of R responses, S in all, in the order of responses and steps.

    Attributes:
        correct: (S,) bool, the step is right.
        segments: (S,) int64 in [0, R), the response each step belongs to, non-decreasing.
    """

    correct: Tensor
    segments: Tensor


@dataclass(frozen=True, slots=True)
class Terms:
    """What a loss returns: unreduced terms, summed and divided once by the engine.

    Attributes:
        loss: (U,) nats; one term a unit of the loss (token, response, pair, group, step, grade), never averaged here.
        unit: what U counts, a key of `core.reduce.REDUCTIONS`; the global denominator is the (weighted) number of
            such units in the whole batch.
        segments: (U,) int64 index of the response, or for "chosen_token" of the pair, where a response may have several
            units or none (tokens, steps, grades); None for larger units, which stand in the order of the groups.
        metrics: name to (M,) detached tensor, each averaged over all M of the whole batch.
    """

    loss: Tensor
    unit: str
    metrics: dict[str, Tensor]
    segments: Tensor | None = None
