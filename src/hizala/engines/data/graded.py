"""Rows with grades: rankings, scores, single qualities, marked steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hizala.engines.data import rows as R
from hizala.engines.data.known import step_sizes
from hizala.engines.data.rows import RowError
from hizala.errors import DataError
from hizala.records import Message, Response, Step

Row = Mapping[str, Any]
Parts = tuple[tuple[Message, ...], tuple[Response, ...]]
STEP_SEPARATOR = "\n"
MULTI_KEYS = ("candidates", "responses", "completions", "outputs")
SCORE_KEYS = ("score", "rating", "overall_score", "reward")
# Columns that grade single qualities of a response, as HelpSteer names them.
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_TEXT_KEYS = ("output", "response", "completion", "text", "content")


def _multi_key(row: Row) -> str | None:
    return next((key for key in MULTI_KEYS if isinstance(row.get(key), list)), None)


def _candidate(value: object, name: str) -> tuple[tuple[Message, ...], float | None, float | None]:
    """(turns, score, rank) of one candidate of a ranking."""
    if not isinstance(value, Mapping) or "role" in value:
        return R.response_of(value, name), None, None
    key = next((k for k in _TEXT_KEYS if value.get(k) is not None), None)
    if key is None:
        raise RowError(f"'{name}' has no text")
    score = next((R.number_of(value[k], f"{name}.{k}") for k in SCORE_KEYS if value.get(k) is not None), None)
    return R.response_of(value[key], name), score, R.number_of(value.get("rank"), f"{name}.rank")


def _parallel(row: Row, keys: Sequence[str], count: int, found: list[float | None]) -> list[float | None]:
    for key in keys:
        values = row.get(key)
        if isinstance(values, list):
            if len(values) != count:
                raise RowError(f"'{key}' has {len(values)} entries for {count} responses")
            return [R.number_of(v, f"{key}[{i}]") for i, v in enumerate(values)]
    return found


def convert_kwise(row: Row) -> Parts:
    """A list of responses with scores or ranks. Raises RowError."""
    key = _multi_key(row)
    if key is None or len(row[key]) < 2:
        raise RowError("fewer than two responses, which rank nothing", "too-short")
    parts = [_candidate(value, f"{key}[{i}]") for i, value in enumerate(row[key])]
    scores = _parallel(row, ("scores", "ratings"), len(parts), [score for _, score, _ in parts])
    ranks = _parallel(row, ("ranks",), len(parts), [rank for _, _, rank in parts])
    places = _places(scores, ranks, row.get("ranking"))
    prompt = R.prompt_of({k: v for k, v in row.items() if k != key})
    return prompt, tuple(
        Response(turns, rank=place, score=score)
        for (turns, _, _), place, score in zip(parts, places, scores, strict=True)
    )


def _places(scores: list[float | None], ranks: list[float | None], order: object) -> list[int]:
    """Places from 0, ties equal: by score (higher is better), else by rank (lower is better), else as listed."""
    by_rank = [rank for rank in ranks if rank is not None]
    if len(by_rank) != len(ranks):
        by_rank = []
    if isinstance(order, list):
        if sorted(order, key=str) != sorted(range(len(scores)), key=str):
            raise RowError("'ranking' does not name each response once")
        by_rank = by_rank or [float(order.index(i)) for i in range(len(scores))]
    by_score = [-score for score in scores if score is not None]
    if len(by_score) == len(scores):
        if by_rank and _contradict(by_score, by_rank):
            raise RowError("scores and ranks contradict each other", "contradicting")
        # Equal scores are ties even where a list had to name one of them first.
        by_rank = by_score
    if not by_rank:
        raise RowError("some responses have neither a score nor a rank")
    levels = sorted(set(by_rank))
    return [levels.index(rank) for rank in by_rank]


def _contradict(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = range(len(first))
    return any(first[i] < first[j] and second[i] > second[j] for i in pairs for j in pairs)


def convert_stepwise(row: Row) -> Parts:
    """Marked steps; the response is the row's own text, which they must make up, else the steps line by line."""
    key = "completions" if isinstance(row.get("completions"), list) else "steps"
    texts = row.get(key)
    if not isinstance(texts, list) or not texts:
        raise RowError(f"'{key}' is not a list of steps")
    labels = row["labels"] if row.get("labels") is not None else _labels_of_mistake(row, len(texts))
    if not isinstance(labels, list) or len(labels) != len(texts):
        raise RowError(f"{len(texts)} steps but {len(labels) if isinstance(labels, list) else 'no list of'} labels")
    steps = tuple(
        Step(R.text_of(text, f"{key}[{i}]"), _mark(label, f"labels[{i}]"))
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    )
    whole = next((row[k] for k in R.RESPONSE_KEYS if isinstance(row.get(k), str)), None)
    text = STEP_SEPARATOR.join(step.text for step in steps) if whole is None else whole
    try:
        step_sizes(steps, text)
    except DataError as error:
        raise RowError(error.message, "steps-differ") from error
    turns = (Message("assistant", text),)
    return R.prompt_of({k: v for k, v in row.items() if k != key}), (Response(turns, steps=steps),)


