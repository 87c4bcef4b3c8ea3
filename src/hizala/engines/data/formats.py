"""What a row means: the formats, how they are recognised, and how a row becomes a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hizala.engines.data import graded
from hizala.engines.data import rows as R
from hizala.engines.data.rows import RowError
from hizala.errors import DataError, nearest
from hizala.records import Group, Message, Response

Row = Mapping[str, Any]
Parts = tuple[tuple[Message, ...], tuple[Response, ...]]
# A format must explain this share of the sampled rows; the rest are reported as broken when they are read.
DETECT_SHARE = 0.9


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
    convert: Callable[[Row], Parts]
    uses: tuple[str, ...]
    over: tuple[str, ...] = ()


def _pair(prompt: tuple[Message, ...], chosen: tuple[Message, ...], rejected: tuple[Message, ...], row: Row) -> Parts:
    scores = [R.number_of(row.get(key), key) for key in ("score_chosen", "score_rejected")]
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
    if label not in R.TRUE and label not in R.FALSE:
        raise RowError(f"'{key}' is neither true nor false" if label is not None else "'label' is missing")
    response = R.response_key(row)
    if response is None:
        prompt, turns = _whole(row)
    else:
        prompt, turns = R.prompt_of(row), R.response_of(row[response], response)
    if not turns:
        raise RowError("the response is missing")
    return prompt, (Response(turns, label=label in R.TRUE),)


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


def _has_pair(row: Row) -> bool:
    return all(isinstance(row.get(key), str | list | Mapping) for key in ("chosen", "rejected"))


def _is_thumb(row: Row) -> bool:
    label = row["label"] if row.get("label") is not None else row.get("kto_tag")
    if isinstance(label, list | Mapping | None) or (label not in R.TRUE and label not in R.FALSE):
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
            over=("prompt-response", "messages", "sharegpt", "alpaca", "scored"),
        ),
        Format(
            "kwise",
            "ranking",
            "prompt, candidates (or responses) with scores, ranks or ranking",
            graded.is_kwise,
            graded.convert_kwise,
            ("prompt", "candidates", "scores"),
            over=("alpaca",),
        ),
        Format(
            "stepwise",
            "steps",
            "prompt, completions (or steps), labels (or mistake_index)",
            graded.is_stepwise,
            graded.convert_stepwise,
            ("prompt", "completions", "labels"),
        ),
        Format(
            "attributes",
            "scored",
            "prompt, response, attributes (or columns such as helpfulness, correctness, verbosity)",
            graded.is_attributes,
            graded.convert_graded,
            ("prompt", "response", "attributes"),
            over=("scored", "prompt-response", "alpaca", "messages", "sharegpt"),
        ),
        Format(
            "scored",
            "scored",
            "prompt, response, score (a number)",
            graded.is_scored,
            graded.convert_graded,
            ("prompt", "response", "score"),
            over=("prompt-response", "alpaca", "messages", "sharegpt"),
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
    meta = {str(k): v for k, v in row.items() if k not in _CONSUMED[format]}
    if get(format).shape == "pair" and "margin" in meta:
        meta["margin"] = R.number_of(meta["margin"], "margin")
    return Group(prompt, responses, id=id, meta=meta)


_PAIR = {"chosen", "rejected", "score_chosen", "score_rejected"}
_CONSUMED: dict[str, frozenset[str]] = {
    "pair": frozenset(_PAIR | {"prompt"}),
    "pair-implicit": frozenset(_PAIR),
    "hh": frozenset(_PAIR),
    "thumb": frozenset({"prompt", "completion", "response", "label", "kto_tag", "messages", "conversations"}),
    "kwise": frozenset({"prompt", "instruction", *graded.MULTI_KEYS, "scores", "ratings", "ranks", "ranking"}),
    "stepwise": frozenset({"prompt", "completions", "steps", "labels", "response", "completion", "output"}),
    "attributes": frozenset({"prompt", "response", "completion", "output", "attributes", *graded.ATTRIBUTES}),
    "scored": frozenset({"prompt", "response", "completion", "output", *graded.SCORE_KEYS}),
    "messages": frozenset({"messages"}),
    "sharegpt": frozenset({"conversations"}),
    "prompt-response": frozenset({"prompt", "completion", "response", "output"}),
    "alpaca": frozenset({"instruction", "input", "output"}),
    "prompts": frozenset({"prompt"}),
}
