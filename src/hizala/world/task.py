"""What a task of the world is: problems with a split of their own, responses of three qualities, and a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

Quality = Literal["good", "half", "bad"]
SPLITS: tuple[str, ...] = ("train", "test")
TEST_SHARE = 64  # of 256


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: what the user says, and what a judge must know.

    Attributes:
        prompt: the user's words.
        key: names the problem without its wording; decides its split.
        template: names the wording; test wordings are never used in train.
        data: JSON-able facts for the judge and for writing responses.
    """

    prompt: str
    key: str
    template: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge's finding: the value in [0, 1], its parts in [0, 1], and a reason when it is not 1."""

    value: float
    parts: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One family of problems.

    Attributes:
        name: what recipes and reports call it.
        problem: (rng, lang, split) -> a problem, its key not yet checked against the split.
        respond: (data, lang, quality, rng, think) -> a response of that quality.
        judge: (data, lang, prompt, text) -> what the text is worth; total over all strings.
    """

    name: str
    problem: Callable[[Random, str, str], Problem]
    respond: Callable[[Mapping[str, Any], str, Quality, Random, bool], str]
    judge: Callable[[Mapping[str, Any], str, str, str], Judged]


def split_of(task: str, key: str) -> str:
    """The split a problem belongs to, the same in both languages and for every seed."""
    first = hashlib.sha256(f"{task}|{key}".encode()).digest()[0]
    return "test" if first < TEST_SHARE else "train"


def wording(rng: Random, split: str, train: tuple[str, ...], test: tuple[str, ...]) -> tuple[str, str]:
    """One wording of the split and its name."""
    pool = test if split == "test" else train
    index = int(rng.random() * len(pool))
    return pool[index], f"{split}{index}"
