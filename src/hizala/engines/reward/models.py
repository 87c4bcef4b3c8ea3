"""Reward models as rewards: of responses, ensembles of them, and of steps. What runs a recipe opens them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from hizala.core.combine import check_combination
from hizala.engines.reward.base import RewardContext, TextModel
from hizala.errors import ConfigError
from hizala.records import Group, Verdict
from hizala.registry import Bound, reward


class _Scored:
    """A reward model that was opened; a response it cannot score is not scored."""

    # Not cached: a score's last bits depend on what it was computed beside, and a run that was interrupted and goes on
    # without its cache would not get the same bits.
    pointwise = False
    threaded = False  # its forwards share the cores, or the device, with whoever calls

    def __init__(self, context: RewardContext, names: Sequence[str], settings: Mapping[str, Any]) -> None:
        if context.open_model is None:
            raise ConfigError("reward models cannot be opened here", fix="build the rewards inside a recipe")
        self.model: TextModel = context.open_model(names, {k: v for k, v in settings.items() if v is not None})

    def score(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """One verdict a response, in the model's own units."""
        return [
            [
                Verdict(None, "the model has no score for it") if math.isnan(score) else Verdict(float(score))
                for score in row
            ]
            for row in self.model.score(groups)
        ]


@reward("reward_model", summary="the score of a reward model, or of an ensemble of several")
class RewardModel(_Scored):
    """The score of a reward model in its own units; of several models, combined.

    Args:
        context: opens the model.
        model: a reward stage of the recipe or a directory; several make an ensemble.
        how: of an ensemble, or of a head of several members: mean, minimum, mean-std, mean-variance.
        lam: weight of the members' disagreement, for the last two.
        centred: of an ensemble: each member's scores less their mean over the group.
        weights: of a model of several attributes: attribute -> weight.
        beta: of a policy trained on preferences, whose implicit reward is taken, per nat.
        reference: of such a policy: what it was trained from.
    Raises:
        ConfigError: settings that do not fit, or no way to open a model here.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        context: RewardContext,
        *,
        model: str | list[str],
        how: Literal["mean", "minimum", "mean-std", "mean-variance"] | None = None,
        lam: Annotated[float, Bound(ge=0)] | None = None,
        centred: bool = False,
        weights: dict[str, float] | None = None,
        beta: Annotated[float, Bound(gt=0)] | None = None,
        reference: str | None = None,
    ) -> None:
        names = [model] if isinstance(model, str) else list(model)
        if not names:
            raise ConfigError("reward 'reward_model' names no model")
        if how is not None:
            check_combination(how, lam)
        elif lam is not None or len(names) > 1:
            raise ConfigError("an ensemble needs a combination", fix="how: mean, minimum, mean-std or mean-variance")
        if centred and len(names) == 1:
            raise ConfigError("centred has no effect on a single reward model", fix="remove it")
        settings = {"how": how, "lam": lam, "centred": centred or None, "weights": weights, "beta": beta}
        super().__init__(context, names, {**settings, "reference": None if reference is None else Path(reference)})


@reward("process_model", summary="a process reward model: its steps' probabilities of being right, as one score")
class ProcessModel(_Scored):
    """The score of a process reward model: one probability a step, brought together in a way that has to be said.

    Steps are those a response carries, else its lines.

    Args:
        context: opens the model.
        model: a reward stage of the recipe or a directory.
        aggregation: min (the weakest step), product, last, or mean; there is no usual one.
    Raises:
        ConfigError: the model scores no steps, or no way to open a model here.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        context: RewardContext,
        *,
        model: str,
        aggregation: Literal["min", "product", "last", "mean"],
    ) -> None:
        super().__init__(context, [model], {"aggregation": aggregation})
