"""What a row means: the formats, how they are recognised, and how a row becomes a group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hizala.engines.data import rows as R
from hizala.engines.data.rows import RowError
from hizala.errors import DataError, nearest
from hizala.records import Group, Message, Response, Step

Row = Mapping[str, Any]
# A format must explain this share of the sampled rows; the rest are reported as broken when they are read.
DETECT_SHARE = 0.9
STEP_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write groups down.

    Attributes:
        name: what `format:` and `--format` call it.
        shape: what its groups hold (`registry.DATA_SHAPES`).
        columns: the columns it needs, in words.
        fits: whether a row looks like it.
        convert: row -> (prompt, responses). Raises RowError.
        over: formats that fit the same rows and are less exact.
    """

    name: str
    shape: str
    columns: str
    fits: Callable[[Row], bool]
    convert: Callable[[Row], tuple[tuple[Message, ...], tuple[Response, ...]]]
    uses: tuple[str, ...]
    over: tuple[str, ...] = ()


Parts = tuple[tuple[Message, ...], tuple[Response, ...]]
_MULTI_KEYS = ("candidates", "responses", "completions", "outputs")
_TEXT_KEYS = ("output", "response", "completion", "text", "content")
_SCORE_KEYS = ("score", "rating", "overall_score", "reward")
_TRUE = (True, 1, "true", "True", "1", "up")
_FALSE = (False, 0, "false", "False", "0", "down")


def _pair(prompt: tuple[Message, ...], chosen: tuple[Message, ...], rejected: tuple[Message, ...], row: Row) -> Parts:
    scores = [_score(row.get(key), key) for key in ("score_chosen", "score_rejected")]
    return prompt, (Response(chosen, rank=0, score=scores[0]), Response(rejected, rank=1, score=scores[1]))


def _convert_pair(row: Row) -> Parts:
    for key in ("chosen", "rejected"):
        if row.get(key) is None:
            raise RowError(f"'{key}' is missing")
    if R.is_messages(row["chosen"]) and R.messages_of(row["chosen"], "chosen")[0].role != "assistant":
        # Both sides carry the whole conversation; the prompt column repeats its first turn.
        return _convert_implicit(row)
    chosen, rejected = R.response_of(row["chosen"], "chosen"), R.response_of(row["rejected"], "rejected")
    return _pair(R.prompt_of(row), chosen, rejected, row)


def _convert_implicit(row: Row) -> Parts:
    sides = {key: R.messages_of(row.get(key), key) for key in ("chosen", "rejected")}
    return _split_pair(sides["chosen"], sides["rejected"], row, last_turn_only=False)


def _convert_hh(row: Row) -> Parts:
    sides = {key: R.transcript(R.text_of(row.get(key), key), key) for key in ("chosen", "rejected")}
    return _split_pair(sides["chosen"], sides["rejected"], row, last_turn_only=True)


def _split_pair(chosen: tuple[Message, ...], rejected: tuple[Message, ...], row: Row, *, last_turn_only: bool) -> Parts:
    """The prompt two whole conversations share: all but the last turn, or (message lists) their common prefix."""
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise RowError(f"'{name}' does not end with an assistant turn")
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    same_length = shared == len(chosen) - 1 == len(rejected) - 1
    if shared == 0 or (last_turn_only and not same_length):
        raise RowError(
            "chosen and rejected differ before the last reply, so they answer different prompts", "prompt-differs"
        )
    if chosen[shared].role != "assistant" or rejected[shared].role != "assistant":
        raise RowError("chosen and rejected part at a turn that is not the assistant's", "prompt-differs")
    return _pair(chosen[:shared], chosen[shared:], rejected[shared:], row)


def _convert_thumb(row: Row) -> Parts:
    key = "label" if row.get("label") is not None else "kto_tag"
    label = row.get(key)
    if label not in _TRUE and label not in _FALSE:
        raise RowError(f"'{key}' is neither true nor false" if label is not None else "'label' is missing")
    response = R.response_key(row)
    if response is None:
        prompt, turns = _whole(row)
    else:
        prompt, turns = R.prompt_of(row), R.response_of(row[response], response)
    if not turns:
        raise RowError("the response is missing")
    return prompt, (Response(turns, label=label in _TRUE),)


