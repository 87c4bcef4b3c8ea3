"""Words, numbers and estimates out of JSON, whatever stands there."""

from __future__ import annotations

import math
from collections.abc import Mapping

from hizala.readers.report.views import Figure


def number(value: object) -> float:
    """A number of a JSON file; NaN for what is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def figure(value: object) -> Figure | None:
    """An estimate: an object with a value, or a bare number; None for anything else (null is NaN)."""
    if isinstance(value, Mapping):
        if "value" not in value:
            return None
        n, unscored = number(value.get("n")), number(value.get("unscored"))
        level = number(value.get("level"))
        return Figure(
            number(value["value"]),
            number(value.get("low")),
            number(value.get("high")),
            int(n) if math.isfinite(n) else 0,
            int(unscored) if math.isfinite(unscored) else 0,
            str(value.get("method") or ""),
            level if math.isfinite(level) else 0.95,
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Figure(number(value))
    return None


def word(value: object, most: int = 200) -> str:
    """A name or a message as text, "" for null; cut with a sign where it is longer than any real one."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= most else text[:most] + "…"
