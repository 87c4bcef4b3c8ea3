"""Random values for everything a registered loss may ask for, so that a law can be tested on all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from hizala.core.logps import Lists, Marks, Pairs, SeqLogps, Terms
from hizala.core.reduce import REDUCTIONS, Layout, denominator, reduce
from hizala.records import TokenBranch, TokenGroup
from hizala.registry import Loss

PER_TOKEN = ("policy", "reference", "old", "sampler", "collision", "divergence")
PER_RESPONSE = ("scores", "step_scores")
COLUMNS = ("advantages", "returns", "old_values", "values", "entropy")  # of rollouts, one a counted token
ROLES = (*PER_TOKEN, *PER_RESPONSE, *COLUMNS)
# Through these the gradient reaches the weights; everything else a loss measures is data.
TRAINED = ("policy", "divergence", "values", "entropy", "scores", "step_scores")
ATTRIBUTES = ("correctness", "helpfulness", "verbosity")

# Running statistics that some steps may have left behind.
STATE = {"mismatch": 0.4, "up": 0.6, "down": 0.3, "up_reward": 0.21, "down_reward": -0.06}

Table = list[list[Tensor]]  # group -> response -> values


@dataclass(frozen=True)
class Case:
    """Groups with what is known of them, and what a model would say of each response.

    `roles[name][group][response]` holds (n,) a counted token, (A,) for scores, (marked steps,) for step_scores.
    """

    groups: tuple[TokenGroup, ...]
    roles: dict[str, Table]
    mismatch: float = 0.0
    state: Mapping[str, float] = field(default_factory=dict)

    def take(self, chosen: Sequence[int]) -> Case:
        """Some of the groups, in that order; what belongs to the whole batch stays."""
        roles = {role: [tables[i] for i in chosen] for role, tables in self.roles.items()}
        return replace(self, groups=tuple(self.groups[i] for i in chosen), roles=roles)

    def with_role(self, role: str, table: Table) -> Case:
        """The same case with other values for one role."""
        return replace(self, roles=self.roles | {role: table})

    def values(self, role: str) -> SeqLogps:
        """The values of a role that has one a token."""
        responses = [tokens for group in self.roles[role] for tokens in group]
        count = torch.tensor([len(tokens) for tokens in responses])
        segments = torch.repeat_interleave(torch.arange(len(responses)), count)
        flat = torch.cat(responses) if responses else torch.zeros(0, dtype=torch.float64)
        return SeqLogps(flat, segments, count)

    def branches(self) -> list[TokenBranch]:
        """All responses, in the order of the groups."""
        return [branch for group in self.groups for branch in group.responses]

    def argument(self, name: str, loss: Loss) -> object:
        """What a loss receives under that name."""
        if name in PER_TOKEN:
            values = self.values(name)
            return Pairs.of(values) if loss.data == "pair" else values
        if name == "scores":
            scores = torch.stack([s for group in self.roles[name] for s in group])
            if "attributes" in loss.measures:
                return scores
            return scores[:, 0].reshape(-1, 2) if loss.data == "pair" else scores[:, 0]
        if name in COLUMNS:
            return self.values(name).tokens
        if name == "step_scores":
            return torch.cat([s for group in self.roles[name] for s in group])
        if name == "running":
            return {key: float(self.state.get(key, 0.0)) for key in loss.running}
        if name == "mismatch":
            return torch.tensor(self.mismatch, dtype=torch.float64)
        return self._known(name)

    def _known(self, name: str) -> object:
        branches = self.branches()
        if name == "labels":
            return torch.tensor([bool(b.label) for b in branches])
        if name == "ranks":
            group = torch.repeat_interleave(
                torch.arange(len(self.groups)), torch.tensor([len(g.responses) for g in self.groups])
            )
            return Lists(torch.tensor([b.rank for b in branches]), group)
        if name == "grades":
            return torch.tensor([b.score for b in branches], dtype=torch.float64)
        if name == "attributes":
            rows = [[b.attributes.get(a, math.nan) for a in ATTRIBUTES] for b in branches]
            return torch.tensor(rows, dtype=torch.float64)
        if name == "margins":
            return torch.tensor([g.margin for g in self.groups], dtype=torch.float64)
        if name == "marks":
            correct = [right for b in branches for _, right in b.marks]
            owner = [i for i, b in enumerate(branches) for _ in b.marks]
            return Marks(torch.tensor(correct, dtype=torch.bool), torch.tensor(owner, dtype=torch.int64))
        raise KeyError(f"no random values for '{name}'")

    def call(self, loss: Loss, **params: object) -> Terms:
        """The loss's unreduced terms."""
        terms: Terms = loss.fn(*(self.argument(name, loss) for name in loss.measures), **params)
        return terms


def make_case(sizes: Sequence[Sequence[int]], *, seed: int = 0, weights: Sequence[float] | None = None) -> Case:
    """A case from the number of counted tokens of each response of each group."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> Tensor:
        return -3 * torch.rand(n, generator=generator, dtype=torch.float64)

    def normal(n: int) -> Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64)

    def chance() -> float:
        return float(torch.rand((), generator=generator))

    roles: dict[str, Table] = {role: [[draw(n) for n in group] for group in sizes] for role in PER_TOKEN}
    roles["divergence"] = [[t.abs() / 4 for t in group] for group in roles["divergence"]]
    groups = []
    for index, group in enumerate(sizes):
        order = torch.randperm(len(group), generator=generator).tolist()
        branches = []
        for place, n in enumerate(group):
            marked = tuple((i, chance() < 0.6) for i in range(n) if chance() < 0.5)
            known = {a: float(normal(1)) for a in ATTRIBUTES if chance() < 0.7}
            branches.append(
                TokenBranch(
                    [1] * (n + 1),
                    [True] * n + [False],
                    rank=order[place],
                    label=chance() < 0.5,
                    score=float(normal(1)),
                    marks=marked,
                    attributes=known,
                )
            )
        weight = 1.0 if weights is None else weights[index]
        groups.append(TokenGroup([1], tuple(branches), f"g{index}", weight, margin=2 * chance()))
    roles["scores"] = [[normal(len(ATTRIBUTES)) for _ in group] for group in sizes]
    roles["step_scores"] = [[normal(len(b.marks)) for b in group.responses] for group in groups]
    mismatch = float(normal(1))
    roles |= {role: [[normal(n) for n in group] for group in sizes] for role in COLUMNS}
    roles["entropy"] = [[t.abs() for t in group] for group in roles["entropy"]]
    return Case(tuple(groups), roles, mismatch=mismatch, state=STATE)


def with_branches(case: Case, **changes: Sequence[Sequence[object]]) -> Case:
    """The same case with other facts of its responses: field -> group -> response."""
    groups = []
    for index, group in enumerate(case.groups):
        branches = tuple(
            replace(branch, **{name: table[index][place] for name, table in changes.items()})  # type: ignore[arg-type]
            for place, branch in enumerate(group.responses)
        )
        groups.append(replace(group, responses=branches))
    return replace(case, groups=tuple(groups))


def value(
    loss: Loss, case: Case, *, reduction: str | None = None, batch: Case | None = None, **params: object
) -> Tensor:
    """The reduced loss of a case, as part of a batch (itself by default)."""
    how = reduction or REDUCTIONS[loss.unit][0]
    total = denominator(Layout.of((batch or case).groups), loss.unit, how)
    return reduce(case.call(loss, **params), Layout.of(case.groups), how, total)
