"""Random values for any registered loss, so that a law can be tested on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.core.reduce import REDUCTIONS, Layout, denominator, reduce
from hizala.records import TokenBranch, TokenGroup
from hizala.registry import Loss

ROLES = ("policy", "reference", "old", "sampler")


@dataclass(frozen=True)
class Case:
    """Groups, and for each role the log-probs of every counted token of every response."""

    groups: tuple[TokenGroup, ...]
    roles: dict[str, list[list[Tensor]]]  # role -> group -> response -> (n,)

    def take(self, chosen: Sequence[int]) -> Case:
        """Some of the groups, in that order."""
        roles = {role: [tables[i] for i in chosen] for role, tables in self.roles.items()}
        return Case(tuple(self.groups[i] for i in chosen), roles)

    def values(self, role: str) -> SeqLogps:
        responses = [tokens for group in self.roles[role] for tokens in group]
        count = torch.tensor([len(tokens) for tokens in responses])
        segments = torch.repeat_interleave(torch.arange(len(responses)), count)
        flat = torch.cat(responses) if responses else torch.zeros(0, dtype=torch.float64)
        return SeqLogps(flat, segments, count)

    def call(self, loss: Loss, **params: object) -> Terms:
        values = [self.values(role) for role in loss.measures]
        terms: Terms = loss.fn(*(Pairs.of(v) if loss.data == "pair" else v for v in values), **params)
        return terms


def make_case(sizes: Sequence[Sequence[int]], *, seed: int = 0, weights: Sequence[float] | None = None) -> Case:
    """A case from the number of counted tokens of each response of each group."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> Tensor:
        return -3 * torch.rand(n, generator=generator, dtype=torch.float64)

    groups = []
    for index, group in enumerate(sizes):
        branches = tuple(TokenBranch([1] * (n + 1), [True] * n + [False]) for n in group)
        groups.append(TokenGroup([1], branches, f"g{index}", 1.0 if weights is None else weights[index]))
    roles = {role: [[draw(n) for n in group] for group in sizes] for role in ROLES}
    return Case(tuple(groups), roles)


def value(
    loss: Loss, case: Case, *, reduction: str | None = None, batch: Case | None = None, **params: object
) -> Tensor:
    """The reduced loss of a case, as part of a batch (itself by default)."""
    how = reduction or REDUCTIONS[loss.unit][0]
    total = denominator(Layout.of((batch or case).groups), loss.unit, how)
    return reduce(case.call(loss, **params), Layout.of(case.groups), how, total)
