"""What is held against each registered loss: its oracle, the settings it is tried with, and its installed peers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import oracle_pairs as on_pairs
import oracle_sets as on_sets
import peers
import torch
from loss_cases import Case, make_case, value, with_branches
from oracle_view import Numbers, lengths, log_ratio, sides, softplus, totals

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.registry import Loss, losses

PAIR_SIZES = [(3, 5), (1, 1), (7, 2), (4, 4), (2, 6), (2, 2)]
LIST_SIZES = [(3, 5, 2), (1, 1), (7, 2, 4, 3), (4, 4), (2, 6, 1), (2, 2, 2, 2, 2)]

# With empty responses, groups of one, and sizes that differ.
ODD_PAIRS = [(3, 5), (1, 1), (7, 2), (4, 0), (0, 6), (2, 2)]
ODD_SETS = [(3, 5, 0), (1,), (7, 2, 4, 3), (4, 0), (2, 6, 1), (2, 2, 2, 2, 2)]


def pairs() -> Case:
    """Six pairs, every response with tokens, as the peers need it."""
    return make_case(PAIR_SIZES, seed=3)


def thumbs() -> Case:
    """The same twelve responses, with a thumb up for the first of each two and down for the other."""
    case = replace(make_case(PAIR_SIZES, seed=3), mismatch=0.8)
    return with_branches(case, label=[[True, False]] * len(PAIR_SIZES))


def lists() -> Case:
    """Six rankings of two to five responses, without ties."""
    return make_case(LIST_SIZES, seed=6)


def judged() -> Case:
    """The same pairs, each response with a probability of winning."""
    return with_branches(make_case(PAIR_SIZES, seed=3), score=[[0.8, 0.3]] * len(PAIR_SIZES))


def won() -> Case:
    """The same pairs with wins of probability 1 and 0."""
    return with_branches(make_case(PAIR_SIZES, seed=3), score=[[1.0, 0.0]] * len(PAIR_SIZES))


def first_step() -> Case:
    """Thumbs before any statistic was kept."""
    return replace(thumbs(), state={"up": 0.0, "down": 0.0})


def thumbs_up(case: Case) -> Case:
    """Only the first response of each group."""
    groups = tuple(replace(g, responses=g.responses[:1]) for g in case.groups)
    return replace(case, groups=groups, roles={role: [t[:1] for t in table] for role, table in case.roles.items()})


def graded() -> Case:
    """Lists in which every attribute of every response is known."""
    case = make_case(LIST_SIZES, seed=7)
    table = [
        [dict.fromkeys(("correctness", "helpfulness", "verbosity"), 0.5 * len(b.ids)) for b in g.responses]
        for g in case.groups
    ]
    return with_branches(case, attributes=table)


def case_for(loss: Loss, weights: list[float] | None = None) -> Case:
    """Groups of the loss's shape, some responses empty; thumbs and rankings of unequal sizes, some ranks tied."""
    case = make_case(ODD_PAIRS if loss.data == "pair" else ODD_SETS, seed=11, weights=weights)
    if loss.data != "ranking":
        return case
    ranks = [[b.rank for b in g.responses] for g in case.groups]
    ranks[2], ranks[3] = [0, 1, 0, 2], [1, 1]
    return with_branches(case, rank=ranks)


@dataclass(frozen=True)
class Peer:
    """One installed peer and how its number stands to ours.

    `claim` is what the peer computes instead, written down here; None says that it computes our equation. `reason`
    says in words what differs, or under which settings the two are the same.
    """

    name: str
    theirs: Callable[[Case], float]
    params: Mapping[str, Any] = field(default_factory=dict)
    claim: Callable[[Case], float] | None = None
    reason: str = ""
    case: Callable[[], Case] = pairs
    package: str = "trl"
    ours: Callable[[Case], float] | None = None
    tolerance: float = 1e-12

    def our_number(self, loss: str, case: Case) -> float:
        """Our reduced loss on the same values."""
        return self.ours(case) if self.ours else float(value(losses.get(loss), case, **self.params))


@dataclass(frozen=True)
class Entry:
    """One loss: `oracle(case, **settings)` gives its terms; every peer that comes near it."""

    oracle: Callable[..., Numbers]
    settings: tuple[Mapping[str, Any], ...]
    peers: tuple[Peer, ...]


def grid(**values: tuple[Any, ...]) -> tuple[Mapping[str, Any], ...]:
    """All combinations of some values of each parameter."""
    out: list[dict[str, Any]] = [{}]
    for name, choices in values.items():
        out = [row | {name: choice} for row in out for choice in choices]
    return tuple(out)


def mean(terms: Numbers) -> float:
    """Mean over units."""
    return float(np.mean(terms))


