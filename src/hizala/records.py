"""The records every part of Hizala speaks of. Standard library only.

One record is central: the `Group`, a prompt and the responses that answer it. SFT data has one response a
group, a preference pair two (rank 0 is better than rank 1), a ranking K, a rollout G, a thumb one or more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Step:
    """One marked step of a reasoning response: its text and whether it is right (None: not marked)."""

    text: str
    correct: bool | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What answers a prompt, and what is known of it. `None` always means "not known", never zero.

    Attributes:
        messages: the turns that follow the prompt; assistant turns count for the loss, other turns do not.
        rank: place in its group, 0 is best; equal ranks are ties.
        label: a thumb, up (True) or down (False).
        score: a grade given by an annotator, a judge or a gold checker; higher is better.
        steps: step marks of a process-supervised response.
        attributes: grades of single qualities (helpfulness, verbosity, …) by name.
        logps: log-probs (nats) of the response's tokens under the distribution it was sampled from.
        truncated: the response was cut at a length limit and carries no end of its own.
    """

    messages: tuple[Message, ...]
    rank: int | None = None
    label: bool | None = None
    score: float | None = None
    steps: tuple[Step, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)
    logps: tuple[float, ...] | None = None
    truncated: bool = False

    @property
    def text(self) -> str:
        """The assistant's words, turns joined by a blank line."""
        return "\n\n".join(m.content for m in self.messages if m.role == "assistant")


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and the responses that answer it: the unit of alignment.

    Attributes:
        prompt: the turns before the responses; never empty.
        responses: in the order of the data; a pair stands as (chosen, rejected).
        id: stable name of the row, used to key caches and to report findings.
        meta: everything else the row carried (ground truth, task, source), untouched.
    """

    prompt: tuple[Message, ...]
    responses: tuple[Response, ...] = ()
    id: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenBranch:
    """A response in tokens, and what is known of it. `mask[i]` is True where token i counts for the loss.

    Attributes:
        rank, label, score, attributes: as in `Response`.
        marks: (index into `ids` of a step's last token, the step is right); a step without a mark is absent.
    """

    ids: Sequence[int]
    mask: Sequence[bool]
    truncated: bool = False
    rank: int | None = None
    label: bool | None = None
    score: float | None = None
    marks: tuple[tuple[int, bool], ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """A group in tokens: prompt once, responses as branches. What the forest packs.

    Attributes:
        prompt: token ids of the prompt including what opens the assistant's turn; at least one token.
        responses: one branch a response, in the group's order.
        id: the group's id.
        weight: the group's weight in the loss's numerator and denominator.
        margin: how strongly the first response of a pair is preferred, in the annotator's unit; None: not known.
    """

    prompt: Sequence[int]
    responses: tuple[TokenBranch, ...]
    id: str = ""
    weight: float = 1.0
    margin: float | None = None

    @property
    def tokens(self) -> int:
        """Tokens the forest holds for this group: prompt once, every response."""
        return len(self.prompt) + sum(len(r.ids) for r in self.responses)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled response in tokens.

    Attributes:
        ids: generated tokens, the end token included when it was generated; between turns, what an environment said.
        logps: nats per generated token under the distribution really sampled from.
        truncated: the token limit was met before an end token.
        mask: which of `ids` were generated; None: all.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...]
    truncated: bool
    mask: tuple[bool, ...] | None = None

    @property
    def generated(self) -> tuple[bool, ...]:
        """Which of `ids` were generated: those that are trained."""
        return (True,) * len(self.ids) if self.mask is None else self.mask


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a reward or judge says of one response. `value` None: not scored, `reason` says why."""

    value: float | None
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure with its uncertainty.

    Attributes:
        value: the point estimate.
        low, high: bounds of the interval at `level`.
        n: units the estimate rests on (clusters where it is clustered).
        unscored: units that could not be scored and are not in n.
        method: how the interval was made, in words.
        level: the interval's coverage.
    """

    value: float
    low: float
    high: float
    n: int
    unscored: int = 0
    method: str = ""
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a check or a monitor noticed. `where` names file:line, group id or step."""

    kind: str
    severity: Literal["info", "warning", "error"]
    message: str
    where: str = ""
    count: int = 1
    data: Mapping[str, Any] = field(default_factory=dict)
