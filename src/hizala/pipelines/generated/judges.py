"""Judges of candidates: the world's truth, a reward model, the policy's implicit reward, a judge in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hizala import world
from hizala.engines.policy import Policy
from hizala.engines.train import measure
from hizala.errors import ConfigError, nearest
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.generated.candidates import Answers
from hizala.records import Verdict


class Judge(Protocol):
    """Something that scores the candidates of many prompts."""

    def score(self, answers: Sequence[Answers], number: int) -> list[list[Verdict]]:
        """One verdict a candidate.

        Args:
            answers: of one round.
            number: of the round; whatever a judge draws follows from it.
        """


class GoldJudge:
    """The embedded world's true reward."""

    def score(self, answers: Sequence[Answers], number: int) -> list[list[Verdict]]:
        """One verdict a candidate. Raises ConfigError for a prompt that is not of the world."""
        return [[world.gold(a.prompt.group, text) for text in a.texts] for a in answers]


class ImplicitJudge:
    """The implicit reward of the policy as it stands, against an earlier model.

    r(x, y) = beta * [log pi(y|x) - log anchor(y|x)],  nats summed over response tokens, times beta

    Args:
        policy: as it stands at each call.
        anchor: opens the earlier model; held only while it is measured.
        beta: scale of the reward, per nat.
        token_budget: tokens in one forward.
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 5; used on own samples by Chen et al. 2024, arXiv:2406.09760,
        sec. 3.1 (without their length penalty).
    """

    def __init__(self, policy: Policy, anchor: Callable[[], Policy], beta: float, token_budget: int) -> None:
        self.policy, self.anchor, self.beta, self.token_budget = policy, anchor, beta, token_budget

    def score(self, answers: Sequence[Answers], number: int) -> list[list[Verdict]]:
        """One verdict a candidate, in units of reward."""
        groups = [a.as_tokens() for a in answers]
        here = measure(self.policy, groups, self.token_budget)
        there = measure(self.anchor(), groups, self.token_budget)
        verdicts = []
        for a, mine, before in zip(answers, here, there, strict=True):
            some, start = [], 0
            for sample in a.samples:
                end = start + len(sample.ids)
                some.append(Verdict(float(self.beta * (mine[start:end] - before[start:end]).sum(dtype="float64"))))
                start = end
            verdicts.append(some)
        return verdicts


def earlier(context: StageContext, name: str | None) -> ModelRef:
    """The model an implicit reward is measured against: the named one, else the parent of the current one.

    Raises:
        ConfigError: there is no such model before this stage, or it is the stage's own start.
    """
    start = context.model
    name = name or start.parent
    if name is None:
        raise ConfigError(
            f"the implicit reward of '{start.name}' is 0 everywhere: it was not trained from an earlier model",
            where=f"stages.{context.stage.name}.anchor",
            fix="train it in a stage before this one (sft, dpo), or choose another judge",
        )
    if name not in context.models or name == start.name:
        before = [known for known in context.models if known != start.name]
        raise ConfigError(
            f"anchor: there is no earlier model '{name}'{nearest(name, before)}",
            where=f"stages.{context.stage.name}.anchor",
            fix=f"models before it: {', '.join(before) or 'none'}",
        )
    return context.models[name]
