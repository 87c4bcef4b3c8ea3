"""The page of a sweep: the frontier drawn, and the figures it rests on. Loads nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import hizala
from hizala.readers.report.charts import Spot, scatter
from hizala.readers.report.text import printable

TEMPLATES = Path(__file__).parent / "templates"
_NAN = (math.nan, math.nan, math.nan)


def page(record: Mapping[str, Any]) -> str:
    """The HTML of a sweep's record with results."""
    values = sorted(record["results"]["values"], key=lambda v: math.inf if v["kl"] is None else v["kl"]["value"])
    spots = [Spot((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "m0", "start"), *map(_spot, values)]
    joined = [0, *(i for i, value in enumerate(values, 1) if value["kl"] is not None and not value["dominated_by"])]
    words = f"Gain in {record['metric']} against the square root of the KL divergence from the start, by value"
    gained = any(value["gain"] and value["gain"]["value"] is not None for value in values)
    if not gained:
        spots, joined = spots[1:], [i - 1 for i in joined[1:]]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, finalize=printable,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    token = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    chart = scatter(spots, Markup('role="img" aria-label="{}"').format(escape(words)), joined=joined)
    return environment.get_template("sweep.html.j2").render(
        record=record,
        values=values,
        chart=chart,
        gained=gained,
        label=label,
        shown=shown,
        value_text=value_text,
        verdict=verdict,
        version=hizala.__version__,
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{token}'; img-src data:; base-uri 'none'; form-action 'none'",
    )


def label(values: Mapping[str, Any]) -> str:
    """A combination of values in words."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in values.items())


def value_text(value: Any) -> str:
    """A value as people write it."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def shown(estimate: Mapping[str, Any] | None) -> str:
    """An estimate in words."""
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["low"] is None:
        return f"{estimate['value']:.3f}"
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def verdict(value: Mapping[str, Any]) -> str:
    """How a value stands."""
    if value["kl"] is None:
        return "failed" if value["failed"] else "not finished"
    if value["dominated_by"]:
        return "dominated by " + "; ".join(label(other["values"]) for other in value["dominated_by"])
    return "not dominated"


def _spot(value: Mapping[str, Any]) -> Spot:
    gain = value["gain"] if value["gain"] and value["gain"]["value"] is not None else value["score"]
    slot = "m4" if value["dominated_by"] else "m2"
    across = tuple(math.sqrt(max(v, 0.0)) for v in _bounds(value["kl"]))
    settings = value["values"]
    name = label(settings) if len(settings) > 1 else value_text(next(iter(settings.values())))
    return Spot((across[0], across[1], across[2]), _bounds(gain), slot, name)


def _bounds(estimate: Mapping[str, Any] | None) -> tuple[float, float, float]:
    if estimate is None:
        return _NAN
    value, low, high = (math.nan if estimate[key] is None else estimate[key] for key in ("value", "low", "high"))
    return value, low, high
