"""From a stage's data setting to groups in tokens: read, split off the held-out part, encode, batch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from hizala import world
from hizala.canonical import digest, file_digest
from hizala.engines import data
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import DataError
from hizala.pipelines.rundir import directory_digest
from hizala.records import Finding, Group, TokenGroup


@dataclass(frozen=True, slots=True)
class Material:
    """Groups ready for training.

    Attributes:
        train, held_out: groups in tokens.
        digest: of every token and mask, in order; keys the caches that rest on them.
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


def open_source(
    refs: str | Sequence[str], *, shape: str, format: str = "auto", side: str | None = None, limit: int | None = None
) -> data.GroupSource:
    """The groups that a data setting names; several references are joined in order.

    Raises:
        DataError: a reference cannot be read, or does not hold what `shape` needs.
    """
    names = [refs] if isinstance(refs, str) else list(refs)
    sources = [_open(name, shape, format, side, limit) for name in names]
    if len(sources) == 1:
        return sources[0]
    joined = [group for source in sources for group in source]
    return data.GroupSource.from_groups(joined[:limit], name=", ".join(names), shape=shape)


def _open(name: str, shape: str, format: str, side: str | None, limit: int | None) -> data.GroupSource:
    if name.startswith("world:"):
        for setting, given in (("format", format != "auto"), ("side", side is not None)):
            if given:
                raise DataError(f"`{setting}` has no effect on data of the world", where=name, fix="take it out")
        return data.GroupSource.from_groups(_world(name)[:limit], name=name, shape=shape)
    return data.read(name, format=format, shape=shape, side=side, limit=limit)


@lru_cache(maxsize=4)
def _world(name: str) -> tuple[Group, ...]:
    return tuple(world.resolve(name))


def prompt_key(group: Group) -> str:
    """Digest of a group's prompt: groups with the same prompt fall on the same side of a split."""
    return digest([[m.role, m.content] for m in group.prompt])


def split(groups: Sequence[Group], share: float, most: int, seed: int) -> tuple[list[Group], list[Group]]:
    """Divide groups into training and held-out parts by prompt, the same way for the same seed.

    Args:
        groups: all groups.
        share: share of the groups to hold out, [0, 1).
        most: upper bound on the held-out groups.
        seed: of the choice.
    Returns:
        (training groups, held-out groups), each in the order of the data; no prompt stands in both.
    """
    wanted = min(int(len(groups) * share), most)
    if wanted == 0:
        return list(groups), []
    keys = [prompt_key(group) for group in groups]
    order = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    sizes: dict[str, int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    held: set[str] = set()
    count = 0
    for key in order:
        if count >= wanted:
            break
        held.add(key)
        count += sizes[key]
    training = [group for group, key in zip(groups, keys, strict=True) if key not in held]
    return training, [group for group, key in zip(groups, keys, strict=True) if key in held]


def prepare(
    source: data.GroupSource, template: ChatTemplate, *, holdout: float, max_holdout: int, max_length: int, seed: int
) -> Material:
    """Split and encode the groups of a source; what cannot be used is dropped, counted and named.

    Raises:
        DataError: nothing is left to train on.
    """
    groups, findings = without_idle_pairs(with_unique_ids(source), source)
    training, held_out = split(groups, holdout, max_holdout, seed)
    encoded = template.encode_all(training, max_length=max_length)
    kept = template.encode_all(held_out, max_length=max_length)
    findings += [*encoded.findings, *kept.findings]
    cut = encoded.counts.get("truncated", 0) + kept.counts.get("truncated", 0)
    if cut:
        findings.append(Finding("truncated", "warning", f"responses cut at max_length {max_length}", count=cut))
    if not encoded.tokens:
        raise DataError(
            f"no group of {len(groups)} is left to train on" + (f": {findings[0].message}" if findings else ""),
            where=source.name,
            fix="raise max_length, or look at the rows with `hizala data check`",
        )
    total = hashlib.sha256()
    for group in (*encoded.tokens, *kept.tokens):
        total.update(repr((list(group.prompt), [(list(r.ids), list(r.mask)) for r in group.responses])).encode())
    return Material(encoded.tokens, kept.tokens, total.hexdigest(), findings)


def without_idle_pairs(groups: list[Group], source: data.GroupSource) -> tuple[list[Group], list[Finding]]:
    """Leave out pairs whose two sides are the same: they prefer nothing. What was left out is a finding."""
    findings = list(source.findings)
    if source.shape != "pair":
        return groups, findings
    useful = [group for group in groups if group.responses[0].messages != group.responses[1].messages]
    if len(useful) == len(groups):
        return groups, findings
    idle = [group for group in groups if group.responses[0].messages == group.responses[1].messages]
    names = ", ".join(group.id for group in idle[:5])
    findings.append(
        Finding("identical-sides", "warning", "pairs whose chosen and rejected are the same", names, len(idle))
    )
    return useful, findings


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
    path = Path(ref).expanduser()
    if path.is_file():
        return file_digest(path)
    return directory_digest(path) if path.is_dir() else ref
