"""Rows to messages: the small readers that every format's converter is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hizala.records import ROLES, Message

PROMPT_KEYS = ("prompt", "question", "instruction", "input", "query", "context", "messages", "conversations")
PLAIN_PROMPT_KEYS = ("prompt", "question", "instruction", "input", "query")
RESPONSE_KEYS = ("response", "completion", "output")
_ROLE_NAMES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_TURN = re.compile(r"(?:\n\n|\A\s*)(Human|Assistant):")


TRUE = (True, 1, "true", "True", "1", "up")
FALSE = (False, 0, "false", "False", "0", "down")


class RowError(ValueError):
    """A row cannot become a group. `kind` groups the reasons in reports, the text names the column."""

    def __init__(self, reason: str, kind: str = "broken-row") -> None:
        super().__init__(reason)
        self.kind = kind


def text_of(value: object, name: str) -> str:
    """A text value. Raises RowError naming the column."""
    if isinstance(value, str):
        return value
    if value is None:
        raise RowError(f"'{name}' is missing")
    raise RowError(f"'{name}' is not text but {type(value).__name__}")


def is_messages(value: object) -> bool:
    """Whether a value looks like a list of messages (role/content or from/value)."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, Mapping) and ({"role", "content"} <= m.keys() or {"from", "value"} <= m.keys()) for m in value
        )
    )


def messages_of(value: object, name: str) -> tuple[Message, ...]:
    """Messages of a conversation in either notation. Raises RowError naming column and turn."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value:
        raise RowError(f"'{name}' is not a list of messages")
    turns = tuple(_message(turn, f"{name}[{i}]") for i, turn in enumerate(value))
    if any(turn.role == "system" for turn in turns[1:]):
        raise RowError(f"'{name}' has a system turn that is not the first")
    return turns


def _message(turn: object, name: str) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"'{name}' is not a message")
    role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    known = _ROLE_NAMES.get(str(role).lower())
    if known is None or known not in ROLES:
        raise RowError(f"'{name}' has the unknown role '{role}'")
    if turn.get("tool_calls"):
        raise RowError(f"'{name}' calls tools, which cannot be trained on here")
    if isinstance(content, list):
        content = _joined_parts(content, name)
    return Message(known, text_of(content, f"{name}.content"))


def _joined_parts(parts: Sequence[object], name: str) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type", "text") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise RowError(f"'{name}' holds something other than text")
    return "".join(str(text) for text in texts)


def transcript(text: str, name: str) -> tuple[Message, ...]:
    """Turns of an HH-RLHF transcript; the white space around a turn is layout, not content."""
    pieces = _TURN.split(text)
    if pieces[0].strip():
        raise RowError(f"'{name}' does not start with 'Human:' or 'Assistant:'")
    roles, contents = pieces[1::2], pieces[2::2]
    if not roles:
        raise RowError(f"'{name}' has no turns")
    return tuple(Message(_ROLE_NAMES[r.lower()], c.strip()) for r, c in zip(roles, contents, strict=True))


def is_transcript(value: object) -> bool:
    """Whether a value looks like an HH-RLHF transcript."""
    return isinstance(value, str) and value.lstrip().startswith(("Human:", "Assistant:")) and "\n\nAssistant:" in value


def prompt_key(row: Mapping[str, Any]) -> str | None:
    """The first column that can hold a prompt."""
    return next((key for key in PROMPT_KEYS if row.get(key) not in (None, "", [])), None)


def response_key(row: Mapping[str, Any]) -> str | None:
    """The first column that can hold a response; an empty response is a response."""
    return next((key for key in RESPONSE_KEYS if isinstance(row.get(key), str | list | Mapping)), None)


def prompt_of(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The prompt of a row: text or messages, with the row's system text before it.

    Raises:
        RowError: no prompt, an empty one, or one that ends with the assistant's turn.
    """
    key = prompt_key(row)
    if key is None:
        raise RowError("the prompt is missing or empty")
    value = row[key]
    if isinstance(value, list | Mapping):
        turns = messages_of(value, key)
    else:
        text = text_of(value, key)
        more = next((row[k] for k in ("input", "context") if isinstance(row.get(k), str) and row[k].strip()), None)
        if key == "instruction" and more is not None:
            text = f"{text}\n\n{more}"
        turns = _prompt_transcript(text, key) if is_transcript(text) else (Message("user", text),)
        turns = (*_history(row), *turns)
    system = row.get("system")
    if isinstance(system, str) and system and turns[0].role != "system":
        turns = (Message("system", system), *turns)
    if not turns[-1].content.strip():
        raise RowError("the prompt is empty")
    if turns[-1].role == "assistant":
        raise RowError("the prompt ends with an assistant turn")
    return turns


def _prompt_transcript(text: str, key: str) -> tuple[Message, ...]:
    turns = transcript(text, key)
    return turns[:-1] if turns[-1] == Message("assistant", "") and len(turns) > 1 else turns


def _history(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Earlier turns of an Alpaca row: [[question, answer], ...]."""
    history = row.get("history")
    if not isinstance(history, list) or not history:
        return ()
    turns: list[Message] = []
    for i, pair in enumerate(history):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowError(f"'history[{i}]' is not a pair of question and answer")
        turns += [Message("user", text_of(pair[0], "history")), Message("assistant", text_of(pair[1], "history"))]
    return tuple(turns)


def response_of(value: object, name: str) -> tuple[Message, ...]:
    """The turns of a response. Raises RowError unless it starts and ends with the assistant's."""
    turns = (Message("assistant", value),) if isinstance(value, str) else messages_of(value, name)
    if turns[0].role != "assistant" or turns[-1].role != "assistant":
        raise RowError(f"'{name}' does not start and end with an assistant turn")
    return turns


def number_of(value: object, name: str) -> float | None:
    """A finite number, or None where there is no value. Raises RowError naming the column."""
    if value is None or value == "":
        return None
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise RowError(f"'{name}' is not a number") from None
    if isinstance(value, bool) or not math.isfinite(score):
        raise RowError(f"'{name}' is not a finite number")
    return score