def _whole(row: Row) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """A whole conversation split before its first assistant turn; the response ends with the last assistant turn."""
    key = "messages" if row.get("messages") is not None else "conversations"
    turns = R.messages_of(row.get(key), key)
    system = row.get("system")
    if isinstance(system, str) and system and turns[0].role != "system":
        turns = (Message("system", system), *turns)
    first = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), len(turns))
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=len(turns) - 1)
    if not any(turn.role == "user" for turn in turns[:first]):
        raise RowError(f"'{key}' has no user turn before the assistant's first")
    return turns[:first], turns[first : last + 1]


def _convert_messages(row: Row) -> Parts:
    prompt, turns = _whole(row)
    return prompt, (Response(turns),) if turns else ()


def _convert_prompt_response(row: Row) -> Parts:
    key = R.response_key(row) or ("answer" if row.get("answer") is not None else None)
    if key is None:
        raise RowError("the response is missing")
    return R.prompt_of(row), (Response(R.response_of(row[key], key)),)


def _convert_alpaca(row: Row) -> Parts:
    if not isinstance(row.get("instruction"), str) or not row["instruction"].strip():
        raise RowError("'instruction' is missing or empty")
    prompt = R.prompt_of({k: row.get(k) for k in ("instruction", "input", "system", "history")})
    return prompt, (Response(R.response_of(R.text_of(row.get("output"), "output"), "output")),)


def _convert_prompts(row: Row) -> Parts:
    return R.prompt_of(row), ()


def _score(value: object, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RowError(f"'{name}' is not a number") from None
    if isinstance(value, bool) or not math.isfinite(score):
        raise RowError(f"'{name}' is not a finite number")
    return score


def _multi_key(row: Row) -> str | None:
    return next((key for key in _MULTI_KEYS if isinstance(row.get(key), list)), None)


def _candidate(value: object, name: str) -> tuple[tuple[Message, ...], float | None, float | None]:
    """(turns, score, rank) of one candidate of a ranking."""
    if not isinstance(value, Mapping) or "role" in value:
        return R.response_of(value, name), None, None
    key = next((k for k in _TEXT_KEYS if value.get(k) is not None), None)
    if key is None:
        raise RowError(f"'{name}' has no text")
    score = next((_score(value[k], f"{name}.{k}") for k in _SCORE_KEYS if value.get(k) is not None), None)
    return R.response_of(value[key], name), score, _score(value.get("rank"), f"{name}.rank")


def _parallel(row: Row, keys: Sequence[str], count: int, found: list[float | None]) -> list[float | None]:
    for key in keys:
        values = row.get(key)
        if isinstance(values, list):
            if len(values) != count:
                raise RowError(f"'{key}' has {len(values)} entries for {count} responses")
            return [_score(v, f"{key}[{i}]") for i, v in enumerate(values)]
    return found


def _convert_kwise(row: Row) -> Parts:
    key = _multi_key(row)
    if key is None or len(row[key]) < 2:
        raise RowError("fewer than two responses to rank")
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
            raise RowError("scores and ranks contradict each other")
        # Equal scores are ties even where a list had to name one of them first.
        by_rank = by_score
    if not by_rank:
        raise RowError("some responses have neither a score nor a rank")
    levels = sorted(set(by_rank))
    return [levels.index(rank) for rank in by_rank]


def _contradict(first: Sequence[float], second: Sequence[float]) -> bool:
    pairs = range(len(first))
    return any(first[i] < first[j] and second[i] > second[j] for i in pairs for j in pairs)


def _convert_stepwise(row: Row) -> Parts:
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
    turns = (Message("assistant", STEP_SEPARATOR.join(step.text for step in steps)),)
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
    if value in _TRUE or value in ("+", "good"):
        return True
    if value in _FALSE or value in (-1, "-", "bad"):
        return False
    raise RowError(f"'{name}' is neither true, false nor null")


def _has_pair(row: Row) -> bool:
    return all(isinstance(row.get(key), str | list | Mapping) for key in ("chosen", "rejected"))


def _is_thumb(row: Row) -> bool:
    label = row["label"] if row.get("label") is not None else row.get("kto_tag")
    if isinstance(label, list | Mapping | None) or (label not in _TRUE and label not in _FALSE):
        return False
    whole = any(R.is_messages(row.get(key)) for key in ("messages", "conversations"))
    return whole or (R.prompt_key(row) is not None and R.response_key(row) is not None)


def _is_prompt_response(row: Row) -> bool:
    return R.prompt_key(row) in R.PLAIN_PROMPT_KEYS and R.response_key(row) is not None and not _is_alpaca(row)


def _is_alpaca(row: Row) -> bool:
    return isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str)


