"""Groups from a reference: read, recognise, convert, drop what is broken and say so."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hizala.engines.data import formats, sources
from hizala.engines.data.rows import RowError
from hizala.errors import DataError, nearest
from hizala.records import Finding, Group, Response
from hizala.registry import DATA_SHAPES

DETECT_ROWS = 200
# Above this share of unusable rows the file is more likely misread than merely dirty.
MAX_BROKEN = 0.1
_EARLY_LOOK = 1000
_KEPT_FINDINGS = 1000
SIDES = ("chosen", "rejected", "both", "extremes")


class GroupSource:
    """Groups that can be iterated again and again; each pass reads the file anew, so memory stays bounded.

    Attributes:
        name: what the groups come from, for messages.
        format: the recognised or named format ("groups" for groups given directly).
        shape: what the groups hold, after `side` was applied.
    """

    def __init__(
        self,
        make: Callable[[GroupSource], Iterator[Group]],
        digest: Callable[[], str],
        *,
        name: str,
        format: str,
        shape: str,
        options: Mapping[str, Any],
    ) -> None:
        self.name, self.format, self.shape = name, format, shape
        self._make, self._make_digest, self._options = make, digest, dict(options)
        self._digest: str | None = None
        self._findings: list[Finding] = []
        self._counts: Counter[str] = Counter()
        self._complete = False

    @classmethod
    def from_groups(cls, groups: Iterable[Group], *, name: str = "groups", shape: str | None = None) -> GroupSource:
        """A source of groups already made (the embedded world, a rollout). Checks `shape` where it is given."""
        kept = tuple(groups)

        def make(source: GroupSource) -> Iterator[Group]:
            for i, group in enumerate(kept):
                source._counts["rows"] += 1
                if shape is not None and (problem := misfit(group, shape)):
                    raise DataError(problem, where=group.id or f"{name}[{i}]")
                yield source._kept(group)

        return cls(make, lambda: digest_groups(kept), name=name, format="groups", shape=shape or "", options={})

    def __iter__(self) -> Iterator[Group]:
        self._findings, self._counts, self._complete = [], Counter(), False
        yield from self._make(self)
        self._complete = True

    def _kept(self, group: Group) -> Group:
        self._counts["groups"] += 1
        self._counts["responses"] += len(group.responses)
        return group

    def _dropped(self, kind: str, reason: str, line: int) -> None:
        self._counts["dropped"] += 1
        self._counts[f"dropped:{kind}"] += 1
        if len(self._findings) < _KEPT_FINDINGS:
            self._findings.append(Finding(kind, "error", reason, f"{self.name}:{line}"))

    def _ensure_read(self) -> None:
        if not self._complete:
            for _ in self:
                pass

    @property
    def findings(self) -> list[Finding]:
        """Dropped rows with line and reason (the first thousand; `counts` has all). Reads the file where needed."""
        self._ensure_read()
        return list(self._findings)

    @property
    def counts(self) -> dict[str, int]:
        """`rows`, `groups`, `responses`, `dropped` and `dropped:<kind>` of the last full pass."""
        self._ensure_read()
        return {"rows": 0, "groups": 0, "responses": 0, "dropped": 0, **self._counts}

    @property
    def digest(self) -> str:
        """sha256 hex of the content: of the file's own bytes where there is one file."""
        if self._digest is None:
            self._digest = self._make_digest()
        return self._digest

    @property
    def identity(self) -> str:
        """sha256 hex of content and of how it is read: what a cache of anything derived from it is keyed by."""
        told = {"content": self.digest, "format": self.format, **self._options}
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read(
    ref: str | Path,
    *,
    format: str = "auto",
    shape: str | None = None,
    limit: int | None = None,
    columns: Mapping[str, str] | None = None,
    side: str | None = None,
    max_broken: float = MAX_BROKEN,
) -> GroupSource:
    """Groups of a file, a directory or a hub id. Looks at the first rows now, reads the rest when iterated.

    Args:
        ref: see `sources.resolve`.
        format: one of `formats.FORMATS`, or "auto".
        shape: what is needed, one of `registry.DATA_SHAPES`; None takes what the format gives.
        limit: groups to give at most.
        columns: the format's column name -> the file's column name.
        side: how richer groups serve a poorer shape: "chosen" or "rejected" (that side as the response), "both"
            (a pair as a thumb up and a thumb down), "extremes" (best and worst of a ranking as a pair).
        max_broken: share of unusable rows, [0, 1], above which reading stops.
    Raises:
        DataError: unreadable, not recognised, of the wrong shape, or too many broken rows (while iterating).
    """
    source = sources.resolve(ref)
    if shape is not None and shape not in DATA_SHAPES:
        raise DataError(f"unknown data shape '{shape}'{nearest(shape, DATA_SHAPES)}", where=str(ref))
    if limit is not None and limit < 1:
        raise DataError(f"limit must be at least 1, not {limit}", where=str(ref))
    if side is not None and side not in SIDES:
        raise DataError(
            f"unknown side '{side}'{nearest(side, SIDES)}", where=str(ref), fix=f"known: {', '.join(SIDES)}"
        )
    name = format if format == "auto" else formats.get(format).name
    sample = [row.value for row in itertools.islice(source.rows(), DETECT_ROWS) if row.value is not None]
    _check_columns(columns or {}, sample, str(ref))
    if name == "auto":
        name = formats.detect([_renamed(row, columns) for row in sample], where=str(ref))
    native = formats.get(name).shape
    serve = _server(native, shape or native, side, str(ref))

    def make(groups: GroupSource) -> Iterator[Group]:
        given = 0
        for row in source.rows():
            groups._counts["rows"] += 1
            _stop_when_broken(groups, max_broken, str(ref), early=True)
            if row.value is None:
                groups._dropped("broken-row", row.reason, row.line)
                continue
            try:
                group = formats.to_group(_renamed(row.value, columns), name, id=f"{source.name}:{row.line}")
                served = serve(group)
            except RowError as error:
                groups._dropped(error.kind, str(error), row.line)
                continue
            for each in served:
                given += 1
                yield groups._kept(each)
                if given == limit:
                    return
        _stop_when_broken(groups, max_broken, str(ref), early=False)
        if not given:
            raise DataError("holds no usable row", where=str(ref), fix=f"see: hizala data check {ref}")

    options = {"shape": shape, "limit": limit, "columns": dict(columns or {}), "side": side}
    digest = source.digest if source.kind != "hub" else lambda: _digest_rows(source)
    return GroupSource(make, digest, name=source.name, format=name, shape=shape or native, options=options)


