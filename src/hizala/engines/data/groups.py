"""Groups from a reference: read, recognise, convert, drop what is broken and say so."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hizala.engines.data import convert as conversions
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
SIDES = ("chosen", "rejected")
Serve = Callable[[Group], list[Group]]


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
    def from_groups(
        cls,
        groups: Iterable[Group],
        *,
        name: str = "groups",
        shape: str | None = None,
        side: str | None = None,
        convert: str | None = None,
        threshold: float | None = None,
        limit: int | None = None,
    ) -> GroupSource:
        """A source of groups already made (the embedded world, a rollout); the rest as in `read`.

        Raises:
            DataError: the groups are of another kind than `shape`; while iterating: one of them is.
        """
        kept = tuple(groups)
        native = shape_of(kept[0], shape) if kept and shape is not None else ""
        serve, conversion = _server(native, shape or native, side, convert, threshold, name) if native else (None, None)

        def served(source: GroupSource) -> Iterator[tuple[int, list[Group] | RowError]]:
            for i, group in enumerate(kept, 1):
                source._counts["rows"] += 1
                try:
                    yield i, serve(group) if serve is not None else [group]
                except RowError as error:
                    if conversion is None:
                        raise DataError(str(error), where=group.id or f"{name}[{i - 1}]") from error
                    yield i, error

        def make(source: GroupSource) -> Iterator[Group]:
            yield from source._given(served(source), conversion, limit)

        options = {"convert": convert, "threshold": threshold, "side": side, "limit": limit}
        held = shape or (shape_of(kept[0]) if kept else "")
        return cls(make, lambda: digest_groups(kept), name=name, format="groups", shape=held, options=options)

    @classmethod
    def joined(cls, sources: Sequence[GroupSource], *, limit: int | None = None) -> GroupSource:
        """Several sources of one shape, one after another, with what all of them dropped."""

        def make(joined: GroupSource) -> Iterator[Group]:
            given = 0
            for source in sources:
                for group in source:
                    given += 1
                    yield group
                    if given == limit:
                        break
                joined._counts.update(source._counts)
                joined._findings += source._findings
                if given == limit:
                    return

        def digest() -> str:
            return hashlib.sha256("".join(source.identity for source in sources).encode()).hexdigest()

        name, shape = ", ".join(source.name for source in sources), sources[0].shape
        return cls(make, digest, name=name, format="several", shape=shape, options={"limit": limit})

    def __iter__(self) -> Iterator[Group]:
        self._findings, self._counts, self._complete = [], Counter(), False
        yield from self._make(self)
        self._complete = True

    def _kept(self, group: Group) -> Group:
        self._counts["groups"] += 1
        self._counts["responses"] += len(group.responses)
        return group

    def _given(
        self,
        served: Iterator[tuple[int, list[Group] | RowError]],
        conversion: conversions.Conversion | None,
        limit: int | None,
    ) -> Iterator[Group]:
        """Groups to give, up to the limit; what could not be made is counted with its line."""

        def each() -> Iterator[Group]:
            for line, found in served:
                if isinstance(found, RowError):
                    self._dropped(found.kind, str(found), line)
                else:
                    yield from found

        groups: Iterator[Group | RowError] = each()
        if conversion is not None and conversion.whole is not None:
            groups = conversion.whole(list(each()))
        given = 0
        for group in groups:
            if isinstance(group, RowError):
                self._dropped(group.kind, str(group), 0)
                continue
            given += 1
            yield self._kept(group)
            if given == limit:
                return

    def _dropped(self, kind: str, reason: str, line: int) -> None:
        self._counts["dropped"] += 1
        self._counts[f"dropped:{kind}"] += 1
        if len(self._findings) < _KEPT_FINDINGS:
            self._findings.append(Finding(kind, "error", reason, f"{self.name}:{line}" if line else self.name))

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
    convert: str | None = None,
    threshold: float | None = None,
    max_broken: float = MAX_BROKEN,
) -> GroupSource:
    """Groups of a file, a directory or a hub id. Looks at the first rows now, reads the rest when iterated.

    Args:
        ref: see `sources.resolve`.
        format: one of `formats.FORMATS`, or "auto".
        shape: what is needed, one of `registry.DATA_SHAPES`; None takes what the format gives.
        limit: groups to give at most.
        columns: the format's column name -> the file's column name.
        side: "chosen" or "rejected": that side of a pair, a ranking or a thumb as the response.
        convert: one of `convert.CONVERSIONS`: how data of another kind become what is needed.
        threshold: score from which a thumb is up, for the conversion that takes one.
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
    serve, conversion = _server(native, shape or native, side, convert, threshold, str(ref))

    def served(groups: GroupSource) -> Iterator[tuple[int, list[Group] | RowError]]:
        for row in source.rows():
            groups._counts["rows"] += 1
            _stop_when_broken(groups, max_broken, str(ref), early=True)
            if row.value is None:
                yield row.line, RowError(row.reason)
                continue
            try:
                group = formats.to_group(_renamed(row.value, columns), name, id=f"{source.name}:{row.line}")
                yield row.line, serve(group)
            except RowError as error:
                yield row.line, error

    def make(groups: GroupSource) -> Iterator[Group]:
        yield from groups._given(served(groups), conversion, limit)
        _stop_when_broken(groups, max_broken, str(ref), early=False)
        if not groups._counts["groups"]:
            first = f"; the first: {groups._findings[0].message}" if groups._findings else ""
            where = f"{ref}{groups._findings[0].where.removeprefix(groups.name)}" if first else str(ref)
            raise DataError(f"holds no usable row{first}", where=where, fix=f"see: hizala data check {ref}")

    told = {"shape": shape, "limit": limit, "columns": dict(columns or {}), "side": side}
    options = {**told, "convert": convert, "threshold": threshold}
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
    if shape == "scored" and any(r.score is None and not r.attributes for r in group.responses):
        return "a response has neither a score nor attributes"
    if shape == "steps" and any(not r.steps for r in group.responses):
        return "a response has no marked steps"
    return ""