def _is_prompts(row: Row) -> bool:
    if R.prompt_key(row) is None or R.response_key(row) is not None or "chosen" in row or "rejected" in row:
        return False
    return not any(f.fits(row) for f in _ANSWERED)


def _is_kwise(row: Row) -> bool:
    key = _multi_key(row)
    if key is None or R.prompt_key(row) is None or len(row[key]) < 2:
        return False
    ranked = any(isinstance(row.get(k), list) for k in ("scores", "ratings", "ranks", "ranking"))
    return ranked or all(isinstance(v, Mapping) and any(k in v for k in (*_SCORE_KEYS, "rank")) for v in row[key])


def _is_stepwise(row: Row) -> bool:
    if isinstance(row.get("completions"), list) and isinstance(row.get("labels"), list):
        return R.prompt_key(row) is not None
    return isinstance(row.get("steps"), list) and ("labels" in row or "mistake_index" in row)


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(
            "pair",
            "pair",
            "prompt, chosen, rejected (text or messages)",
            lambda row: _has_pair(row) and R.prompt_key(row) is not None and not R.is_transcript(row["chosen"]),
            _convert_pair,
            ("prompt", "chosen", "rejected"),
            over=("messages", "sharegpt"),
        ),
        Format(
            "pair-implicit",
            "pair",
            "chosen, rejected (whole conversations that share their beginning)",
            lambda row: (
                R.is_messages(row.get("chosen")) and R.is_messages(row.get("rejected")) and not R.prompt_key(row)
            ),
            _convert_implicit,
            ("chosen", "rejected"),
        ),
        Format(
            "hh",
            "pair",
            "chosen, rejected (transcripts with Human: and Assistant: turns)",
            lambda row: R.is_transcript(row.get("chosen")) and R.is_transcript(row.get("rejected")),
            _convert_hh,
            ("chosen", "rejected"),
        ),
        Format(
            "thumb",
            "thumb",
            "prompt, response or completion, label (true or false)",
            _is_thumb,
            _convert_thumb,
            ("prompt", "completion", "label"),
            over=("prompt-response", "messages", "sharegpt", "alpaca"),
        ),
        Format(
            "kwise",
            "ranking",
            "prompt, candidates (or responses) with scores, ranks or ranking",
            _is_kwise,
            _convert_kwise,
            ("prompt", "candidates", "scores"),
            over=("alpaca",),
        ),
        Format(
            "stepwise",
            "steps",
            "prompt, completions (or steps), labels (or mistake_index)",
            _is_stepwise,
            _convert_stepwise,
            ("prompt", "completions", "labels"),
        ),
        Format(
            "messages",
            "response",
            "messages (role, content)",
            lambda row: R.is_messages(row.get("messages")),
            _convert_messages,
            ("messages",),
        ),
        Format(
            "sharegpt",
            "response",
            "conversations (from, value)",
            lambda row: R.is_messages(row.get("conversations")),
            _convert_messages,
            ("conversations",),
        ),
        Format(
            "prompt-response",
            "response",
            "prompt, response or completion",
            _is_prompt_response,
            _convert_prompt_response,
            ("prompt", "response"),
            over=("prompts",),
        ),
        Format(
            "alpaca",
            "response",
            "instruction, input, output",
            _is_alpaca,
            _convert_alpaca,
            ("instruction", "output"),
        ),
    )
}
# Rows with a prompt and none of the above: prompts for online methods, every other column kept as ground truth.
FORMATS["prompts"] = Format(
    "prompts",
    "prompt",
    "prompt or question, other columns are kept",
    _is_prompts,
    _convert_prompts,
    ("prompt",),
)
_ANSWERED = tuple(f for f in FORMATS.values() if f.name != "prompts")


def get(name: str) -> Format:
    """The format of that name. Raises DataError naming the nearest."""
    if name not in FORMATS:
        raise DataError(f"unknown data format '{name}'{nearest(name, FORMATS)}", fix=f"known: {', '.join(FORMATS)}")
    return FORMATS[name]