def _check_columns(columns: Mapping[str, str], sample: list[dict[str, Any]], where: str) -> None:
    seen = {key for row in sample for key in row}
    for wanted, actual in columns.items():
        if seen and actual not in seen:
            raise DataError(
                f"there is no column '{actual}' to use as '{wanted}'{nearest(actual, seen)}",
                where=where,
                fix=f"columns: {', '.join(sorted(seen)[:20])}",
            )


def _renamed(row: dict[str, Any], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """The row under the format's column names; a column that would be hidden by a renamed one goes."""
    if not columns:
        return row
    taken = set(columns.values()) | set(columns)
    return {
        **{key: value for key, value in row.items() if key not in taken},
        **{wanted: row[actual] for wanted, actual in columns.items() if actual in row},
    }


def _stop_when_broken(groups: GroupSource, share: float, where: str, *, early: bool) -> None:
    rows, dropped = groups._counts["rows"], groups._counts["dropped:broken-row"]
    if dropped <= share * rows or (early and rows < _EARLY_LOOK) or (early and rows % _EARLY_LOOK):
        return
    first = groups._findings[0]
    raise DataError(
        f"{dropped} of {rows} rows are broken, more than {share:.0%}; the first: {first.message}",
        where=first.where.replace(groups.name, where, 1),
        fix=f"see all of them with: hizala data check {where}; then repair the file or name its format",
    )


def misfit(group: Group, shape: str) -> str:
    """Why a group does not hold what `shape` asks for, or ""."""
    count = len(group.responses)
    if shape in ("response", "scored", "thumb", "steps") and not count:
        return "the group has no response"
    if shape == "pair" and (count != 2 or [r.rank for r in group.responses] != [0, 1]):
        return "the group is not a pair of a chosen and a rejected response"
    if shape == "thumb" and any(r.label is None for r in group.responses):
        return "a response has no thumb"
    if shape == "ranking" and (count < 2 or any(r.rank is None for r in group.responses)):
        return "the group has no ranking of at least two responses"
    if shape == "scored" and any(r.score is None for r in group.responses):
        return "a response has no score"
    if shape == "steps" and any(not r.steps for r in group.responses):
        return "a response has no marked steps"
    return ""


def _server(native: str, shape: str, side: str | None, where: str) -> Callable[[Group], list[Group]]:
    """How groups of the format's shape serve the shape asked for.

    Raises:
        DataError: they cannot, or only in a way that has to be asked for; a side that would have no effect.
    """

    def same(group: Group) -> list[Group]:
        if problem := misfit(group, shape):
            raise RowError(problem, "wrong-shape")
        return [group]

    asked: dict[tuple[str, str, str], Callable[[Group], list[Group]]] = {
        ("pair", "response", "chosen"): lambda g: [replace(g, responses=g.responses[:1])],
        ("pair", "response", "rejected"): lambda g: [replace(g, responses=g.responses[1:])],
        ("ranking", "response", "chosen"): lambda g: [replace(g, responses=(_extremes(g)[0],))],
        ("ranking", "response", "rejected"): lambda g: [replace(g, responses=(_extremes(g)[1],))],
        ("thumb", "response", "chosen"): lambda g: [g] if g.responses[0].label else [],
        ("thumb", "response", "rejected"): lambda g: [] if g.responses[0].label else [g],
        ("pair", "thumb", "both"): _thumbs,
        ("ranking", "pair", "extremes"): _as_pair,
    }
    if side is not None:
        if (native, shape, side) not in asked:
            raise DataError(f"side '{side}' has no effect on {native} data used as {shape} data", where=where)
        return asked[native, shape, side]
    if shape in ("prompt", "rollout"):
        return lambda g: [replace(g, responses=())]
    if native == shape or (native, shape) in (("pair", "ranking"), ("ranking", "scored"), ("steps", "response")):
        return same
    sides = [s for n, w, s in asked if (n, w) == (native, shape)]
    fix = f"ask for it: side: {' or '.join(sides)}" if sides else f"give {shape} data or use a method for {native} data"
    raise DataError(f"{native} data cannot serve as {shape} data by itself", where=where, fix=fix)


def _extremes(group: Group) -> tuple[Response, Response]:
    ranked = sorted(group.responses, key=lambda r: r.rank or 0)
    if (ranked[0].rank or 0) == (ranked[-1].rank or 0):
        raise RowError("all responses are tied", "tied")
    return ranked[0], ranked[-1]


def _as_pair(group: Group) -> list[Group]:
    best, worst = _extremes(group)
    return [replace(group, responses=(replace(best, rank=0), replace(worst, rank=1)))]


def _thumbs(group: Group) -> list[Group]:
    return [
        replace(group, id=f"{group.id}#{word}", responses=(replace(response, rank=None, label=label),))
        for word, label, response in zip(("up", "down"), (True, False), group.responses, strict=True)
    ]


def digest_groups(groups: Iterable[Group]) -> str:
    """sha256 hex of groups in order."""
    total = hashlib.sha256()
    for group in groups:
        plain = asdict(replace(group, meta={})) | {"meta": dict(group.meta)}
        total.update(json.dumps(plain, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return total.hexdigest()


def _digest_rows(source: sources.Source) -> str:
    total = hashlib.sha256()
    for row in source.rows():
        total.update(json.dumps(row.value, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\n")
    return total.hexdigest()
