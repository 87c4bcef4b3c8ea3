"""Rewards that misbehave in every way, for tests of what holds them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

from hizala.records import Group, Response, Verdict
from hizala.registry import reward


@reward("test_length", summary="characters of the response", needs=("known",))
def length(response: Response, group: Group, *, per: float = 1.0) -> float:
    """Characters.

    Args:
        per: what one counts.
    """
    return per * len(response.text)


@reward("test_hostile", summary="does what the response says")
def hostile(response: Response, group: Group) -> Any:
    """What the response asks for."""
    word = response.text.strip()
    if word == "spin":
        while True:
            pass
    if word == "sleep":
        time.sleep(1000)
    if word == "tower":
        return float(9 ** (9**9) % 7)
    if word == "backtrack":
        re.match(r"(a+)+$", "a" * 40 + "b")
    if word == "exit":
        os._exit(3)
    if word == "quit":
        raise SystemExit(0)
    if word == "memory":
        return float(len(bytearray(1 << 40)))
    if word == "recurse":
        return hostile(response, group)
    if word == "raise":
        raise ValueError("a reason: with a colon")
    return {"nan": float("nan"), "inf": float("inf"), "text": "1.0", "none": None, "yes": True}.get(word, 0.5)


@reward("test_group_place", summary="place in the group; crashes on request")
class Places:
    """Each response's place.

    Args:
        step: between two places.
    """

    def __init__(self, context: object, *, step: float = 1.0) -> None:
        self.step, self.closed = step, False

    def score(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """Places from 0."""
        for group in groups:
            if any(response.text == "raise" for response in group.responses):
                raise RuntimeError("asked to")
            if any(response.text == "sleep" for response in group.responses):
                time.sleep(5)
        return [[Verdict(self.step * i) for i, _ in enumerate(group.responses)] for group in groups]

    def close(self) -> None:
        """Let go."""
        self.closed = True
