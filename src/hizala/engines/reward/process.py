"""Scores from a process reward model: a probability a step, and one score a response in a way that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hizala.core.combine import aggregate, check_aggregation
from hizala.engines.reward.scorers import by_group
from hizala.errors import DataError
from hizala.protocols import Policy
from hizala.records import Group, Step, TokenGroup

Array = NDArray[np.float64]


class Process:
    """A reward model with a step head.

    Args:
        policy: with a step head.
        aggregation: min, product, last or mean of the steps' probabilities; there is no usual one.
        token_budget: tokens in one forward.
    Raises:
        ConfigError: an unknown aggregation.
    """

    def __init__(self, policy: Policy, *, aggregation: str, token_budget: int = 8192) -> None:
        check_aggregation(aggregation)
        self.policy, self.aggregation, self.token_budget = policy, aggregation, token_budget

    def probabilities(self, groups: Sequence[TokenGroup]) -> list[list[Array]]:
        """For each group and response the (S,) probabilities that its marked steps are right, by the model.

        Only the places of the marks are read, never what they say; `stepped` makes them for unmarked text.
        """

        def of(tree: Any) -> list[Array]:
            right = torch.sigmoid(self.policy.outputs(tree, ("step_scores",))["step_scores"].double()).cpu().numpy()
            ends = np.cumsum([len(r.marks) for group in tree.groups for r in group.responses])
            return np.split(right, ends[:-1])

        return by_group(self.policy, groups, self.token_budget, of)

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group, in [0, 1]; NaN for a response without a marked step. See `Scorer`."""
        every = self.probabilities(groups)
        return [np.array([aggregate(steps, self.aggregation) for steps in group]) for group in every]


def stepped(group: Group, *, separator: str = "\n") -> Group:
    """The group with each response cut into steps at the separator, so that a process reward model can be asked.

    The steps are marked right for want of a judgement: encode them to score them, never to train on them.

    Raises:
        DataError: a response of several turns.
    """
    responses = []
    for response in group.responses:
        if len(response.messages) != 1:
            raise DataError("steps can be marked in a response of one turn only", where=group.id)
        parts = [part for part in response.messages[0].content.split(separator) if part.strip()]
        responses.append(replace(response, steps=tuple(Step(part, True) for part in parts)))
    return replace(group, responses=tuple(responses))
