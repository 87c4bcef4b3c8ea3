"""Figures over the groups of a file: lengths, length bias, label balance."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from hizala.records import Estimate, Group

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of one side, in `unit`; `histogram` holds (upper bound, count) with doubling bounds."""

    unit: str
    n: int
    mean: float
    p5: float
    median: float
    p95: float
    largest: int
    histogram: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Whether the preferred side is the longer one.

    Attributes:
        unit: characters or tokens.
        longer: share of pairs with the longer preferred side, ties left out (Wilson interval).
        difference: mean of preferred minus other length (normal interval).
        ties: pairs of equal length.
    """

    unit: str
    longer: Estimate
    difference: Estimate
    ties: int


def side_of(group: Group, index: int) -> str:
    """What a response's lengths are listed under."""
    response, count = group.responses[index], len(group.responses)
    if count == 2 and response.rank is not None:
        return "chosen" if response.rank == 0 else "rejected"
    if response.label is not None:
        return "up" if response.label else "down"
    return "response"


def lengths_of(values: array[int], unit: str) -> Lengths:
    """Summary and histogram of lengths."""
    data = np.frombuffer(values, dtype=np.uint32)
    p5, median, p95 = (float(x) for x in np.quantile(data, (0.05, 0.5, 0.95)))
    top = max(int(data.max()), 1)
    bounds = [0] + [2**i for i in range(3, max(top.bit_length(), 3) + 1)]
    # np.histogram closes bins on the left; half a unit further a bound belongs to its own bin.
    counts = np.histogram(data, bins=[-0.5, *(bound + 0.5 for bound in bounds)])[0]
    pairs = tuple((int(bound), int(count)) for bound, count in zip(bounds, counts, strict=True))
    return Lengths(unit, len(data), float(data.mean()), p5, median, p95, int(data.max()), pairs)


def length_bias_of(values: array[float], unit: str) -> LengthBias | None:
    """Share of pairs whose preferred side is longer, and the mean difference; None without pairs."""
    if not values:
        return None
    data = np.frombuffer(values, dtype=np.float64)
    ties = int((data == 0).sum())
    n, longer = len(data) - ties, int((data > 0).sum())
    mean = float(data.mean())
    half = _Z95 * float(data.std(ddof=1)) / math.sqrt(len(data)) if len(data) > 1 else math.inf
    difference = Estimate(mean, mean - half, mean + half, len(data), method="normal interval of the mean")
    return LengthBias(unit, wilson(longer, n), difference, ties)


def wilson(hits: int, n: int) -> Estimate:
    """A share with its Wilson score interval; [0, 1] around one half where there is nothing to count.

    Source: Wilson 1927, JASA 22:209, the score interval.
    """
    if not n:
        return Estimate(0.5, 0.0, 1.0, 0, method="nothing to count")
    share, z2 = hits / n, _Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At a share of 0 or 1 the bound equals the share; rounding must not put it on the wrong side.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n, method="Wilson")


def label_balance(count: Counter[str]) -> dict[str, Any]:
    """Thumbs, step marks and rankings as counts and shares; only what the data has."""
    found: dict[str, Any] = {}
    if thumbs := count["up"] + count["down"]:
        found["thumbs"] = {"up": count["up"], "down": count["down"], "share_up": count["up"] / thumbs}
    if marked := count["steps_right"] + count["steps_wrong"]:
        found["steps"] = {name: count[f"steps_{name}"] for name in ("right", "wrong", "unmarked")}
        found["steps"]["share_right"] = count["steps_right"] / marked
    if count["rankings"]:
        found["rankings"] = {
            "rankings": count["rankings"],
            "mean_responses": count["ranked_responses"] / count["rankings"],
            "with_ties": count["tied_rankings"],
        }
    return found
