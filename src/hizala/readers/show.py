"""The state of a run, read from its directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hizala.errors import RunError


def summary(run: Path) -> dict[str, Any]:
    """State, last metrics and figures of every stage.

    Args:
        run: a run directory.
    Raises:
        RunError: it is not one.
    """
    if not (run / "ledger.jsonl").is_file():
        raise RunError("this is not a run directory: it has no ledger.jsonl", where=str(run))
    stages = [_stage(place) for place in sorted((run / "stages").glob("[0-9][0-9]-*"))]
    return {"run": run.name, "stages": stages, "report": (run / "report.html").is_file()}


def _stage(place: Path) -> dict[str, Any]:
    state = _json(place / "state.json") or {}
    metrics = _lines(place / "metrics.jsonl")
    train = next((row for row in reversed(metrics) if row.get("split") == "train"), None)
    held = next((row for row in reversed(metrics) if row.get("split") == "eval"), None)
    results = _json(place / "results.json") or {}
    return {
        "name": place.name.partition("-")[2],
        "kind": state.get("kind"),
        "status": state.get("status", "unknown"),
        "reason": state.get("reason"),
        "seconds": state.get("seconds"),
        "step": train["step"] if train else None,
        "train": _figures(train),
        "held_out": _figures(held),
        "models": results.get("models", {}),
        "paired": results.get("paired", []),
    }


def _figures(row: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (row or {}).items() if key not in ("step", "split")}


def render(state: dict[str, Any]) -> None:
    """Print a summary for people."""
    console = Console()
    table = Table(title=f"run {state['run']}", title_justify="left")
    for column in ("stage", "status", "step", "seconds", "last held-out figures"):
        table.add_column(column, overflow="fold")
    for stage in state["stages"]:
        status = stage["status"] + (f": {stage['reason']}" if stage["reason"] else "")
        held = "\n".join(f"{name} {_estimate(value)}" for name, value in stage["held_out"].items())
        table.add_row(stage["name"], status, _text(stage["step"]), _text(stage["seconds"]), held)
    console.print(table)
    for stage in state["stages"]:
        if stage["models"]:
            _scores(console, stage)


def _scores(console: Console, stage: dict[str, Any]) -> None:
    models = stage["models"]
    known = dict.fromkeys(metric for figures in models.values() for metric in figures)
    names = sorted(known, key=lambda name: not name.endswith("/total"))
    table = Table(title=f"{stage['name']} (95 % intervals)", title_justify="left")
    for column in ("metric", *models):
        table.add_column(column)
    for metric in names:
        table.add_row(metric, *[_estimate(figures.get(metric)) for figures in models.values()])
    console.print(table)
    if stage["paired"]:
        paired = Table(title="paired differences", title_justify="left")
        for column in ("from", "to", "metric", "difference"):
            paired.add_column(column)
        for row in sorted(stage["paired"], key=lambda row: not row["metric"].endswith("/total")):
            paired.add_row(row["a"], row["b"], row["metric"], _estimate(row, signed=True))
        console.print(paired)


def _estimate(value: Any, signed: bool = False) -> str:
    if value is None:
        return "–"
    sign = "+" if signed else ""
    if isinstance(value, dict):
        if value.get("value") is None:
            return "not scored"
        return f"{value['value']:{sign}.3f} [{value['low']:{sign}.3f}, {value['high']:{sign}.3f}]"
    return f"{value:.4g}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # the last line of a run still being written
    return rows