def detect(rows: Iterable[Row], *, where: str = "") -> str:
    """The format that explains the given rows (a sample from the file's beginning is enough).

    Raises:
        DataError: no format or several formats explain them; says what was seen and what comes near.
    """
    sample = list(rows)
    if not sample:
        raise DataError("there is no usable row to recognise a format from", where=where)
    hits = {f.name: sum(bool(f.fits(row)) for row in sample) for f in FORMATS.values()}
    fitting = [f for f in FORMATS.values() if hits[f.name] >= DETECT_SHARE * len(sample)]
    beaten = {name for f in fitting for name in f.over}
    left = [f.name for f in fitting if f.name not in beaten]
    if len(left) == 1:
        return left[0]
    seen = _seen(sample)
    if left:
        raise DataError(
            f"the format is ambiguous: {' and '.join(left)} both fit the columns {seen}",
            where=where,
            fix=f"name it, e.g. format: {left[0]} (on the command line: --format {left[0]})",
        )
    mixed = {name: n for name, n in hits.items() if n}
    if mixed:
        parts = ", ".join(f"{n} like {name}" for name, n in mixed.items())
        raise DataError(
            f"no format fits at least {DETECT_SHARE:.0%} of the first {len(sample)} rows ({parts}); columns: {seen}",
            where=where,
            fix="split the file by format, or name the format so that other rows are reported as broken",
        )
    raise DataError(f"no format is recognised; columns: {seen}", where=where, fix=_advice(sample))


def _seen(sample: Sequence[Row]) -> str:
    kinds: dict[str, str] = {}
    for row in sample:
        for key, value in row.items():
            if value is not None:
                kinds.setdefault(str(key), "text" if isinstance(value, str) else type(value).__name__)
    shown = [f"{key} ({kind})" for key, kind in list(kinds.items())[:12]]
    return ", ".join(shown) + (f" and {len(kinds) - 12} more" if len(kinds) > 12 else "")


def _advice(sample: Sequence[Row]) -> str:
    """The nearest formats with their missing columns, and how to map columns."""
    keys = {str(key) for row in sample for key in row}
    near = [f for f in FORMATS.values() if set(f.uses) & keys and f.name != "prompts"]
    near.sort(key=lambda f: len(set(f.uses) - keys) / len(f.uses))
    shown = near[:2] or [FORMATS[name] for name in ("pair", "prompt-response", "messages")]
    parts = [f"{f.name} needs {f.columns}" + _missing_columns(f, keys) for f in shown]
    return f"{'; '.join(parts)}. Map columns with columns: {{prompt: YOUR_COLUMN}} (--columns prompt=YOUR_COLUMN)"


def _missing_columns(form: Format, keys: set[str]) -> str:
    missing = [column for column in form.uses if column not in keys]
    return f" (missing: {', '.join(missing)})" if missing else " (of these types)"


def to_group(row: Row, format: str, *, id: str = "") -> Group:
    """The group a row means in a format. Columns the format does not use stay in `meta`.

    Raises:
        RowError: the row does not hold what the format needs.
    """
    prompt, responses = get(format).convert(row)
    return Group(prompt, responses, id=id, meta={str(k): v for k, v in row.items() if k not in _CONSUMED[format]})


_PAIR = {"chosen", "rejected", "score_chosen", "score_rejected"}
_CONSUMED: dict[str, frozenset[str]] = {
    "pair": frozenset(_PAIR | {"prompt"}),
    "pair-implicit": frozenset(_PAIR),
    "hh": frozenset(_PAIR),
    "thumb": frozenset({"prompt", "completion", "response", "label", "kto_tag", "messages", "conversations"}),
    "kwise": frozenset({"prompt", "instruction", *_MULTI_KEYS, "scores", "ratings", "ranks", "ranking"}),
    "stepwise": frozenset({"prompt", "completions", "steps", "labels"}),
    "messages": frozenset({"messages"}),
    "sharegpt": frozenset({"conversations"}),
    "prompt-response": frozenset({"prompt", "completion", "response", "output"}),
    "alpaca": frozenset({"instruction", "input", "output"}),
    "prompts": frozenset({"prompt"}),
}
