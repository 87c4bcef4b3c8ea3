"""Side files of suites: JSON objects keyed by model or by setting, and lists of numbers, checked as rows are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hizala.errors import EvalError
from hizala.readers.score.rows import Annotations, read


def by_name(path: str, key: str = "model") -> dict[str, Mapping[str, Any]]:
    """Objects by name: from rows with a field `key`, or from one JSON object of objects.

    Raises:
        EvalError: a file that cannot be read, or that has neither form, or a name that stands twice.
    """
    return named(read(path), key)


def named(data: Annotations, key: str = "model") -> dict[str, Mapping[str, Any]]:
    """The rows of a file by name; see `by_name`."""
    whole = data.rows[0].value
    if len(data.rows) == 1 and key not in whole:
        if not all(isinstance(value, dict) for value in whole.values()):
            raise EvalError(f"is neither rows with a '{key}' nor an object of objects", where=data.name)
        return dict(whole)
    found: dict[str, Mapping[str, Any]] = {}
    for row in data.rows:
        name = row.value.get(key)
        if not isinstance(name, str) or not name or name in found:
            what = f"names '{name}' again" if isinstance(name, str) and name else f"has no '{key}'"
            raise EvalError(f"{row.place} {what}", where=data.name)
        found[name] = row.value
    return found
