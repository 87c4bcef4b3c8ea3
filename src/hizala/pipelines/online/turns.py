"""Conversations: a policy's turns and what an environment says between them, token for token."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hizala.config import schema_of
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import ConfigError, TemplateError
from hizala.pipelines.candidates import Prompt
from hizala.protocols import Environment, Sampler
from hizala.records import Message, Sample
from hizala.registry import environments

# Stands for a turn of the policy where only what a template writes around it is wanted.
_STAND_IN = "Hizala"
_PROBE = "4711"


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation: its tokens after the prompt, and its turns."""

    sample: Sample
    turns: tuple[Message, ...]


@dataclass(slots=True)
class _Open:
    """A conversation in work: where it belongs, its state, its tokens and turns so far."""

    place: tuple[int, int]
    prompt: Prompt
    state: Any
    ids: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    truncated: bool = False

    def talk(self) -> Talk:
        mask = None if all(self.mask) else tuple(self.mask)
        return Talk(Sample(tuple(self.ids), tuple(self.logps), self.truncated, mask), tuple(self.turns))


def make(name: str) -> Environment:
    """The environment of that name.

    Raises:
        ConfigError: there is none, or it has settings that must be given.
    """
    spec = environments.get(name)
    needed = [key for key, entry in schema_of(spec.make).model_fields.items() if entry.is_required()]
    if needed:
        raise ConfigError(f"environment '{name}' needs settings ({', '.join(needed)})", where="environment")
    made: Environment = spec.make()
    return made


class Conversations:
    """Samples conversations in rounds: all open ones take their next turn together, by any sampler.

    What was sampled is never encoded again: a reply is encoded once, with what the chat template writes around a turn
    of the role `tool`, and appended to the tokens. Replies are masked: they are not trained and have no log-probs.

    Args:
        environment: answers turns.
        template: of the policy's tokenizer.
        max_turns: turns of the policy in one conversation, at most; a call in the last goes unanswered.
        context: tokens of prompt and conversation the model was made for; None: no bound.
    Raises:
        ConfigError: max_turns below 1.
        TemplateError: the template does not write turns of the role `tool`.
    """

    def __init__(
        self, environment: Environment, template: ChatTemplate, *, max_turns: int, context: int | None
    ) -> None:
        if max_turns < 1:
            raise ConfigError(f"max_turns is {max_turns}, but must be at least 1", where="max_turns")
        self.environment, self.template = environment, template
        self.max_turns, self.context = max_turns, context
        self._ends = frozenset(template.end_ids())
        if _PROBE not in self._around((Message("user", _STAND_IN),), _PROBE):
            raise TemplateError(
                "the chat template leaves out turns of the role 'tool'",
                where=template.where,
                fix="use a model whose template writes tool turns, or no environment",
            )

    def sample(
        self, sampler: Sampler, prompts: Sequence[Prompt], *, n: int, max_tokens: int, seed: int
    ) -> list[list[Talk]]:
        """n conversations for each prompt, in order.

        The first turn is what the sampler gives for these arguments; without a reply it is the whole conversation.
        `max_tokens` and the model's context count every turn and every reply. A reply that leaves no room for a
        further token is not given: the conversation then is truncated.
        """
        first = sampler.sample([p.ids for p in prompts], n=n, max_tokens=max_tokens, seed=seed)
        talks: dict[tuple[int, int], Talk] = {}
        going: list[_Open] = []
        for i, (prompt, some) in enumerate(zip(prompts, first, strict=True)):
            for j, sample in enumerate(some):
                state = self.environment.reset(prompt.group, _derived(seed, f"{prompt.group.id}:{j}"))
                talk = _Open((i, j), prompt, state)
                self._take(talk, sample, max_tokens)
                going.append(talk)
        for turn in range(1, self.max_turns + 1):
            kept = []
            for talk in going:
                if turn < self.max_turns and self._answered(talk, max_tokens):
                    kept.append(talk)
                else:
                    talks[talk.place] = talk.talk()
            going = kept
            if not going:
                break
            # Room differs: all are sampled as far as the roomiest and cut to their own, which is the same distribution.
            room = max(max_tokens - len(talk.ids) for talk in going)
            extended = [[*talk.prompt.ids, *talk.ids] for talk in going]
            drawn = sampler.sample(extended, n=1, max_tokens=room, seed=_derived(seed, str(turn)))
            for talk, (sample,) in zip(going, drawn, strict=True):
                self._take(talk, sample, max_tokens)
        return [[talks[i, j] for j in range(n)] for i in range(len(prompts))]

    def _take(self, talk: _Open, sample: Sample, max_tokens: int) -> None:
        """Append a turn of the policy, cut where the conversation has no more room."""
        room = max_tokens - len(talk.ids)
        ids = sample.ids[:room]
        talk.truncated = sample.truncated or len(sample.ids) > room
        talk.ids += ids
        talk.mask += [True] * len(ids)
        talk.logps += sample.logps[:room]
        talk.turns.append(Message("assistant", self.template.decode(ids)))

    def _answered(self, talk: _Open, max_tokens: int) -> bool:
        """Let the environment answer the last turn; False where the conversation is over."""
        if talk.truncated or not talk.ids or talk.ids[-1] not in self._ends:
            return False
        reply, talk.state = self.environment.step(talk.state, talk.turns[-1].content)
        if reply is None:
            return False
        said = self.template.encode_text(self._around(talk.prompt.group.prompt, reply))
        length = len(talk.ids) + len(said)
        bound = max_tokens if self.context is None else min(max_tokens, self.context - len(talk.prompt.ids))
        if length >= bound:
            talk.truncated = True
            return False
        talk.ids += said
        talk.mask += [False] * len(said)
        talk.turns.append(Message("tool", reply))
        return True

    def _around(self, prompt: Sequence[Message], reply: str) -> str:
        """What stands between the end of a turn of the policy and the beginning of its next, guarded."""
        turn = Message("assistant", _STAND_IN)
        opened = self.template.render(prompt, opened=True)
        spans = self.template.spans(prompt, (turn, Message("tool", reply), turn), opened)
        return "".join(span.text for span in spans if not span.trained)


def _derived(seed: int, what: str) -> int:
    """A seed of its own, below 2^62, for what follows the first turn."""
    return int.from_bytes(hashlib.sha256(f"turns:{seed}:{what}".encode()).digest()[:8], "little") >> 2