def shape_of(group: Group, wanted: str | None = None) -> str:
    """The kind of data a group is, by what is known of its responses; the kind wanted, where it is known of all."""
    responses = group.responses
    if wanted in ("thumb", "scored", "steps") and not misfit(group, wanted):
        return wanted
    if not responses:
        return "prompt"
    if len(responses) == 2 and [r.rank for r in responses] == [0, 1]:
        return "pair"
    for shape in ("steps", "thumb", "ranking", "scored"):
        if not misfit(group, shape):
            return shape
    return "response"


def _server(
    native: str, shape: str, side: str | None, convert: str | None, threshold: float | None, where: str
) -> tuple[Serve, conversions.Conversion | None]:
    """How one group of the data's own kind becomes groups of the kind asked for, and the conversion in use.

    Raises:
        DataError: it cannot, or only in a way that has to be asked for; a side or conversion without effect.
    """
    sided: dict[tuple[str, str], Serve] = {
        ("pair", "chosen"): lambda g: [replace(g, responses=g.responses[:1])],
        ("pair", "rejected"): lambda g: [replace(g, responses=g.responses[1:])],
        ("ranking", "chosen"): lambda g: [replace(g, responses=(_extremes(g)[0],))],
        ("ranking", "rejected"): lambda g: [replace(g, responses=(_extremes(g)[1],))],
        ("thumb", "chosen"): lambda g: _with_thumb(g, True),
        ("thumb", "rejected"): lambda g: _with_thumb(g, False),
    }
    if side is not None:
        if shape != "response" or (native, side) not in sided:
            raise DataError(f"side '{side}' has no effect on {native} data used as {shape} data", where=where)
        return sided[native, side], None
    if convert is not None:
        conversion = conversions.named(convert, threshold, where)
        return _converter(native, shape, conversion, threshold, where), conversion
    if threshold is not None:
        raise DataError("threshold has no effect without convert: scored_to_thumb", where=where)
    if shape in ("prompt", "rollout"):
        return lambda g: [replace(g, responses=())], None
    if not conversions.is_a(native, shape):
        sides = [s for n, s in sided if n == native and shape == "response"]
        raise conversions.wrong_kind(native, shape, where, sides)
    return lambda g: [_fitting(g, shape)], None


def _converter(
    native: str, shape: str, conversion: conversions.Conversion, threshold: float | None, where: str
) -> Serve:
    if conversion.target != shape:
        ways = conversions.between(native, shape)
        raise DataError(
            f"conversion '{conversion.name}' gives {conversion.target} data, and {shape} data are needed",
            where=where,
            fix=f"use {' or '.join(ways)}" if ways else "take it out",
        )
    if not conversions.is_a(native, conversion.source):
        ways = conversions.between(native, shape)
        fix = f"use {' or '.join(ways)}" if ways else f"give {conversion.source} data"
        if conversions.is_a(native, shape):
            fix = "take it out"
        raise DataError(
            f"conversion '{conversion.name}' takes {conversion.source} data, and these are {native} data",
            where=where,
            fix=fix,
        )

    def serve(group: Group) -> list[Group]:
        whole = _fitting(group, conversion.source)
        return [whole] if conversion.each is None else conversion.each(whole, threshold)

    return serve


def _fitting(group: Group, shape: str) -> Group:
    if problem := misfit(group, shape):
        raise RowError(problem, "wrong-shape")
    return group


def _extremes(group: Group) -> tuple[Response, Response]:
    ranked = sorted(group.responses, key=lambda r: r.rank or 0)
    if (ranked[0].rank or 0) == (ranked[-1].rank or 0):
        raise RowError("all responses are tied", "tied")
    return ranked[0], ranked[-1]


def _with_thumb(group: Group, label: bool) -> list[Group]:
    """A group for each response with that thumb."""
    found = [response for response in group.responses if response.label is label]
    return [replace(group, id=f"{group.id}#{i}" if i else group.id, responses=(r,)) for i, r in enumerate(found)]


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
