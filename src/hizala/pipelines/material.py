"""From a stage's data setting to groups in tokens: read, split off the held-out part, encode, batch."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from hizala import world
from hizala.canonical import file_digest
from hizala.engines import data
from hizala.engines.data.convert import prompt_key as prompt_key
from hizala.engines.data.templates import ChatTemplate, Encoded
from hizala.engines.data.usable import require_both_thumbs, usable
from hizala.errors import DataError
from hizala.pipelines import judgements
from hizala.pipelines.rundir import directory_digest
from hizala.records import Finding, Group, TokenGroup


@dataclass(frozen=True, slots=True)
class Material:
    """Groups ready for training.

    Attributes:
        train, held_out: groups in tokens.
        digest: of every token, mask and label, in order; keys the caches that rest on them.
        findings: what was dropped, truncated or noticed on the way.
    """

    train: list[TokenGroup]
    held_out: list[TokenGroup]
    digest: str
    findings: list[Finding]


@lru_cache(maxsize=4)
def load_template(model: Path, kind: str) -> ChatTemplate:
    """The tokenizer of a model directory with its own chat template (`chat`) or none (`raw`), proven.

    Raises:
        ModelError, TemplateError: it cannot be read, or the training mask cannot be proven on it.
    """
    template = ChatTemplate.load(model, template="raw" if kind == "raw" else "auto")
    template.prove()
    return template


class DataSettings(Protocol):
    """What a training stage says of its data; see `settings.TrainSettings`."""

    data: str | list[str]
    format: str
    side: Any
    convert: Any
    threshold: float | None
    limit: int | None


def source_of(settings: DataSettings, shape: str) -> data.GroupSource:
    """The groups that a training stage names, converted as it asks.

    Raises:
        DataError: a reference cannot be read, or is of another kind and no conversion makes it fit.
    """
    return open_source(
        settings.data,
        shape=shape,
        format=settings.format,
        side=settings.side,
        convert=settings.convert,
        threshold=settings.threshold,
        limit=settings.limit,
    )


def open_source(
    refs: str | Sequence[str],
    *,
    shape: str | None,
    format: str = "auto",
    side: str | None = None,
    convert: str | None = None,
    threshold: float | None = None,
    limit: int | None = None,
) -> data.GroupSource:
    """The groups that a data setting names; several references are joined in order. No shape: whatever they hold.

    Raises:
        DataError: a reference cannot be read, or does not hold what `shape` needs.
    """
    names = [refs] if isinstance(refs, str) else list(refs)
    how: dict[str, Any] = {"shape": shape, "side": side, "convert": convert, "threshold": threshold, "limit": limit}
    sources = [_open(name, format, how) for name in names]
    return sources[0] if len(sources) == 1 else data.GroupSource.joined(sources, limit=limit)


def _open(name: str, format: str, how: Mapping[str, Any]) -> data.GroupSource:
    if name.startswith(judgements.PREFIX):
        asked = judgements.Asked.of(name)
        pairs = open_source(asked.ref, shape="pair", format=format)
        lessons = judgements.lessons(with_unique_ids(pairs), asked, how["shape"])
        return data.GroupSource.from_groups(lessons, name=name, **how)
    if not name.startswith("world:"):
        return data.read(name, format=format, **how)
    if format != "auto":
        raise DataError("`format` has no effect on data of the world", where=name, fix="take it out")
    return data.GroupSource.from_groups(_world(name), name=name, **how)


@lru_cache(maxsize=4)
def _world(name: str) -> tuple[Group, ...]:
    return tuple(world.resolve(name))


def split(groups: Sequence[Group], share: float, most: int, seed: int) -> tuple[list[Group], list[Group]]:
    """Divide groups into training and held-out parts, each prompt by a number that it and the seed alone decide.

    A prompt is held out when its number, uniform in [0, 1), is below `share`. So two stages that read the same
    prompts hold out the same ones, whatever else stands in their data or was dropped from it. Above `most`, prompts
    of the lowest numbers are taken as long as they fit. A share that asks for a group and by chance gets none takes
    the prompt of the lowest number.

    Args:
        groups: all groups.
        share: expected share of the prompts to hold out, [0, 1).
        most: upper bound on the held-out groups.
        seed: of the numbers.
    Returns:
        (training groups, held-out groups), each in the order of the data; no prompt stands in both.
    """
    keys = [prompt_key(group) for group in groups]
    sizes = Counter(keys)
    numbers = {key: _number(key, seed) for key in sizes}
    order = sorted(numbers, key=lambda key: numbers[key])
    drawn = [key for key in order if numbers[key] < share]
    if not drawn and int(len(groups) * share):
        drawn = order[:1]
    held: set[str] = set()
    count = 0
    for key in drawn:
        if count + sizes[key] <= most:
            held.add(key)
            count += sizes[key]
    training = [group for group, key in zip(groups, keys, strict=True) if key not in held]
    return training, [group for group, key in zip(groups, keys, strict=True) if key in held]


def _number(key: str, seed: int) -> float:
    """Uniform in [0, 1), from the seed and a prompt's key."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{key}".encode()).digest()[:7]) / 2**56


