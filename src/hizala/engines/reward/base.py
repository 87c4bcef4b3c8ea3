"""What every reward is given, and the little that all of them ask of a response. No torch here."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hizala.core.detect.language import guess
from hizala.errors import ConfigError
from hizala.records import Group, Response, Verdict

Array = NDArray[np.float64]


class TextModel(Protocol):
    """A reward model of groups in words; `pipelines.scorers.TextScorer` is one."""

    def score(self, groups: Sequence[Group]) -> list[Array]:
        """One (R,) array a group; NaN: not scored."""


class OpenModel(Protocol):
    """Opens a reward model; what runs a recipe knows which names mean which directories."""

    def __call__(self, names: Sequence[str], settings: Mapping[str, Any]) -> TextModel:
        """The model of that name or directory, or the ensemble of several; settings as in `load_scorer`."""


@dataclass(frozen=True, slots=True)
class RewardContext:
    """What rewards are made with.

    Attributes:
        time_limit: seconds of computing that one response may cost a function before it is not scored.
        workers: processes in which isolated functions run; 0: one a core, four at most.
        cache: verdicts kept for responses that come again; 0: none.
        batch_limit: seconds in which a class must score one batch, else none of it is scored.
        seed: of whatever a reward draws.
        open_model: opens reward models by name; None where none can be had.
    """

    time_limit: float = 5.0
    workers: int = 0
    cache: int = 65536
    batch_limit: float = 600.0
    seed: int = 0
    open_model: OpenModel | None = None

    def __post_init__(self) -> None:
        for name, least in (("time_limit", 0.01), ("batch_limit", 0.01), ("workers", 0), ("cache", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} of rewards is {getattr(self, name)}, but must be at least {least}")

    @property
    def processes(self) -> int:
        """Worker processes there will be at most."""
        return self.workers or min(4, os.cpu_count() or 1)


def language_of(group: Group) -> str:
    """The language a group was asked in: what its data say (`meta.lang`), else a guess from the last turn."""
    said = group.meta.get("lang")
    return str(said) if said else guess(group.prompt[-1].content)


def last_turn(response: Response) -> str:
    """The assistant's last turn; "" where the response ends with another role."""
    messages = response.messages
    return messages[-1].content if messages and messages[-1].role == "assistant" else ""


def spoken(response: Response, group: Group, opened: bool) -> str:
    """The assistant's last turn from its reasoning on: with `<think>` where the prompt or its template opened it."""
    opened = opened or group.prompt[-1].content.rstrip().endswith("<think>")
    return ("<think>" if opened else "") + last_turn(response)


def verdict_of(given: object) -> Verdict:
    """What a reward returned, as a verdict; whatever is no finite number is not scored, with the reason."""
    if isinstance(given, Verdict):
        if given.value is None:
            return Verdict(None, given.reason or "the reward gave no value", given.parts)
        checked = verdict_of(given.value)
        return Verdict(checked.value, given.reason if checked.value is not None else checked.reason, given.parts)
    if given is None:
        return Verdict(None, "the reward gave no value")
    if not isinstance(given, Real):
        return Verdict(None, f"no number: the reward gave {type(given).__name__}")
    value = float(given)
    return Verdict(value) if math.isfinite(value) else Verdict(None, f"not finite: the reward gave {value}")
