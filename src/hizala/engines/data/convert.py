"""Explicit conversions: how data of one kind serve a method that takes another. Nothing is converted unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from hizala.algorithms import algorithms
from hizala.canonical import digest
from hizala.engines.data.rows import RowError
from hizala.errors import DataError, nearest
from hizala.records import Group, Response

Each = Callable[[Group], list[Group]]


@dataclass(frozen=True, slots=True)
class Conversion:
    """One way to make groups of one kind into groups of another.

    Attributes:
        name: what a recipe calls it.
        source, target: kinds of data (`registry.DATA_SHAPES`).
        summary: one line.
        each: a group -> the groups it becomes (RowError: it cannot), given the threshold where it takes one.
        whole: all groups together -> the groups they become; instead of `each`.
        threshold: it needs a threshold.
    """

    name: str
    source: str
    target: str
    summary: str
    each: Callable[[Group, float | None], list[Group]] | None = None
    whole: Callable[[Sequence[Group]], Iterator[Group | RowError]] | None = None
    threshold: bool = False


def prompt_key(group: Group) -> str:
    """Digest of a group's prompt."""
    return digest([[m.role, m.content] for m in group.prompt])


def _kept(group: Group, responses: Sequence[Response], mark: str = "") -> Group:
    return replace(group, id=f"{group.id}{mark}", responses=tuple(responses))


def _without_margin(group: Group) -> Group:
    """Without the margin of another comparison."""
    return replace(group, meta={k: v for k, v in group.meta.items() if k != "margin"})


def _pair_to_thumb(group: Group, _: float | None) -> list[Group]:
    chosen, rejected = group.responses
    both = replace(chosen, rank=None, label=True), replace(rejected, rank=None, label=False)
    return [_kept(_without_margin(group), both)]


def _pair_to_ranking(group: Group, _: float | None) -> list[Group]:
    return [_without_margin(group)]


def _thumb_to_pair(groups: Sequence[Group]) -> Iterator[Group | RowError]:
    """Each response with a thumb up against each with a thumb down of the same prompt, in the order of the data."""
    by_prompt: dict[str, list[Group]] = {}
    for group in groups:
        by_prompt.setdefault(prompt_key(group), []).append(group)
    for same in by_prompt.values():
        sides = {
            label: [(g, i, r) for g in same for i, r in enumerate(g.responses) if r.label is label]
            for label in (True, False)
        }
        if not sides[True] or not sides[False]:
            missing = "up" if sides[False] else "down"
            yield RowError(f"its prompt has no response with a thumb {missing}", "no-counterpart")
            continue
        for up, i, chosen in sides[True]:
            for down, j, rejected in sides[False]:
                both = replace(chosen, rank=0, label=None), replace(rejected, rank=1, label=None)
                yield replace(up, id=f"{up.id}.{i}>{down.id}.{j}", responses=both)


def _by_rank(group: Group) -> list[float]:
    return [float(response.rank or 0) for response in group.responses]


def _by_score(group: Group) -> list[float]:
    """Order by score, the best first; scores are not ranked where one is missing."""
    scores = [response.score for response in group.responses]
    known = [-score for score in scores if score is not None]
    if len(known) != len(scores):
        raise RowError("a response has no score", "wrong-shape")
    return known


def _levels(order: Sequence[float], fewest: int = 2) -> list[list[int]]:
    """Responses of equal place together, the best place first."""
    if len(order) < fewest:
        raise RowError(f"{len(order)} response cannot be ranked", "too-short")
    levels = [[i for i, place in enumerate(order) if place == value] for value in sorted(set(order))]
    if len(levels) < 2:
        raise RowError("all responses are tied", "tied")
    return levels


def _all(levels: list[list[int]]) -> list[tuple[int, int]]:
    return [(a, b) for better, worse in combinations(levels, 2) for a in better for b in worse]


def _adjacent(levels: list[list[int]]) -> list[tuple[int, int]]:
    return [(a, b) for better, worse in pairwise(levels) for a in better for b in worse]


def _best_worst(levels: list[list[int]]) -> list[tuple[int, int]]:
    return [(levels[0][0], levels[-1][0])]


def _pairs(
    order: Callable[[Group], list[float]], choose: Callable[[list[list[int]]], list[tuple[int, int]]]
) -> Callable[[Group, float | None], list[Group]]:
    def convert(group: Group, _: float | None) -> list[Group]:
        answers = group.responses
        return [
            _kept(_without_margin(group), (replace(answers[a], rank=0), replace(answers[b], rank=1)), f"#{a}>{b}")
            for a, b in choose(_levels(order(group)))
        ]

    return convert


def _scored_to_ranking(group: Group, _: float | None) -> list[Group]:
    order = _by_score(group)
    places = {i: place for place, level in enumerate(_levels(order)) for i in level}
    return [_kept(group, [replace(r, rank=places[i]) for i, r in enumerate(group.responses)])]


