"""Judges of candidates: the world's truth, a reward model, the policy's implicit reward, a judge in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from hizala import world
from hizala.engines.policy import Policy
from hizala.engines.reward import Implicit
from hizala.engines.reward.generative import GenerativeJudge
from hizala.engines.reward.verdicts import Form
from hizala.engines.rollout.local import Decodable, LocalSampler
from hizala.errors import ConfigError, nearest
from hizala.pipelines.candidates import Answers
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.generated.parts import Parts
from hizala.pipelines.generated.settings import Judged
from hizala.pipelines.judgements import KINDS, language_of
from hizala.pipelines.material import load_template
from hizala.pipelines.scorers import TextScorer, load_scorer
from hizala.records import Verdict

BETA = 0.1  # scale of the implicit reward where the loss trains none: it orders candidates, whatever it is
JUDGING = 1 << 30  # keeps the random numbers of a judge apart from those of what it judges


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


class RewardJudge:
    """A reward model of any kind.

    Args:
        scorer: of groups in words.
    """

    def __init__(self, scorer: TextScorer) -> None:
        self.scorer = scorer

    def score(self, answers: Sequence[Answers], number: int) -> list[list[Verdict]]:
        """One verdict a candidate, in the model's own units."""
        return [_verdicts(scores) for scores in self.scorer.score([a.as_group() for a in answers])]


class ImplicitJudge:
    """The implicit reward of the policy as it stands, against an earlier model; see `engines.reward.Implicit`.

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
        scorer = Implicit(self.policy, self.anchor(), beta=self.beta, token_budget=self.token_budget)
        return [_verdicts(scores) for scores in scorer.score([a.as_tokens() for a in answers])]


class WordsJudge:
    """A policy that judges in words.

    Args:
        make: the round's number -> the judge; what it samples follows from the number.
    """

    def __init__(self, make: Callable[[int], GenerativeJudge]) -> None:
        self.make = make

    def score(self, answers: Sequence[Answers], number: int) -> list[list[Verdict]]:
        """One verdict a candidate, in [0, 1]; what cannot be read is not scored."""
        return self.make(number).score([a.as_group() for a in answers])


def _verdicts(scores: NDArray[np.float64]) -> list[Verdict]:
    return [Verdict(None, "not scored") if math.isnan(score) else Verdict(float(score)) for score in scores]


def judge_of(parts: Parts, settings: Judged) -> Judge:
    """The judge that a stage's settings name.

    Raises:
        ConfigError, ModelError: there is no such model, or it is of another kind.
    """
    name, context, budget = settings.judge, parts.context, parts.settings.token_budget
    if name == "gold":
        return GoldJudge()
    if name == "implicit":
        anchor = earlier(context, settings.anchor)
        return ImplicitJudge(parts.policy, partial(parts.open, anchor), parts.settings.beta or BETA, budget)
    kind, _, rest = name.partition(":")
    if kind == "reward":
        path = context.rewards[rest].path if rest in context.rewards else Path(rest)
        if not path.is_dir():
            raise ConfigError(
                f"judge: there is no reward model '{rest}'{nearest(rest, context.rewards)}",
                where=f"stages.{context.stage.name}.judge",
                fix=f"name a reward stage before this one ({', '.join(context.rewards) or 'none'}) or a directory",
            )
        scorer = load_scorer(path, dtype=parts.settings.dtype, device=context.device, token_budget=budget)
        return RewardJudge(TextScorer(scorer, load_template(path, parts.settings.template)))
    return _words(parts, settings, rest)


def _words(parts: Parts, settings: Judged, kind: str) -> WordsJudge:
    policy, template = parts.policy, parts.template
    if settings.judge_model is not None:
        model = earlier(parts.context, settings.judge_model, itself=True, what="judge_model")
        policy, template = parts.open(model), load_template(model.path, parts.settings.template)
    asked, reasoning = KINDS[kind]

    def make(number: int) -> GenerativeJudge:
        sampler = LocalSampler(cast(Decodable, policy), end_ids=template.end_ids()) if reasoning else None
        return GenerativeJudge(
            policy,
            template,
            Form(asked, reasoning, style=settings.judge_style),
            sampler=sampler,
            max_tokens=parts.settings.max_tokens,
            seed=(parts.context.recipe.seed << 32) + JUDGING + number,
            token_budget=parts.settings.token_budget,
            language_of=language_of,
        )

    return WordsJudge(make)


def earlier(context: StageContext, name: str | None, *, itself: bool = False, what: str = "anchor") -> ModelRef:
    """An earlier model by name; without a name the parent of the current one.

    Args:
        context: of the stage.
        name: of the model.
        itself: the model this stage starts from counts too.
        what: the setting that names it, for messages.
    Raises:
        ConfigError: there is no such model before this stage.
    """
    start = context.model
    name = name or start.parent
    where = f"stages.{context.stage.name}.{what}"
    if name is None:
        raise ConfigError(
            f"the implicit reward of '{start.name}' is 0 everywhere: it was not trained from an earlier model",
            where=where,
            fix="train it in a stage before this one (sft, dpo), or choose another judge",
        )
    if name not in context.models or (name == start.name and not itself):
        before = [known for known in context.models if itself or known != start.name]
        raise ConfigError(
            f"there is no earlier model '{name}'{nearest(name, before)}",
            where=where,
            fix=f"models before this stage: {', '.join(before) or 'none'}",
        )
    return context.models[name]
