"""The page: a run's records into one HTML file that loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import hizala
from hizala.errors import RunError
from hizala.readers.report import curves, online, rewards, samples, scores
from hizala.readers.report.load import load
from hizala.readers.report.strings import STRINGS
from hizala.readers.report.text import Num, Phrases, numeral, printable, script_json, shorten
from hizala.readers.report.text import number as shown_number
from hizala.readers.report.views import Figure, RunView, StageView

TEMPLATES = Path(__file__).parent / "templates"
MOST_SOURCE = 60_000
MOST_NOTES = 200
# Shown without opening the settings.
_KEY_SETTINGS = ("data", "suites", "prompts", "group_size", "learning_rate", "batch_size", "beta", "temperature")
# Shown when asked for.
_MINOR_FACTS = (
    "digest",
    "duplicates.prompts_again",
    "duplicates.near_sampled",
    "duplicates.near_threshold",
    "length_bias.unit",
    "length_bias.ties",
    "truncation.max_length",
    "truncation.groups",
    "truncation.responses",
    "truncation.refused",
)
_STATUS_SIGNS = {"done": "✓", "running": "…", "failed": "✕", "interrupted": "‖", "pending": "○", "empty": "○"}


def write(run_dir: Path, out: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run_dir: the run directory; what is missing in it is shown as missing.
        out: the file; default `report.html` in the run directory. It is replaced at once, never half written.
    Returns:
        The file.
    Raises:
        RunError: there is no such run, or the file cannot be written.
    """
    run_dir = Path(run_dir)
    html = render(load(run_dir)).encode("utf-8", "replace")
    target = Path(out) if out is not None else run_dir / "report.html"
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes(html)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        fix = "free some space, or name another file"
        raise RunError(f"the report cannot be written: {error.strerror}", where=str(target), fix=fix) from error
    return target


def render(run: RunView, language: str = "en") -> str:
    """The page's HTML.

    Args:
        run: what to show.
        language: "en" or "tr", the language it opens in; a switch in the page changes it.
    """
    phrases = Phrases(STRINGS, language)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["keyed"] = lambda names, kind: [(n, _key(phrases, kind, n)) for n in names]
    style, script = _asset("report.css"), _asset("report.js")
    page = environment.get_template("report.html.j2")
    return page.render(
        run=run,
        language=language,
        t=phrases.span,
        at=phrases.attribute,
        plain=phrases.plain,
        name=phrases.name,
        known=phrases.known,
        num=lambda value: numeral(value if isinstance(value, str) else shown_number(value)),
        Num=lambda value: Num(value if isinstance(value, str) else shown_number(value)),
        version=hizala.__version__,
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        strings=script_json(STRINGS),
        signs=_STATUS_SIGNS,
        **_sections(run, phrases),
    )


def _sections(run: RunView, phrases: Phrases) -> dict[str, Any]:
    """What each section of the page shows."""
    evaluations = [stage for stage in run.stages if stage.results]
    order = list(dict.fromkeys(m for s in evaluations if s.results for m in s.results.models))
    learning = online.sections(run.stages, phrases)
    shown = {found.stage.number: found.taken for found in learning}
    return {
        "online": learning,
        "headline": scores.headline(run, phrases),
        "stages": [_stage_card(stage, phrases) for stage in run.stages],
        "data": [(stage, _data(stage, phrases)) for stage in run.stages if stage.data],
        "curves": [
            (stage, *curves.stage_charts(stage, phrases, shown.get(stage.number, ())))
            for stage in run.stages
            if stage.train or stage.held_out
        ],
        "scores": _tables(evaluations, phrases, section="score"),
        "preferences": _tables(evaluations, phrases, section="preference"),
        "rewards": rewards.sections(evaluations, phrases),
        "finals": _finals(run, phrases),
        "samples": [(s, found) for s in run.stages if (found := samples.choose(s, order))],
        "sources": [
            (key, *shorten(text, MOST_SOURCE))
            for key, text in (("run.recipe", run.recipe), ("run.resolved", run.resolved))
            if text
        ],
        "environment": {key.removeprefix("packages."): value for key, value in _flat(run.environment)},
        "when": _span(run.started, run.ended),
    }


def _span(started: str, ended: str) -> tuple[str, str]:
    """When the run began and ended, to the minute; the day stands once where it is the same."""
    first, last = started[:16].replace("T", " "), ended[:16].replace("T", " ")
    return first, last[11:] if first[:10] == last[:10] else last