def _labels_of_mistake(row: Row, count: int) -> list[bool | None]:
    """Marks from the index of the first wrong step: right before it, wrong at it, unknown after it."""
    if "mistake_index" not in row:
        raise RowError("'labels' is missing")
    index = row["mistake_index"]
    if index is None:
        return [True] * count
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise RowError(f"'mistake_index' does not name one of the {count} steps")
    return [True] * index + [False] + [None] * (count - index - 1)


def _mark(value: object, name: str) -> bool | None:
    """A step's mark: true or false, 1 or 0, PRM800K's -1 (wrong); null is not marked."""
    if value is None:
        return None
    if value in R.TRUE or value in ("+", "good"):
        return True
    if value in R.FALSE or value in (-1, "-", "bad"):
        return False
    raise RowError(f"'{name}' is neither true, false nor null")


def is_kwise(row: Row) -> bool:
    """Whether a row looks like a list of ranked or graded responses."""
    key = _multi_key(row)
    if key is None or R.prompt_key(row) is None or not row[key]:
        return False
    ranked = any(isinstance(row.get(k), list) for k in ("scores", "ratings", "ranks", "ranking"))
    return ranked or all(isinstance(v, Mapping) and any(k in v for k in (*SCORE_KEYS, "rank")) for v in row[key])


def is_stepwise(row: Row) -> bool:
    """Whether a row looks like a list of marked steps."""
    if isinstance(row.get("completions"), list) and isinstance(row.get("labels"), list):
        return R.prompt_key(row) is not None
    return isinstance(row.get("steps"), list) and ("labels" in row or "mistake_index" in row)


def attributes_of(row: Row) -> dict[str, float]:
    """The grades of single qualities that a row gives: of `attributes`, or of the columns in `ATTRIBUTES`."""
    given = row.get("attributes")
    if isinstance(given, Mapping):
        found = {str(key): R.number_of(value, f"attributes.{key}") for key, value in given.items()}
    else:
        found = {key: R.number_of(row[key], key) for key in ATTRIBUTES if key in row}
    return {key: value for key, value in found.items() if value is not None}


def convert_graded(row: Row) -> Parts:
    """One response with a score, with grades of single qualities, or with both. Raises RowError."""
    key = R.response_key(row)
    if key is None:
        raise RowError("the response is missing")
    attributes = attributes_of(row)
    score = next((R.number_of(row[k], k) for k in SCORE_KEYS if row.get(k) is not None), None)
    if score is None and not attributes:
        raise RowError("there is neither a score nor the grade of a quality")
    turns = R.response_of(row[key], key)
    return R.prompt_of({k: v for k, v in row.items() if k != key}), (
        Response(turns, score=score, attributes=attributes),
    )


def is_attributes(row: Row) -> bool:
    """Whether a row looks like one response with grades of at least two qualities."""
    if R.prompt_key(row) is None or R.response_key(row) is None:
        return False
    given = row.get("attributes")
    grades = given.values() if isinstance(given, Mapping) else [row[key] for key in ATTRIBUTES if key in row]
    return len(grades) > 1 and all(value is None or _is_number(value) for value in grades)


def is_scored(row: Row) -> bool:
    """Whether a row looks like one response with a score."""
    if R.prompt_key(row) is None or R.response_key(row) is None:
        return False
    return any(_is_number(row.get(key)) for key in SCORE_KEYS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