def trl_dpo(kind: str, **settings: Any) -> Callable[[Case], float]:
    """TRL's DPO loss of that type."""
    return lambda case: peers.trl_dpo(case, kind, **settings)


def plain_dpo(beta: float) -> Callable[[Case], float]:
    """What TRL's `sigmoid` computes: DPO without anything added."""
    return lambda case: mean(on_pairs.dpo(case, beta=beta))


def nearest(beta: float, reason: str, **params: Any) -> Peer:
    """For a loss no installed peer has: TRL's DPO on the same numbers, and what it lacks."""
    return Peer("TRL DPO sigmoid", trl_dpo("sigmoid", beta=beta), params | {"beta": beta}, plain_dpo(beta), reason)


def ipo_averaged(case: Case) -> float:
    """TRL's IPO: log-ratios are divided by each response's length first."""
    (win, lose), (n, m) = log_ratio(case), lengths(case)
    return mean(np.square(win / n - lose / m - 1 / (2 * 0.3)))


def bco_pair(case: Case) -> float:
    """TRL's bco_pair: both terms of a pair are added, and no shift is kept."""
    win, lose = log_ratio(case)
    return mean(softplus(-0.3 * win) + softplus(0.3 * lose))


def divergence_gap(case: Case) -> torch.Tensor:
    """(P,) sequential KL of the rejected response less that of the chosen one."""
    chosen, rejected = sides(totals(case, "divergence"))
    return torch.tensor(rejected - chosen)


def ours(name: str, case: Case, **params: Any) -> float:
    """Our reduced loss."""
    return float(value(losses.get(name), case, **params))


def scores_of_pairs(case: Case) -> torch.Tensor:
    """(P, 2) scores, chosen first."""
    return torch.stack([s[0] for group in case.roles["scores"] for s in group]).reshape(-1, 2)


def margins(case: Case) -> torch.Tensor:
    """(P,) margins of the pairs."""
    return torch.tensor([g.margin for g in case.groups], dtype=torch.float64)


def implicit_rewards(case: Case, beta: float) -> torch.Tensor:
    """(P, 2) beta times the log-ratio."""
    return torch.tensor(np.stack(log_ratio(case), axis=1) * beta)


def choix(case: Case, values: list[list[float]]) -> float:
    """Plackett-Luce of the package choix."""
    return peers.choix_rankings(values, [[int(b.rank or 0) for b in g.responses] for g in case.groups])


def implicit_lists(case: Case, beta: float) -> list[list[float]]:
    """beta times the log-ratio of each response of each list."""
    pairs_of = zip(totals(case, "policy"), totals(case, "reference"), strict=True)
    return [[beta * (p - r) for p, r in zip(*group, strict=True)] for group in pairs_of]


def micro_batches(theirs: Callable[[Case], float]) -> Callable[[Case], float]:
    """A peer's mean over micro-batches of two groups, each divided on its own."""
    return lambda case: float(np.mean([theirs(case.take([i, i + 1])) for i in range(0, len(case.groups), 2)]))


def scored(case: Case) -> list[list[float]]:
    """First score of each response of each list."""
    return [[float(s[0]) for s in group] for group in case.roles["scores"]]


def orpo_over_prompt(case: Case) -> float:
    """TRL's ORPO: its NLL averages over prompt and response tokens alike."""
    chosen = on_sets.chosen_nll(case)
    prompt = 3 * len(case.groups)
    nll = (chosen.sum() - peers.PROMPT_LOGP * prompt) / (len(chosen) + prompt)
    return float(nll + 0.3 * mean(on_pairs.orpo(case)))


def with_nll(name: str, weight: float, **params: Any) -> Callable[[Case], float]:
    """Our loss plus our NLL term on the chosen responses, as a row of the table adds them."""

    def total(case: Case) -> float:
        nll = float(value(losses.get("chosen_nll"), case))
        return weight * float(value(losses.get(name), case, **params)) + nll

    return total


def marked_steps(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """(S,) scores of the marked steps and whether each is right."""
    scores = torch.cat([s for group in case.roles["step_scores"] for s in group])
    return scores, torch.tensor([right for b in case.branches() for _, right in b.marks])


def kto_micro_batches(case: Case, theirs: Callable[..., float]) -> float:
    """Mean over micro-batches of two groups whose mismatched log-ratios stand 1 below and above the batch's mean."""
    parts = [(0, -1.0), (2, 0.0), (4, 1.0)]
    return float(
        np.mean(
            [
                theirs(replace(case.take([i, i + 1]), mismatch=case.mismatch + d), beta=0.3, undesirable_weight=4.0)
                for i, d in parts
            ]
        )
    )


BETAS = (0.01, 0.1, 1.0, 5.0)
SMOOTHINGS = (0.0, 0.1, 0.49)