def _tables(stages: list[StageView], phrases: Phrases, *, section: scores.Section) -> list[tuple[StageView, Any, Any]]:
    """(stage, tables of models, tables of differences) of the stages that have such figures."""
    found = []
    for stage in stages:
        assert stage.results is not None
        models = scores.matrices(stage.results, phrases, section=section)
        pairs = scores.paired_matrices(stage.results, phrases, section=section)
        if models or pairs:
            found.append((stage, models, pairs))
    return found


def _finals(run: RunView, phrases: Phrases) -> list[tuple[Markup, scores.Cell, str]]:
    """The last held-out accuracy of each stage that trained on preferences: where, figure, units."""
    rows: list[tuple[Markup, scores.Cell, str]] = []
    for stage in run.stages:
        final: tuple[float, Figure] | None = curves.final_accuracy(stage)
        if final:
            step, figure = final
            where = phrases.span("pref.at", stage=stage.name, step=Num(shown_number(step)))
            rows.append((where, scores.estimate_cell(phrases, figure), str(figure.n or "")))
    return rows


def _stage_card(stage: StageView, phrases: Phrases) -> dict[str, Any]:
    settings = list(_flat(stage.config))
    return {
        "stage": stage,
        "time": duration(stage.seconds, phrases),
        "steps": curves.steps_taken(stage),
        "settings": settings,
        "main": [(key, value) for key, value in settings if key in _KEY_SETTINGS and value != "–"],
    }


def _data(stage: StageView, phrases: Phrases) -> dict[str, Any]:
    """A stage's findings, worst first, and its figures."""
    assert stage.data is not None
    order = {"error": 0, "warning": 1, "info": 2}
    notes = sorted(stage.data.notes, key=lambda note: order.get(note.severity, 3))
    largest = {name: max((v for _, v in rows), default=0.0) or 1.0 for name, rows in stage.data.tables}
    tables = [
        (name, [(key, value, f"{max(0.0, min(100.0, 100 * value / largest[name])):.1f}") for key, value in rows[:40]])
        for name, rows in stage.data.tables
    ]
    return {
        "notes": notes[:MOST_NOTES],
        "more": max(0, len(notes) - MOST_NOTES),
        "facts": [(name, _fact(value, phrases)) for name, value in stage.data.facts if name not in _MINOR_FACTS],
        "minor": [(name, _fact(value, phrases)) for name, value in stage.data.facts if name in _MINOR_FACTS],
        "lengths": stage.data.lengths,
        "tables": tables,
    }


def _fact(value: str | float | Figure, phrases: Phrases) -> Markup:
    if isinstance(value, Figure):
        cell = scores.estimate_cell(phrases, value)
        return Markup("{} {}").format(numeral(cell.value), numeral(cell.interval))
    return numeral(shown_number(value)) if isinstance(value, float) else escape(printable(shorten(value, 400)[0]))


def duration(seconds: float | None, phrases: Phrases) -> Markup:
    """Seconds in words, "" when not known."""
    if seconds is None:
        return Markup("")
    if seconds < 60:
        return phrases.span("time.s", s=Num(shown_number(round(seconds, 1))))
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return phrases.span("time.m", m=minutes, s=rest)
    return phrases.span("time.h", h=minutes // 60, m=minutes % 60)


def _flat(values: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows, bounded in number and length."""
    for count, (key, value) in enumerate(values.items()):
        if count >= 200:
            yield f"{prefix}…", ""
            return
        if isinstance(value, Mapping) and depth < 4:
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and len(value) <= 20 and all(isinstance(item, str | int | float) for item in value):
        return shorten(", ".join(_value(item) for item in value), 300)[0]
    if isinstance(value, str | int):
        return shorten(str(value), 300)[0]
    try:
        return shorten(json.dumps(value, ensure_ascii=False, default=str), 300)[0]
    except (ValueError, RecursionError):
        return "…"


def _key(phrases: Phrases, kind: str, name: str) -> str:
    """The phrase that names it, "" where there is none."""
    key = f"{kind}.{name.lower()}"
    return key if phrases.has(key) else ""


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The content security policy: this page's style and script by their hashes, and nothing else at all."""
    hashes = {
        kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for kind, text in (("style", style), ("script", script))
    }
    return (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
