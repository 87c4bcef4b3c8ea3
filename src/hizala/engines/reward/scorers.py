"""Scores of responses from a trained classifier, and from a policy and its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hizala.core.combine import check_combination, combine
from hizala.errors import ConfigError, nearest
from hizala.protocols import Policy
from hizala.records import TokenGroup

Array = NDArray[np.float64]
T = TypeVar("T")


class Scorer(Protocol):
    """Something that scores responses: a reward model of any kind."""

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group, its responses in order; NaN: not scored. Higher is better."""


class Outputs:
    """What a score head gives, before it becomes one score.

    Args:
        policy: with a score head of A outputs.
        labels: names of the A outputs.
        token_budget: tokens in one forward.
    """

    def __init__(self, policy: Policy, labels: Sequence[str], *, token_budget: int = 8192) -> None:
        self.policy, self.labels, self.token_budget = policy, tuple(labels), token_budget

    def outputs(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R, A) array a group of what the head gives; NaN for a response without a token."""

        def of(tree: Any) -> list[Array]:
            given = self.policy.outputs(tree, ("scores",))["scores"].double().cpu().numpy()
            table = given.reshape(len(given), -1)
            if table.shape[1] != len(self.labels):
                raise ConfigError(f"the score head gives {table.shape[1]} numbers for {len(self.labels)} labels")
            empty = [not r.ids for group in tree.groups for r in group.responses]
            return list(np.where(np.asarray(empty)[:, None], np.nan, table))

        found = by_group(self.policy, groups, self.token_budget, of)
        return [np.asarray(rows, dtype=np.float64).reshape(-1, len(self.labels)) for rows in found]


class Classifier(Outputs):
    """A reward model with a score head.

    A head of several outputs becomes one score in a way that has to be said: `weights` for attributes, `how` for
    members of an ensemble.

    Args:
        policy: with a score head of A outputs.
        labels: names of the A outputs.
        weights: attribute -> weight in the sum; every name must be among the labels, those left out weigh 0.
        how, lam: a combination of members, see `core.combine`.
        token_budget: tokens in one forward.
    Raises:
        ConfigError: several outputs and nothing said, both said, one output and anything said, or an unknown name.
    """

    def __init__(
        self,
        policy: Policy,
        labels: Sequence[str] = ("score",),
        *,
        weights: Mapping[str, float] | None = None,
        how: str | None = None,
        lam: float | None = None,
        token_budget: int = 8192,
    ) -> None:
        super().__init__(policy, labels, token_budget=token_budget)
        self.weights, self.how, self.lam = dict(weights or {}), how, lam
        several = len(self.labels) > 1
        if several and (weights is None) == (how is None):
            raise ConfigError(
                f"the reward model gives {len(self.labels)} scores ({', '.join(self.labels)}), and they become one "
                + ("in two ways at once" if how else "in no way that was said"),
                fix="give weights (attribute -> weight), or a combination of members: mean, minimum, mean-std",
            )
        if not several and (weights is not None or how is not None):
            raise ConfigError("the reward model gives one score: weights or a combination would have no effect")
        if how is not None:
            check_combination(how, lam)
        elif lam is not None:
            raise ConfigError("lam has no effect without a combination of members")
        for name in self.weights:
            if name not in self.labels:
                known = ", ".join(self.labels)
                raise ConfigError(f"no attribute '{name}'{nearest(name, self.labels)}", fix=f"known: {known}")

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group; see `Scorer`."""
        return [self._one(table) for table in self.outputs(groups)]

    def _one(self, table: Array) -> Array:
        if self.how is not None:
            return combine(table, self.how, self.lam)
        if not self.weights:
            return table[:, 0]
        weighted: Array = table @ np.array([self.weights.get(name, 0.0) for name in self.labels])
        return weighted


class Implicit:
    """The reward that preference training hides in a policy: how much likelier it made a response.

    r(x, y) = beta * [log pi(y | x) - log ref(y | x)],  up to a constant a prompt

    Args:
        policy: the trained one.
        reference: the one it was trained from.
        beta: > 0, per nat: what it was trained with, for scores in the unit of its Bradley-Terry rewards.
        token_budget: tokens in one forward.
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 5 (without the partition function).
    """

    def __init__(self, policy: Policy, reference: Policy, *, beta: float, token_budget: int = 8192) -> None:
        if not beta > 0:
            raise ConfigError(f"beta is {beta}, but must be greater than 0")
        self.policy, self.reference, self.beta, self.token_budget = policy, reference, beta, token_budget

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group; see `Scorer`. NaN for a response without a counted token."""

        def totals(policy: Policy) -> list[Array]:
            def of(tree: Any) -> list[float]:
                logps = policy.logps(tree)
                whole, count = logps.total.double().tolist(), logps.count.tolist()
                return [total if counted else np.nan for total, counted in zip(whole, count, strict=True)]

            return [np.asarray(rows) for rows in by_group(policy, groups, self.token_budget, of)]

        both = zip(totals(self.policy), totals(self.reference), strict=True)
        return [self.beta * (mine - theirs) for mine, theirs in both]


def by_group(
    policy: Policy, groups: Sequence[TokenGroup], token_budget: int, of: Callable[[Any], Sequence[T]]
) -> list[list[T]]:
    """What `of` gives for each response of a forward, cut by group; without gradient or dropout."""
    filled = [group for group in groups if group.responses]
    training = policy.module.training
    policy.module.eval()
    try:
        with torch.no_grad():
            flat = iter([value for tree in policy.pack(filled, token_budget) for value in of(tree)] if filled else [])
    finally:
        policy.module.train(training)
    return [[next(flat) for _ in group.responses] for group in groups]
