"""A stage's findings.json as records: a data report, or a list of findings.

Of a data report: ref, format, shape and digest; counts, duplicates, truncation and labels (plain values, at most two
deep); lengths {SIDE: {unit, n, mean, median, p95, largest, histogram: [[upper bound, count], …]}}; length_bias
{unit, longer: estimate, difference: estimate, ties}; languages {NAME: share}; findings and broken, lists of
{kind, severity, message, where, count}. An object of numbers under any other name becomes a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hizala.readers.report.values import figure, number, word
from hizala.readers.report.views import DataView, Figure, LengthRow, Note

_FACTS = ("counts", "duplicates", "truncation", "labels", "length_bias")
_SILENT = ("exit_code",)
Fact = tuple[str, str | float | Figure]


def data_view(value: object) -> DataView:
    """The findings as records; what is not understood is left out."""
    if isinstance(value, list):
        return DataView(notes=tuple(_notes(value)))
    if not isinstance(value, Mapping):
        return DataView()
    notes: list[Note] = []
    facts: list[Fact] = []
    lengths: list[LengthRow] = []
    tables: list[tuple[str, tuple[tuple[str, float], ...]]] = []
    for name, item in value.items():
        if isinstance(item, list):
            notes.extend(_notes(item))
        elif name == "lengths" and isinstance(item, Mapping):
            for side, row in item.items():
                if isinstance(row, Mapping):
                    lengths.append(_length(str(side), row))
                    tables.extend(_histogram(str(side), row))
        elif isinstance(item, Mapping) and name not in _FACTS:
            numbers = tuple((word(k), number(v)) for k, v in item.items() if math.isfinite(number(v)))
            if numbers:
                tables.append((word(name), numbers))
        elif name not in _SILENT:
            facts.extend(_facts(word(name), item))
    return DataView(tuple(notes), tuple(facts), tuple(lengths), tuple(tables))


def _facts(name: str, value: object, depth: int = 0) -> Iterator[Fact]:
    """Plain values with their dotted names; null and lists say nothing a reader needs."""
    if isinstance(value, Mapping):
        found = figure(value)
        if found is not None:
            yield name, found
        elif depth < 3:
            for key, item in value.items():
                yield from _facts(f"{name}.{word(key)}", item, depth + 1)
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif isinstance(value, int | float):
        yield name, number(value)
    elif isinstance(value, str):
        yield name, value


def _notes(rows: list[Any]) -> Iterator[Note]:
    for row in rows:
        if isinstance(row, Mapping) and "message" in row:
            count = number(row.get("count", 1))
            yield Note(
                word(row.get("severity")) or "info",
                word(row.get("kind")),
                word(row.get("message"), 2_000),
                word(row.get("where"), 600),
                int(count) if math.isfinite(count) else 1,
            )


def _length(side: str, row: Mapping[str, Any]) -> LengthRow:
    n, mean, median, p95, largest = (number(row.get(key)) for key in ("n", "mean", "median", "p95", "largest"))
    return LengthRow(word(side), word(row.get("unit")), n, mean, median, p95, largest)


def _histogram(side: str, row: Mapping[str, Any]) -> Iterator[tuple[str, tuple[tuple[str, float], ...]]]:
    """The histogram as a table: `9–16` stands for the bin above the bound before it."""
    pairs = row.get("histogram")
    bars: list[tuple[str, float]] = []
    below = -1
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, list) and len(pair) == 2 and math.isfinite(number(pair[0])):
            bound, count = int(number(pair[0])), number(pair[1])
            label = str(bound) if bound == below + 1 else f"{below + 1}–{bound}"
            below = bound
            if math.isfinite(count):
                bars.append((label, count))
    while bars and not bars[0][1]:
        bars.pop(0)
    if bars:
        yield f"lengths.{word(side)}", tuple(bars)
