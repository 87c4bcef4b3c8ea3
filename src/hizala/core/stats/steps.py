"""How well the first wrong step of a reasoned answer is found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hizala.errors import EvalError


@dataclass(frozen=True, slots=True)
class FirstError:
    """First-error detection over a set of answers; a share is NaN where there is no such answer.

    Attributes:
        wrong: share of the answers with a wrong step whose first wrong step is named exactly.
        right: share of the answers without one that are called free of errors.
        f1: harmonic mean of both.
    """

    wrong: float
    right: float
    f1: float


def first_wrong(correct: Sequence[bool | None]) -> int | None:
    """Index of the first step marked wrong; None where none is. Steps that are not marked are passed over."""
    return next((i for i, mark in enumerate(correct) if mark is False), None)


def predicted_error(probabilities: Sequence[float], threshold: float = 0.5) -> int | None:
    """Index of the first step whose probability of being right is below the threshold; None where none is."""
    return next((i for i, p in enumerate(probabilities) if p < threshold), None)


def first_error(predicted: Sequence[int | None], actual: Sequence[int | None]) -> FirstError:
    """First-error detection: accuracy on erroneous answers, on right ones, and their harmonic mean.

    Args:
        predicted, actual: index of the first wrong step of each answer, None for no wrong step.
    Returns:
        FirstError; f1 is 0 where either share is 0, NaN where either kind of answer is absent.
    Raises:
        EvalError: unequal lengths.
    Source: Zheng et al. 2024, ProcessBench, arXiv:2412.06559, sec. 3.1.
    """
    if len(predicted) != len(actual):
        raise EvalError(f"{len(predicted)} predictions for {len(actual)} answers")
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for guess, truth in zip(predicted, actual, strict=True):
        hits[truth is None].append(guess == truth)
    wrong, right = (sum(some) / len(some) if some else math.nan for some in (hits[False], hits[True]))
    total = wrong + right
    return FirstError(wrong, right, 2 * wrong * right / total if total > 0 else total)