def _scored_to_thumb(group: Group, threshold: float | None) -> list[Group]:
    assert threshold is not None
    scores = [-score for score in _by_score(group)]
    marked = [replace(r, rank=None, label=s >= threshold) for r, s in zip(group.responses, scores, strict=True)]
    return [_kept(group, marked)]


def _ranking_to_thumb(group: Group, _: float | None) -> list[Group]:
    ((best, worst),) = _best_worst(_levels(_by_rank(group)))
    sides = [replace(group.responses[i], rank=None, label=up) for i, up in ((best, True), (worst, False))]
    return [_kept(group, sides)]


def _steps_to_thumb(group: Group, _: float | None) -> list[Group]:
    marked = []
    for response in group.responses:
        marks = [step.correct for step in response.steps]
        if False not in marks and None in marks:
            raise RowError("not every step is marked and none is wrong, so the response is neither", "wrong-shape")
        marked.append(replace(response, steps=(), label=False not in marks))
    return [_kept(group, marked)]


def _steps_to_response(group: Group, _: float | None) -> list[Group]:
    right = [r for r in group.responses if all(step.correct is True for step in r.steps)]
    return [_kept(group, [replace(r, steps=())], f"#{i}" if i else "") for i, r in enumerate(right)]


_CHOICES = {
    "all": (_all, "every better response against every worse one"),
    "adjacent": (_adjacent, "each place against the next"),
    "best_worst": (_best_worst, "the best response against the worst"),
}


def _table() -> Iterator[Conversion]:
    yield Conversion("pair_to_thumb", "pair", "thumb", "chosen is a thumb up, rejected a thumb down", _pair_to_thumb)
    yield Conversion("pair_to_ranking", "pair", "ranking", "a pair is a list of two", _pair_to_ranking)
    words = "each thumb up against each thumb down of the same prompt"
    yield Conversion("thumb_to_pair", "thumb", "pair", words, whole=_thumb_to_pair)
    for name, (choose, words) in _CHOICES.items():
        yield Conversion(f"ranking_to_pair_{name}", "ranking", "pair", words, _pairs(_by_rank, choose))
    words = "the best is a thumb up, the worst a thumb down"
    yield Conversion("ranking_to_thumb", "ranking", "thumb", words, _ranking_to_thumb)
    for name, (choose, words) in _CHOICES.items():
        words = f"by score, {words}; the margin is the difference"
        yield Conversion(f"scored_to_pair_{name}", "scored", "pair", words, _pairs(_by_score, choose))
    words = "places by score, equal scores tie"
    yield Conversion("scored_to_ranking", "scored", "ranking", words, _scored_to_ranking)
    words = "up at the threshold and above"
    yield Conversion("scored_to_thumb", "scored", "thumb", words, _scored_to_thumb, threshold=True)
    words = "up when every step is right, down when one is wrong"
    yield Conversion("steps_to_thumb", "steps", "thumb", words, _steps_to_thumb)
    words = "responses whose every step is right"
    yield Conversion("steps_to_response", "steps", "response", words, _steps_to_response)


CONVERSIONS: dict[str, Conversion] = {conversion.name: conversion for conversion in _table()}
# (kind, kind it also is): the second asks for less than the first holds, and nothing has to be chosen.
HOLDS = frozenset({("ranking", "scored"), ("scored", "response"), ("steps", "response")})


def named(name: str, threshold: float | None, where: str) -> Conversion:
    """The conversion of that name. Raises DataError: there is none, or its threshold is missing or has no effect."""
    if name not in CONVERSIONS:
        raise DataError(
            f"unknown conversion '{name}'{nearest(name, CONVERSIONS)}",
            where=where,
            fix=f"known: {', '.join(CONVERSIONS)}",
        )
    found = CONVERSIONS[name]
    if found.threshold != (threshold is not None):
        problem = "needs a threshold" if found.threshold else "takes no threshold"
        raise DataError(f"conversion '{name}' {problem}", where=where, fix="scored_to_thumb alone takes one")
    return found


def is_a(native: str, shape: str) -> bool:
    """Whether data of a kind are of another kind too, without a choice."""
    return native == shape or (native, shape) in HOLDS


def between(native: str, shape: str) -> list[str]:
    """The conversions that lead from one kind to another."""
    return [c.name for c in CONVERSIONS.values() if c.target == shape and is_a(native, c.source)]


def wrong_kind(native: str, shape: str, where: str, sides: Iterable[str] = ()) -> DataError:
    """Says that data are of another kind than asked for, which methods they fit, and what would make them fit."""
    ways = [f"convert: {name}" for name in between(native, shape)] + [f"side: {side}" for side in sides]
    rows = [name for name in algorithms.names() if is_a(native, algorithms.get(name).data)]
    fixes = [f"convert them with {' or '.join(ways)}"] if ways else [f"give {shape} data"]
    fixes += [f"use a method for {native} data: {', '.join(rows)}"] if rows else []
    return DataError(
        f"these are {native} data and cannot serve as {shape} data by themselves", where=where, fix="; or ".join(fixes)
    )
