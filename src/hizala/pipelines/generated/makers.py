"""Where the pairs of a round come from: one class a way, each a few lines over the same parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hizala.pipelines.candidates import Answers, Prompt
from hizala.pipelines.generated.judges import Judge
from hizala.pipelines.generated.pairs import Harvest, Pick, extremes, gather
from hizala.pipelines.generated.parts import Parts
from hizala.pipelines.generated.settings import (
    IteratedSettings,
    OnlineDpoSettings,
    SelfRewardingSettings,
    SpinSettings,
)
from hizala.pipelines.material import Batches
from hizala.records import Sample, Verdict


class Online:
    """Pairs of one step: the next prompts, K samples of each, the judge's best and worst.

    Args:
        parts, settings, prompts: of the stage.
        judge: scores the samples.
    """

    def __init__(self, parts: Parts, settings: OnlineDpoSettings, prompts: Sequence[Prompt], judge: Judge) -> None:
        self.parts, self.settings, self.prompts, self.judge = parts, settings, prompts, judge
        self.batches = Batches(len(prompts), settings.batch_size, parts.context.recipe.seed)
        self.frozen = parts.start() if parts.needs_reference else None

    def harvest(self, number: int) -> Harvest:
        """The pairs of step `number`, with log-probs under the policy the stage started from."""
        prompts = [self.prompts[i] for i in self.batches[number]]
        answers = self.parts.asker.ask(prompts, self.settings.samples, number)
        harvest = judged(answers, self.judge, self.settings.margin, number)
        if harvest.pairs and self.parts.needs_reference:
            harvest.reference = self.parts.at_start(harvest.pairs, self.frozen)
        return harvest


class Judged:
    """Pairs of one iteration: K samples of each of its prompts, the judge's best and worst.

    Args:
        parts, settings, prompts: of the stage.
        judge: scores the samples.
    """

    def __init__(self, parts: Parts, settings: SelfRewardingSettings, prompts: Sequence[Prompt], judge: Judge) -> None:
        self.parts, self.settings, self.judge = parts, settings, judge
        self.rounds = PromptRounds(parts, settings, prompts)

    def harvest(self, number: int) -> Harvest:
        """The pairs of iteration `number`, with log-probs under the reference."""
        answers = self.rounds.ask(number, self.settings.samples)
        return self.rounds.referred(judged(answers, self.judge, self.settings.margin, number))


class Spin:
    """Pairs of one iteration: each demonstration against one sample of the policy as it stands.

    Args:
        parts, settings: of the stage.
        prompts: with their demonstrations.
    """

    def __init__(self, parts: Parts, settings: SpinSettings, prompts: Sequence[Prompt]) -> None:
        self.parts = parts
        self.rounds = PromptRounds(parts, settings, prompts)

    def harvest(self, number: int) -> Harvest:
        """The pairs of iteration `number`, with log-probs under the policy as it stands."""
        # The demonstration stands behind the sample as one more candidate, so that rows and metrics are alike.
        shown = [self._beside(answered) for answered in self.rounds.ask(number, 1)]
        picks = ["tied" if a.texts[0] == a.texts[1] else Pick(1, 0, None) for a in shown]
        unjudged = [[Verdict(None, "sampled"), Verdict(None, "demonstration")] for _ in shown]
        return self.rounds.referred(gather(shown, unjudged, picks, number))

    def _beside(self, answers: Answers) -> Answers:
        group = answers.prompt.group
        (shown,) = self.parts.template.encode_group(group).responses
        demonstration = Sample(tuple(shown.ids), (), shown.truncated)
        return replace(
            answers,
            samples=(*answers.samples, demonstration),
            texts=(*answers.texts, group.responses[0].text),
        )


class PromptRounds:
    """The prompts of each iteration, answered by the policy as it stands, and the reference its pairs are given.

    Args:
        parts, settings, prompts: of the stage.
    """

    def __init__(self, parts: Parts, settings: IteratedSettings, prompts: Sequence[Prompt]) -> None:
        self.parts, self.prompts = parts, prompts
        self.batches = Batches(len(prompts), settings.prompts, parts.context.recipe.seed)
        self.from_start = settings.reference == "start"

    def ask(self, number: int, samples: int) -> list[Answers]:
        """K answers to each prompt of iteration `number`."""
        prompts = [self.prompts[i] for i in self.batches[number]]
        return self.parts.asker.ask(prompts, samples, number, bar=f"iteration {number + 1}: sampling")

    def referred(self, harvest: Harvest) -> Harvest:
        """The pairs with log-probs under the reference: the policy as it stands, or the one the stage started from."""
        if harvest.pairs and self.parts.needs_reference:
            if self.from_start:
                harvest.reference = self.parts.at_start(harvest.pairs, self.parts.start())
            else:
                harvest.reference = self.parts.measured(harvest.pairs)
        return harvest


def judged(answers: Sequence[Answers], judge: Judge, margin: float, number: int) -> Harvest:
    """Best against worst of each prompt's candidates by a judge's scores."""
    verdicts = judge.score(answers, number)
    picks = [extremes(a, v, margin) for a, v in zip(answers, verdicts, strict=True)]
    return gather(answers, verdicts, picks, number)