def prepare(
    source: data.GroupSource, template: ChatTemplate, *, holdout: float, max_holdout: int, max_length: int, seed: int
) -> Material:
    """Split and encode the groups of a source; what cannot be used is dropped, counted and named.

    Raises:
        DataError: nothing is left to train on, or all thumbs point one way.
    """
    read = with_unique_ids(source)
    groups, left_out = usable(read, source.shape)
    findings = [*source.findings, *left_out]
    training, held_out = split(groups, holdout, max_holdout, seed)
    if source.shape == "thumb" and training:
        require_both_thumbs(training, source.name)
    encoded = template.encode_all(training, max_length=max_length)
    kept = template.encode_all(held_out, max_length=max_length)
    findings += [*encoded.findings, *kept.findings, *_cut(encoded, kept, max_length)]
    tokens = [_with_marks(part.tokens, source.shape) for part in (encoded, kept)]
    if lost := len(encoded.tokens) + len(kept.tokens) - len(tokens[0]) - len(tokens[1]):
        words = f"groups whose marked steps all end behind max_length {max_length}"
        findings.append(Finding("unmarked", "warning", words, count=lost))
    if holdout and not held_out:
        words = f"no group is held out: a share of {holdout:g} of {len(groups)} groups is none"
        findings.append(Finding("no-holdout", "info", words))
    if not tokens[0]:
        first = f": {findings[0].message} ({findings[0].where})" if findings else ""
        raise DataError(
            f"no group of {len(read)} is left to train on{first}",
            where=source.name,
            fix="raise max_length, or look at the rows with `hizala data check`",
        )
    return Material(tokens[0], tokens[1], token_digest([*tokens[0], *tokens[1]]), findings)


def _cut(encoded: Encoded, kept: Encoded, max_length: int) -> Iterator[Finding]:
    for name, words in (("truncated", "responses"), ("steps-truncated", "marked steps")):
        if count := encoded.counts.get(name, 0) + kept.counts.get(name, 0):
            yield Finding(name, "warning", f"{words} cut at max_length {max_length}", count=count)


def _with_marks(groups: list[TokenGroup], shape: str) -> list[TokenGroup]:
    """Groups with a marked step left, where the shape lives of steps."""
    return [group for group in groups if shape != "steps" or any(r.marks for r in group.responses)]


def token_digest(groups: Iterable[TokenGroup]) -> str:
    """Of all that a loss may see of the groups: tokens, masks, and what is known of responses."""
    total = hashlib.sha256()
    for group in groups:
        told = [
            (list(r.ids), list(r.mask), r.rank, r.label, r.score, list(r.marks), sorted(r.attributes.items()))
            for r in group.responses
        ]
        total.update(repr((list(group.prompt), group.margin, group.weight, told)).encode())
    return total.hexdigest()


def with_unique_ids(groups: Iterable[Group]) -> list[Group]:
    """The groups, a repeated id made unique by a number, since caches and columns are keyed by id."""
    seen: dict[str, int] = {}
    unique = []
    for group in groups:
        seen[group.id] = seen.get(group.id, 0) + 1
        again = seen[group.id]
        unique.append(group if again == 1 else replace(group, id=f"{group.id}#{again}"))
    return unique


class Batches:
    """Which groups each optimiser step takes: a seeded shuffle each epoch, so the step number is the position.

    Args:
        count: groups there are.
        size: groups a step takes.
        seed: of the shuffles.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, min(size, count), seed
        self._epochs: dict[int, list[int]] = {}

    def steps(self, epochs: float) -> int:
        """Optimiser steps in that many epochs, at least one."""
        return max(1, round(self.count * epochs / self.size))

    def __getitem__(self, step: int) -> list[int]:
        """Indices of the groups of step `step` (from 0); a step may reach over the end of an epoch."""
        return list(self._walk(step * self.size, self.size))

    def _walk(self, start: int, length: int) -> Iterator[int]:
        for position in range(start, start + length):
            epoch, place = divmod(position, self.count)
            yield self._order(epoch)[place]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._epochs:
            order = list(range(self.count))
            random.Random(f"{self.seed}:{epoch}").shuffle(order)
            self._epochs = {epoch - 1: self._epochs[epoch - 1]} if epoch - 1 in self._epochs else {}
            self._epochs[epoch] = order
        return self._epochs[epoch]


def source_digest(ref: str) -> str:
    """Digest of what a data reference names: a file's bytes, a directory's files, else the reference itself."""
    if ref.startswith(judgements.PREFIX):
        return f"{ref} {source_digest(judgements.Asked.of(ref).ref)}"
    path = Path(ref).expanduser()
    if path.is_file():
        return file_digest(path)
    return directory_digest(path) if path.is_dir() else ref
