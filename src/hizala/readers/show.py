"""The state of a run, read from its directory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hizala.errors import RunError
from hizala.readers.report.load import held


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
    for stage in stages:
        if stage["status"] == "running" and not held(run):
            stage["status"] = "interrupted"
    return {"run": run.name, "stages": stages, "report": (run / "report.html").is_file()}


def _stage(place: Path) -> dict[str, Any]:
    state = _json(place / "state.json") or {}
    metrics = _lines(place / "metrics.jsonl")
    train = next((row for row in reversed(metrics) if row.get("split") == "train"), None)
    last = next((row for row in reversed(metrics) if row.get("split") == "eval"), None)
    results = _json(place / "results.json") or {}
    return {
        "name": place.name.partition("-")[2],
        "kind": state.get("kind"),
        "status": state.get("status", "unknown"),
        "reason": state.get("reason"),
        "seconds": state.get("seconds"),
        "step": train["step"] if train else None,
        "train": _figures(train),
        "held_out": _figures(last),
        "rewards": _rewards(metrics),
        "models": results.get("models", {}),
        "paired": results.get("paired", []),
    }


def _figures(row: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (row or {}).items() if key not in ("step", "split")}


def _rewards(metrics: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of a stage of online RL, reward -> its means over the first and the last tenth of the steps, and held out."""
    train = [row for row in metrics if row.get("split") == "train"]
    held = [row for row in metrics if row.get("split") == "eval"]
    names = dict.fromkeys(name for row in (*held[:1], *train) for name in row if name.startswith("reward/"))
    tenth = max(1, len(train) // 10)
    return {
        name.partition("/")[2]: {
            "train_first": _mean(train[:tenth], name),
            "train_last": _mean(train[-tenth:], name),
            "held_out_first": held[0].get(name) if held else None,
            "held_out_last": held[-1].get(name) if held else None,
            "steps": [row.get("step") for row in (held[0], held[-1])] if held else [],
        }
        for name in names
        if name != "reward/std"
    }


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    return math.fsum(values) / len(values) if values else None


def render(state: dict[str, Any]) -> None:
    """Print a summary for people."""
    console = Console()
    table = Table(title=f"run {state['run']}", title_justify="left")
    for column in ("stage", "status", "step", "seconds", "last held-out figures"):
        table.add_column(column, overflow="fold")
    for stage in state["stages"]:
        status = stage["status"] + (f": {stage['reason']}" if stage["reason"] else "")
        held = "\n".join(
            f"{name} {_estimate(value)}"
            for name, value in stage["held_out"].items()
            if name == "reward/mean" or not name.startswith("reward/")
        )
        table.add_row(stage["name"], status, _text(stage["step"]), _text(stage["seconds"]), held)
    console.print(table)
    for stage in state["stages"]:
        if stage["rewards"]:
            _learning(console, stage)
        if stage["models"]:
            _scores(console, stage)


def _learning(console: Console, stage: dict[str, Any]) -> None:
    """Rewards of a stage of online RL from its start to its end."""
    steps: list[Any] = next((row["steps"] for row in stage["rewards"].values()), [])
    table = Table(
        title=f"{stage['name']}: rewards, means of the first and last tenth of the steps",
        title_justify="left",
    )
    columns = ["reward", "start", "end", *(f"held out at {n}" for n in steps)]
    for column in columns:
        table.add_column(column)
    for name, row in stage["rewards"].items():
        told = [
            row["train_first"],
            row["train_last"],
            *((row["held_out_first"], row["held_out_last"]) if steps else ()),
        ]
        table.add_row("sum" if name == "mean" else name, *[_estimate(value) for value in told])
    console.print(table)


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
