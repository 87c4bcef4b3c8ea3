"""What a stage of online RL sampled, read from its samples.jsonl: some steps, evenly spread, however long the file.

A row: {step, prompt, task, lang, responses: [{text, score, parts: {NAME: number}, reason, tokens, truncated,
turns?}]}; steps never fall from row to row. Steps are found by halving the file, so a file of any size costs the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from hizala.readers.report.text import shorten
from hizala.readers.report.values import number, word
from hizala.readers.report.views import RewardCount, Rollouts, Sampled, SampledGroup

MOST_STEPS = 24
MOST_RESPONSES = 4_096  # in all
MOST_CHARACTERS = 4_000  # of one text
MAX_LINE = 16_000_000
_NEAR = 65_536  # bytes within which rows are read one after another
_BROKEN = 64  # unreadable lines in a row after which the search turns back
_Item = TypeVar("_Item")


def read(path: Path) -> Rollouts | None:
    """Some of what was sampled; None where the file holds no such rows.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file():
        return None
    size = path.stat().st_size
    with path.open("rb") as file:
        first = _first(file, 0, size)
        last = None if first is None else _last(file, size)
        if first is None or last is None:
            return None
        steps = _spread(range(first, last + 1), MOST_STEPS) if last >= first else [first]
        found = [_of_step(file, step, size) for step in steps]
    kept = [(groups, count) for groups, count in found if groups]
    responses = max((len(group.responses) for groups, _ in kept for group in groups), default=1)
    most = max(1, MOST_RESPONSES // (max(1, len(kept)) * max(1, responses)))
    thin = [group for groups, _ in kept for group in _spread(groups, most)]
    counts = [count for _, count in kept]
    return Rollouts(
        tuple(thin),
        tuple(dict.fromkeys(group.step for group in thin)),
        max(1, last - first + 1),
        max((len(_spread(groups, most)) for groups, _ in kept), default=0),
        max(counts, default=0),
    )


def _spread(items: Sequence[_Item], most: int) -> list[_Item]:
    """At most `most` of the items, evenly, the first and the last among them; of one, the last."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[-1]]
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _rows(file: BinaryIO, start: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """(where the line ends, its row or None) of each whole line that begins at `start` or after it."""
    file.seek(max(0, start - 1))
    if start:
        file.readline(MAX_LINE)
    while line := file.readline(MAX_LINE):
        yield file.tell(), _row(line)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    ours = isinstance(row, dict) and isinstance(row.get("responses"), list) and math.isfinite(number(row.get("step")))
    return row if ours else None


def _first(file: BinaryIO, start: int, end: int) -> int | None:
    """Step of the first row at `start` or after it and before `end`."""
    for count, (place, row) in enumerate(_rows(file, start)):
        if row is not None:
            return _step(row)
        if count >= _BROKEN or place >= end:
            return None
    return None


def _last(file: BinaryIO, size: int) -> int | None:
    """Step of the last row that is whole."""
    reach = _NEAR
    while True:
        start = max(0, size - reach)
        steps = [_step(row) for _, row in _rows(file, start) if row is not None]
        if steps or start == 0 or reach > 2 * MAX_LINE:
            return steps[-1] if steps else None
        reach *= 8


def _step(row: Mapping[str, Any]) -> int:
    return int(min(max(number(row["step"]), 0.0), 2.0**53))


def _of_step(file: BinaryIO, step: int, size: int) -> tuple[list[SampledGroup], int]:
    """Groups of one step, thinned evenly where there are very many, and how many there are."""
    low, high = 0, size
    while high - low > _NEAR:
        middle = (low + high) // 2
        found = _first(file, middle, high)
        if found is None or found >= step:
            high = middle
        else:
            low = middle
    groups: list[SampledGroup] = []
    count = 0
    stride = 1
    for _, row in _rows(file, low):
        if row is None or _step(row) < step:
            continue
        if _step(row) > step:
            break
        if count % stride == 0:
            groups.append(_group(row))
        count += 1
        if len(groups) > 512:
            groups, stride = groups[::2], stride * 2
    return groups, count


def _group(row: Mapping[str, Any]) -> SampledGroup:
    given = [r for r in row["responses"] if isinstance(r, Mapping)]
    prompt, cut = shorten(word(row.get("prompt"), 2_000_000), MOST_CHARACTERS)
    return SampledGroup(
        _step(row), prompt, cut, word(row.get("task"), 60), word(row.get("lang"), 60),
        tuple(_sampled(r) for r in _spread(given, 64)),
    )  # fmt: skip


def _sampled(row: Mapping[str, Any]) -> Sampled:
    text, cut = shorten(_said(row), MOST_CHARACTERS)
    score, tokens = number(row.get("score")), number(row.get("tokens"))
    given = row.get("parts")
    parts = given.items() if isinstance(given, Mapping) else ()
    return Sampled(
        text,
        cut,
        score if math.isfinite(score) else None,
        tuple((word(name, 60), number(value)) for name, value in list(parts)[:12]),
        word(row.get("reason"), 300),
        int(tokens) if math.isfinite(tokens) else None,
        row.get("truncated") is True,
    )


def _said(row: Mapping[str, Any]) -> str:
    """The response; where it has several turns, each with its role."""
    turns = row.get("turns")
    told = [t for t in turns if isinstance(t, list) and len(t) == 2] if isinstance(turns, list) else []
    if len(told) < 2:
        return word(row.get("text"), 2_000_000)
    return "\n".join(f"[{word(role, 20)}] {word(content, 2_000_000)}" for role, content in told[:100])


def counts(findings: object) -> tuple[RewardCount, ...]:
    """What rewards were asked and answered, of findings.json: {"rewards": {NAME: {calls, scored, unscored, …}}}."""
    told = findings.get("rewards") if isinstance(findings, Mapping) else None
    found = []
    for name, row in list(told.items())[:40] if isinstance(told, Mapping) else ():
        if not isinstance(row, Mapping):
            continue
        given = row.get("unscored")
        reasons = [(word(why, 200), number(n)) for why, n in given.items()] if isinstance(given, Mapping) else []
        known = sorted((item for item in reasons if math.isfinite(item[1])), key=lambda item: -item[1])
        calls, scored, left, cached, seconds = (
            number(row.get(key)) for key in ("calls", "scored", "left_out", "cached", "seconds")
        )
        found.append(RewardCount(word(name, 60), calls, scored, tuple(known), left, cached, seconds))
    return tuple(found)
