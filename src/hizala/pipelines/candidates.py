"""Candidates: prompts, what the policy says to them, and how that becomes groups in text and in tokens."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hizala.engines.data.templates import ChatTemplate
from hizala.engines.rollout.local import Decodable, LocalSampler
from hizala.errors import DataError
from hizala.pipelines.material import open_source, prompt_key, with_unique_ids
from hizala.pipelines.progress import Bar
from hizala.records import Finding, Group, Message, Response, Sample, TokenBranch, TokenGroup

PLACE = "{prompt}"
ASK = f"how a prompt is put: a text in which {PLACE} stands for its last turn; none: as the data have it"


class Asking(Protocol):
    """What a stage says of its prompts and of how they are answered."""

    @property
    def data(self) -> str | list[str]:
        """Where the prompts are."""

    @property
    def format(self) -> str:
        """Of their rows."""

    @property
    def limit(self) -> int | None:
        """Rows to read at most."""

    @property
    def temperature(self) -> float:
        """Of the sampling."""

    @property
    def top_p(self) -> float:
        """Mass of the nucleus."""

    @property
    def max_tokens(self) -> int:
        """Of a response."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A group whose prompt is answered, and the prompt in tokens as generation sees it."""

    group: Group
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What the policy said to one prompt.

    Attributes:
        prompt: the prompt.
        samples: K samples, exactly as generated.
        texts: their texts, special tokens left out; of several turns, the policy's own.
        turns: of each sample, the policy's turns and what an environment said between them; None: one turn each.
    """

    prompt: Prompt
    samples: tuple[Sample, ...]
    texts: tuple[str, ...]
    turns: tuple[tuple[Message, ...], ...] | None = None

    def first(self, n: int) -> Answers:
        """The first n samples."""
        turns = None if self.turns is None else self.turns[:n]
        return replace(self, samples=self.samples[:n], texts=self.texts[:n], turns=turns)

    def as_group(self) -> Group:
        """The prompt with the K samples as its responses, in words."""
        turns = self.turns or tuple((Message("assistant", text),) for text in self.texts)
        said = tuple(
            Response(messages, logps=sample.logps, truncated=sample.truncated)
            for messages, sample in zip(turns, self.samples, strict=True)
        )
        return replace(self.prompt.group, responses=said)

    def as_tokens(self, which: Sequence[int] | None = None, *, id: str = "", margin: float | None = None) -> TokenGroup:
        """The prompt with the samples as branches, token for token as they were generated: nothing is encoded again.

        Args:
            which: indices of the samples, in the order wanted; all of them where it is not given.
            id: of the group; the prompt's own where it is not given.
            margin: how strongly the first is preferred to the second.
        """
        chosen = range(len(self.samples)) if which is None else which
        return TokenGroup(
            self.prompt.ids,
            tuple(branch(self.samples[i]) for i in chosen),
            id=id or self.prompt.group.id,
            margin=margin,
        )


def branch(sample: Sample) -> TokenBranch:
    """A sample as a branch of which every generated token counts, its end tokens included where it has some."""
    return TokenBranch(sample.ids, sample.generated, sample.truncated)


def read_prompts(
    settings: Asking, template: ChatTemplate, *, shape: str = "prompt", apart: Sequence[Group] = ()
) -> tuple[list[Prompt], list[Finding]]:
    """The prompts of a stage, in the order of the data.

    Args:
        settings: name the data.
        template: encodes them.
        shape: what each group must hold; "response" keeps a demonstration beside its prompt.
        apart: groups whose prompts must not be trained on (a held-out check): theirs are left out and counted.
    Raises:
        DataError: no prompt is left.
    """
    source = open_source(settings.data, shape=shape, format=settings.format, limit=settings.limit)
    kept, findings = [], []
    held = {prompt_key(group) for group in apart}
    left = 0
    for group in with_unique_ids(source):
        if prompt_key(group) in held:
            left += 1
            continue
        put = asked(group, getattr(settings, "ask", None))
        kept.append(Prompt(put, tuple(template.encode_prompt(put))))
    if left:
        findings.append(Finding("held-out", "info", "prompts of the held-out check, not trained on", count=left))
    if not kept:
        raise DataError("no prompt is left to answer", where=source.name, fix="give more data, or a smaller check")
    return kept, [*source.findings, *findings]


def check_ask(ask: str | None) -> None:
    """Raise ValueError where a way of asking does not hold the prompt exactly once."""
    if ask is not None and ask.count(PLACE) != 1:
        raise ValueError(f"ask holds {PLACE} {ask.count(PLACE)} times; it stands for the prompt and must stand once")


def asked(group: Group, ask: str | None) -> Group:
    """The group with its last turn put as `ask` says."""
    if ask is None:
        return group
    last = group.prompt[-1]
    return replace(group, prompt=(*group.prompt[:-1], replace(last, content=ask.replace(PLACE, last.content))))


class Asker:
    """Asks a policy: K samples a prompt from the distribution the settings name.

    Args:
        policy: what answers, as it stands at each call.
        template: of its tokenizer.
        settings: temperature, top_p and max_tokens.
        seed: of the recipe; each call adds its own number.
    """

    def __init__(self, policy: Decodable, template: ChatTemplate, settings: Asking, seed: int) -> None:
        self.policy, self.template, self.settings, self.seed = policy, template, settings, seed

    def ask(self, prompts: Sequence[Prompt], samples: int, number: int, *, bar: str = "") -> list[Answers]:
        """K answers to each prompt.

        Args:
            prompts: to be answered.
            samples: K.
            number: of the call (a step, an iteration): the same number draws the same random numbers.
            bar: label of a progress bar; none is shown without it.
        """
        if bar:
            with Bar(bar, len(prompts) * samples) as shown:
                return self._ask(prompts, samples, number, lambda done, _all: shown.advance(done - shown.done))
        return self._ask(prompts, samples, number, None)

    def _ask(
        self, prompts: Sequence[Prompt], samples: int, number: int, progress: Callable[[int, int], None] | None
    ) -> list[Answers]:
        sampler = LocalSampler(
            self.policy,
            end_ids=self.template.end_ids(),
            temperature=self.settings.temperature,
            top_p=self.settings.top_p,
            progress=progress,
        )
        # Apart from the seeds of evaluation, which are the recipe's own.
        seed = (self.seed << 32) + 1 + number
        drawn = sampler.sample([p.ids for p in prompts], n=samples, max_tokens=self.settings.max_tokens, seed=seed)
        return [
            Answers(prompt, tuple(some), tuple(self.template.decode(s.ids) for s in some))
            for prompt, some in zip(prompts, drawn, strict=True)
        ]


def mean_length(answers: Sequence[Answers]) -> float:
    """Tokens of a sample, on average."""
    return statistics.fmean(len(s.ids) for a in answers for s in a.samples)


def cut_share(answers: Sequence[Answers]) -> float:
    """Share of the samples that met the token limit."""
    return statistics.fmean(float(s.truncated) for a in answers for s in a.samples)
