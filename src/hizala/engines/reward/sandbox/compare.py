"""Whether what came out of the sandbox is what was expected. Everything here is done with hostile data in hand.

No hash table is ever built from what a program sent: chosen collisions would make that slow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hizala.engines.reward.sandbox.inside import decode

_KEYS = 1000  # values in one key


def same(expected: Any, sent: Any, *, loose: bool = False, tolerance: float = 0.0) -> bool:
    """Whether `sent`, as `inside.encode` writes it, equals `expected` as Python's `==` would say of the value.

    Args:
        expected: plain data.
        loose: lists and tuples count as the same kind.
        tolerance: numbers that are not both integers may differ by this, absolute or relative. 0: exactly.
    """
    kind, held = _open(sent)
    if isinstance(expected, bool | int | float | complex):
        return kind in ("plain", "int", "complex") and _number(expected, sent, tolerance)
    if isinstance(expected, list | tuple):
        fitting = ("list", "tuple") if loose else (type(expected).__name__,)
        return (
            kind in fitting
            and isinstance(held, list)
            and len(held) == len(expected)
            and all(same(e, s, loose=loose, tolerance=tolerance) for e, s in zip(expected, held, strict=True))
        )
    if isinstance(expected, set | frozenset):
        return kind in ("set", "frozenset") and isinstance(held, list) and _same_members(expected, held)
    if isinstance(expected, Mapping):
        return kind == "dict" and isinstance(held, list) and _same_items(expected, held, loose, tolerance)
    if isinstance(expected, bytes):
        return kind == "bytes" and held == expected.hex()
    return kind == "plain" and type(sent) is type(expected) and bool(sent == expected)


def truth(sent: Any) -> bool:
    """How Python takes a value in a condition; an object that is no plain data counts as true, as objects do."""
    kind, held = _open(sent)
    if kind == "plain":
        return bool(sent)
    if kind == "complex":
        return bool(decode(sent))
    return kind in ("int", "mine") or bool(held)


def _open(sent: Any) -> tuple[str, Any]:
    if isinstance(sent, list):
        return "list", sent
    if isinstance(sent, dict):
        return str(sent.get("t")), sent.get("v")
    return "plain", sent


def _number(expected: Any, sent: Any, tolerance: float) -> bool:
    found = decode(sent)
    if not isinstance(found, bool | int | float | complex):
        return False
    if found == expected:
        return True
    if (
        not tolerance
        or isinstance(expected, bool)
        or isinstance(found, bool | complex)
        or isinstance(expected, complex)
    ):
        return False
    if isinstance(expected, int) and isinstance(found, int):
        return False
    try:
        return math.isclose(found, expected, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:
        return False


def _key(sent: Any) -> Any:
    """A key or member, decoded. Raises ValueError where it is so large that chosen collisions in it could be slow."""
    if _size(sent) > _KEYS:
        raise ValueError("a key this large")
    return decode(sent)


def _size(sent: Any) -> int:
    kind, held = _open(sent)
    return 1 if kind == "plain" or not isinstance(held, list) else sum(map(_size, held)) + 1


def _same_members(expected: Any, held: list[Any]) -> bool:
    left = set(expected)
    if len(held) != len(left):
        return False
    for part in held:
        member = _key(part)
        if member not in left:
            return False
        left.remove(member)
    return True


def _same_items(expected: Mapping[Any, Any], held: list[Any], loose: bool, tolerance: float) -> bool:
    left = dict(expected)
    if len(held) != len(left):
        return False
    for pair in held:
        key = _key(pair[0])
        if key not in left or not same(left.pop(key), pair[1], loose=loose, tolerance=tolerance):
            return False
    return True


def same_text(expected: str, written: str, *, tolerance: float = 0.0) -> bool:
    """Whether a script wrote what was expected: line by line, white space at the ends of lines and empty last lines
    apart.

    Args:
        tolerance: > 0: word by word instead, and words that are numbers may differ by this, absolute or relative.
    """
    if not tolerance:
        return _lines(expected) == _lines(written)
    wanted, words = expected.split(), written.split()
    return len(wanted) == len(words) and all(
        w == f or _close(w, f, tolerance) for w, f in zip(wanted, words, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _close(wanted: str, found: str, tolerance: float) -> bool:
    try:
        return math.isclose(float(wanted), float(found), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False
