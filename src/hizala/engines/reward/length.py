"""Rewards by length: a penalty near the limit, and one that lets right answers be short and wrong ones think.

The formulas are those of `core.shaping`, of one response and without torch, which workers do not import.
"""

from __future__ import annotations

import math as mathematics
import re
from typing import Annotated, Literal

from hizala.engines.reward.math import math
from hizala.errors import ConfigError
from hizala.records import Group, Response, Verdict
from hizala.registry import Bound, reward

Unit = Literal["tokens", "words", "characters"]
_WORDS = re.compile(r"\S+")


def length_of(response: Response, unit: Unit) -> int | None:
    """A response's length; None in tokens where it does not say how many it was sampled with."""
    if unit == "tokens":
        return None if response.logps is None else len(response.logps)
    return len(response.text) if unit == "characters" else sum(1 for _ in _WORDS.finditer(response.text))


def _room(*, limit: int, buffer: int, unit: Unit) -> None:
    if buffer > limit:
        raise ConfigError(f"the buffer of reward 'overlong' ({buffer}) is larger than its limit ({limit})")


@reward("overlong", summary="soft penalty of the last tokens before the limit, in [-1, 0]", isolated=False, check=_room)
def overlong(
    response: Response,
    group: Group,
    *,
    limit: Annotated[int, Bound(ge=1)],
    buffer: Annotated[int, Bound(ge=1)],
    unit: Unit = "tokens",
) -> Verdict:
    """0 up to limit - buffer, then falling to -1 at the limit, -1 beyond; see `core.shaping.soft_overlong`.

    Args:
        limit: the longest a response may be.
        buffer: the last part of it, over which the penalty grows.
        unit: what length is counted in; tokens are those it was sampled with.
    Returns:
        Verdict: in [-1, 0]; not scored in tokens where the response does not say how many it has.
    Source: Yu et al. 2025, arXiv:2503.14476, eq. 13.
    """
    length = length_of(response, unit)
    if length is None:
        return Verdict(None, "no number of tokens")
    return Verdict(max(-1.0, min(0.0, (limit - buffer - length) / buffer)))


@reward("cosine", needs=("answer",), summary="math by length: short right answers and long wrong ones earn more")
def cosine(
    response: Response,
    group: Group,
    *,
    limit: Annotated[int, Bound(ge=1)],
    right_short: float = 2.0,
    right_long: float = 1.0,
    wrong_short: float = -10.0,
    wrong_long: float = 0.0,
    beyond: float = -10.0,
    unit: Unit = "tokens",
) -> Verdict:
    """The math reward, turned by length along half a cosine; see `core.shaping.cosine_length`.

    Args:
        limit: length at and beyond which every response earns `beyond`.
        right_short, right_long: for a right answer without length, and at the limit.
        wrong_short, wrong_long: for a wrong answer without length, and at the limit.
        beyond: for a response that reaches the limit.
        unit: what length is counted in; tokens are those it was sampled with.
    Returns:
        Verdict: not scored where the math reward is not, or in tokens where their number is not known.
    Source: Yeo et al. 2025, arXiv:2502.03373, sec. 4.2; the defaults are theirs.
    """
    length, graded = length_of(response, unit), math(response, group)
    if length is None or graded.value is None:
        return Verdict(None, "no number of tokens" if length is None else graded.reason)
    if length >= limit:
        return Verdict(beyond, "too long")
    short, long = (right_short, right_long) if graded.value == 1 else (wrong_short, wrong_long)
    return Verdict(long + (short - long) * (1 + mathematics.cos(mathematics.pi * length / limit)) / 2, graded.reason)
