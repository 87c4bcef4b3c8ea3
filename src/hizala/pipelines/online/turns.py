"""Conversations: a policy's turns and what an environment says between them, token for token."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hizala.config import schema_of
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import ConfigError, TemplateError
from hizala.pipelines.candidates import Prompt
from hizala.pipelines.online.settings import OnlineSettings
from hizala.protocols import Environment, Sampler
from hizala.records import Message, Sample
from hizala.registry import environments

# Stands for a turn of the policy where only what a template writes after it is wanted.
_STAND_IN = "Hizala"
_PROBE = "4711"
ReplyRole = Literal["tool", "user"]


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
    of its role, and appended to the tokens. Replies are masked: they are not trained and have no log-probs.

    Args:
        environment: answers turns.
        template: of the policy's tokenizer.
        max_turns: turns of the policy in one conversation, at most; a call in the last goes unanswered.
        context: tokens of prompt and conversation the model was made for; None: no bound.
        role: that replies are written with.
    Raises:
        ConfigError: max_turns below 1.
        TemplateError: the template cannot write turns of that role, or writes them as the policy's own.
    """

    def __init__(
        self,
        environment: Environment,
        template: ChatTemplate,
        *,
        max_turns: int,
        context: int | None,
        role: ReplyRole = "tool",
    ) -> None:
        if max_turns < 1:
            raise ConfigError(f"max_turns is {max_turns}, but must be at least 1", where="max_turns")
        self.environment, self.template = environment, template
        self.max_turns, self.context, self.role = max_turns, context, role
        self._ends = frozenset(template.end_ids())
        if problem := self._unwritable():
            other = "" if role == "user" else "reply_role: user, or "
            raise TemplateError(
                f"the chat template {problem} turns of the role '{role}'",
                where=template.where,
                fix=f"{other}a model whose template writes them",
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
        talk.turns.append(Message(self.role, reply))
        return True

    def _unwritable(self) -> str:
        """What the template does with turns of the replies' role that it should not; empty where it writes them."""
        if self.template.renderer is None:
            return ""  # contents alone: no turn has a role
        before = (Message("user", "?"), Message("assistant", _STAND_IN))
        try:
            written = self.template.render((*before, Message(self.role, _PROBE)), opened=True)
        except TemplateError:
            return "refuses"
        if _PROBE not in self._around(before[:1], _PROBE):
            return "leaves out"
        try:
            own = self.template.render((*before, Message("assistant", _PROBE)), opened=True)
        except TemplateError:
            return ""
        return "writes as the policy's own the" if own == written else ""

    def _around(self, prompt: Sequence[Message], reply: str) -> str:
        """What stands between the end of a turn of the policy and the beginning of its next, guarded.

        Only what follows the policy's turn is taken: templates may write earlier turns otherwise than they were
        generated (without their reasoning), and what was generated stays as it is.
        """
        if self.template.renderer is None:
            return self.template.guard(reply)
        mark = _STAND_IN
        while any(mark in text for text in (reply, *(m.content for m in prompt))):
            mark += "a"
        whole = self.template.render((*prompt, Message("assistant", mark), Message(self.role, reply)), opened=True)
        _, found, rest = whole.partition(mark)
        ends = [(rest.find(text), text) for text in self.template.end_texts if text in rest]
        if not found or not ends or rest[: min(ends)[0]].strip():
            raise TemplateError("the turn before a reply is not closed by an end token", where=self.template.where)
        at, end = min(ends)
        return rest[at + len(end) :]


def conversations(settings: OnlineSettings, template: ChatTemplate, context: int | None) -> Conversations:
    """Conversations as a stage's settings, which name an environment, ask for them; raises as its parts do."""
    return Conversations(
        make(settings.environment or ""),
        template,
        max_turns=settings.max_turns or 4,
        context=context,
        role=settings.reply_role or "tool",
    )


def _derived(seed: int, what: str) -> int:
    """A seed of its own, below 2^62, for what follows the first turn."""
    return int.from_bytes(hashlib.sha256(f"turns:{seed}:{what}".encode()).digest()[:8], "little") >> 2
