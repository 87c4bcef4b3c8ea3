"""Rewards of a shape: a regular expression, a JSON document of a schema. They run in workers: either can hang."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from hizala.engines.reward.answers import shown
from hizala.engines.reward.base import last_turn
from hizala.errors import ConfigError
from hizala.records import Group, Response, Verdict
from hizala.registry import reward

Part = Literal["all", "answer"]
_FENCES = ("```", "```json", "```JSON")


def _check_pattern(*, pattern: str, **_: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"the pattern of reward 'regex' is no regular expression: {error}") from None


@reward("regex", summary="1 where a regular expression matches, else 0", check=_check_pattern)
def regex(
    response: Response,
    group: Group,
    *,
    pattern: str,
    where: Literal["search", "start", "whole"] = "search",
    part: Part = "all",
    absent: bool = False,
) -> Verdict:
    """1 where the pattern matches, else 0. An expression that takes for ever on a response costs that sample.

    Args:
        pattern: of Python's `re`; flags are written inline, as in `(?i)` and `(?s)`.
        where: anywhere in the text, from its start, or from its start to its end.
        part: the last turn as it is, or what stands of it outside `<think>`.
        absent: 1 where the pattern does not match.
    Returns:
        Verdict: 1 or 0.
    """
    text = _part(response, part)
    compiled = re.compile(pattern)
    look = {"search": compiled.search, "start": compiled.match, "whole": compiled.fullmatch}[where]
    found = look(text) is not None
    return Verdict(float(found != absent), "" if found != absent else "no match" if not absent else "a match")


def _check_schema(*, shape: Mapping[str, Any], **_: Any) -> None:
    from jsonschema import exceptions
    from jsonschema.validators import validator_for

    try:
        validator_for(shape).check_schema(shape)
    except exceptions.SchemaError as error:
        raise ConfigError(f"the schema of reward 'json_schema' is none: {error.message}") from None


@reward("json_schema", summary="1 where the response is JSON of a schema, else 0", check=_check_schema)
def json_schema(
    response: Response,
    group: Group,
    *,
    shape: dict[str, Any],
    find: Literal["whole", "fenced"] = "whole",
    part: Part = "answer",
    partial: bool = False,
) -> Verdict:
    """1 where the text is a JSON document that the schema accepts, else 0.

    Strict JSON: no NaN or Infinity, no key twice, nothing before or after. References to other documents are not
    fetched.

    Args:
        shape: a JSON Schema; its own `$schema` says which draft, else 2020-12.
        find: the whole text, or the one fenced block of it.
        part: the last turn as it is, or what stands of it outside `<think>`.
        partial: JSON that the schema refuses earns one half.
    Returns:
        Verdict: 1, 0, or one half, with the first thing that is wrong.
    """
    text = _part(response, part).strip()
    if find == "fenced":
        blocks = _fenced(text)
        if len(blocks) != 1:
            return Verdict(0.0, f"{len(blocks)} fenced blocks")
        text = blocks[0]
    try:
        document = json.loads(text, parse_constant=_refused, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        return Verdict(0.0, f"no JSON: {error}"[:200])
    wrong = next(iter(_validator(json.dumps(shape)).iter_errors(document)), None)
    if wrong is None:
        return Verdict(1.0)
    place = "/".join(map(str, wrong.absolute_path)) or "the document"
    return Verdict(0.5 if partial else 0.0, f"{place[:80]}: {wrong.message[:200]}")


def warm() -> None:
    """Import the validator, before workers are forked."""
    _validator("{}")


@lru_cache(maxsize=16)
def _validator(schema: str) -> Any:
    from jsonschema.validators import validator_for
    from referencing import Registry

    parsed = json.loads(schema)
    # An empty registry: references are looked up in the schema itself and nowhere else.
    return validator_for(parsed)(parsed, registry=Registry())


def _part(response: Response, part: Part) -> str:
    text = last_turn(response)
    return shown(text) if part == "answer" else text


def _fenced(text: str) -> list[str]:
    """Contents of closed fenced blocks of JSON or of no named language."""
    blocks: list[str] = []
    held: list[str] | None = None
    for line in text.split("\n"):
        mark = line.strip()
        if held is None:
            held = [] if mark in _FENCES else None
        elif mark == "```":
            blocks.append("\n".join(held))
            held = None
        else:
            held.append(line)
    return blocks


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found
