"""Scored groups as rows of numbers: pairs of a better and a worse response, lengths, gold, and the buckets of pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala import world
from hizala.records import Group, Response

Floats = NDArray[np.float64]
MOST_SOURCES = 20


@dataclass(frozen=True, slots=True)
class Scored:
    """A group with what a reward model says of its responses.

    Attributes:
        group: its responses in the order of the data.
        scores: (R,) NaN is "not scored".
        lengths: (R,) tokens of each response that count for a loss.
        prompt: what the bootstrap draws together.
    """

    group: Group
    scores: Floats
    lengths: NDArray[np.int64]
    prompt: Hashable


@dataclass(frozen=True, slots=True)
class PairRow:
    """A better and a worse response of one group.

    Attributes:
        scored: where they stand.
        better, worse: their places in the group.
        strength: how much better, where an annotator or the gold reward tells; None where nothing does.
    """

    scored: Scored
    better: int
    worse: int
    strength: float | None

    @property
    def margin(self) -> float:
        """score(better) - score(worse)."""
        return float(self.scored.scores[self.better] - self.scored.scores[self.worse])

    @property
    def longer(self) -> int:
        """Tokens by which the better response is the longer one."""
        return int(self.scored.lengths[self.better] - self.scored.lengths[self.worse])


def of_world(group: Group) -> bool:
    """Whether the gold reward knows the group."""
    return str(group.meta.get("task")) in world.TASKS and "truth" in group.meta


def gold(group: Group) -> Floats:
    """(R,) gold reward of each response, NaN where it is not known."""
    if not of_world(group):
        return np.full(len(group.responses), np.nan)
    values = [world.gold(group, response.text).value for response in group.responses]
    return np.array([np.nan if value is None else value for value in values])


def places(responses: Sequence[Response]) -> list[float]:
    """Each response's place, lower is better: its rank, else its score turned round, else its place in the data.

    A pair without ranks and scores stands as (chosen, rejected).
    """
    if all(r.rank is not None for r in responses):
        return [float(r.rank or 0) for r in responses]
    if all(r.score is not None for r in responses):
        return [-(r.score or 0.0) for r in responses]
    return [float(i) for i in range(len(responses))]


def pair_rows(groups: Sequence[Scored]) -> list[PairRow]:
    """Every two responses of each group of which one is better; ties prefer nothing and are left out."""
    rows = []
    for scored in groups:
        place, value = places(scored.group.responses), gold(scored.group)
        for i, j in combinations(range(len(place)), 2):
            if place[i] != place[j]:
                better, worse = (i, j) if place[i] < place[j] else (j, i)
                rows.append(PairRow(scored, better, worse, _strength(scored.group, value, better, worse)))
    return rows


def _strength(group: Group, value: Floats, better: int, worse: int) -> float | None:
    given = group.meta.get("margin")
    if isinstance(given, int | float) and not isinstance(given, bool) and len(group.responses) == 2:
        return float(given)
    a, b = group.responses[better].score, group.responses[worse].score
    if a is not None and b is not None:
        return a - b
    gap = float(abs(value[better] - value[worse]))
    return None if np.isnan(gap) else gap


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some of the pairs: what they were sorted by, the bucket's name, its bounds where it has any, its members."""

    by: str
    name: str
    low: float | None
    high: float | None
    members: NDArray[np.bool_]

    @property
    def told(self) -> dict[str, Any]:
        """Everything but the members, as plain values."""
        return {"by": self.by, "name": self.name, "low": self.low, "high": self.high}


def buckets(rows: Sequence[PairRow]) -> list[Bucket]:
    """Pairs by source, by strength of the preference, by which side is longer and by length; empty ones left out.

    Strengths and lengths are cut at their quartiles and tertiles; "much" longer or shorter is beyond the median
    difference of the pairs that differ.
    """
    found = _sources(rows)
    strength = np.array([np.nan if row.strength is None else row.strength for row in rows], dtype=np.float64)
    found += _quantiles("margin", strength, ("margin_1", "margin_2", "margin_3", "margin_4"))
    found += _longer(np.array([row.longer for row in rows], dtype=np.float64))
    mean = np.array([(row.scored.lengths[row.better] + row.scored.lengths[row.worse]) / 2 for row in rows])
    found += _quantiles("length", mean, ("length_short", "length_middle", "length_long"))
    return [bucket for bucket in found if bucket.members.any()]


def _sources(rows: Sequence[PairRow]) -> list[Bucket]:
    kinds = [_source(row.scored.group) for row in rows]
    names = sorted(set(kinds) - {""}, key=lambda kind: (-kinds.count(kind), kind))[:MOST_SOURCES]
    if len(names) < 2:
        return []
    return [Bucket("source", name, None, None, np.array([kind == name for kind in kinds])) for name in sorted(names)]


def _source(group: Group) -> str:
    """Where a group comes from, by whatever column says so."""
    return next((str(group.meta[name]) for name in ("source", "dataset", "task") if group.meta.get(name)), "")


def _quantiles(by: str, values: Floats, names: Sequence[str]) -> list[Bucket]:
    known = values[~np.isnan(values)]
    if len(known) == 0 or known.min() == known.max():
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, len(names) + 1)))
    # Few distinct values leave fewer buckets; they keep the names from the lowest on.
    where = np.searchsorted(edges[1:-1], values, side="left")
    found = []
    for i, name in enumerate(names[: len(edges) - 1]):
        members = (where == i) & ~np.isnan(values)
        if members.any():
            inside = values[members]
            found.append(Bucket(by, name, float(inside.min()), float(inside.max()), members))
    return found


def _longer(longer: Floats) -> list[Bucket]:
    sizes = np.abs(longer[longer != 0])
    much = float(np.median(sizes)) if len(sizes) else 0.0
    return [
        Bucket("longer", "much_shorter", None, -much, longer < -much),
        Bucket("longer", "shorter", -much, None, (longer < 0) & (longer >= -much)),
        Bucket("longer", "same_length", 0.0, 0.0, longer == 0),
        Bucket("longer", "longer", None, much, (longer > 0) & (longer <= much)),
        Bucket("longer", "much_longer", much, None, longer > much),
    ]


def folds(rows: Sequence[PairRow]) -> list[int]:
    """0 or 1 for each pair, by its prompt alone: the same in every run, and one prompt never stands on both sides."""
    return [hashlib.sha256(repr(row.scored.prompt).encode()).digest()[0] % 2 for row in rows]


def centred(groups: Sequence[Scored]) -> tuple[Floats, Floats, Floats, list[Hashable]]:
    """Score, length and gold of every response less their group's mean, and the prompts.

    A reward is known up to a constant for each prompt, so only differences within a group can be compared; for a
    pair this is each difference with both signs.
    """
    columns: list[list[Floats]] = [[], [], []]
    prompts: list[Hashable] = []
    for scored in groups:
        if len(scored.scores) < 2:
            continue
        for column, values in zip(
            columns, (scored.scores, scored.lengths.astype(np.float64), gold(scored.group)), strict=True
        ):
            column.append(values - values.mean())
        prompts += [scored.prompt] * len(scored.scores)
    joined = [np.concatenate(column) if column else np.empty(0) for column in columns]
    return joined[0], joined[1], joined[2], prompts
