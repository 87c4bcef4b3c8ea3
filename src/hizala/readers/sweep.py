"""What a sweep found: the score of each value against its divergence from the start, read from the run directories."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hizala.core.stats.crossed import crossed_interval
from hizala.errors import RunError
from hizala.readers.report.frontier import page, shown, value_text, verdict
from hizala.records import Estimate

GOLD = "gold/total"
Rows = Mapping[str, Mapping[str, Any]]
Floats = NDArray[np.float64]
_KL = ("kl", "kl_k1", "kl_k3")
# With few seeds their interval would reach below what they can be.
_NEVER_NEGATIVE = ("kl", "kl_k3", "length", "truncated")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run's figures by prompt, of its last policy and of the start it was trained from.

    Attributes:
        prompts: their ids; one, where the metric is a single figure of the run.
        score, start: (P,) of the metric, NaN where not scored or not known of the start.
        kl, kl_k1, kl_k3: (P,) nats a response, the mean over its samples; `across` names their prompts.
        length, truncated: (P,) tokens a response; share cut at the limit.
    """

    prompts: tuple[str, ...]
    score: Floats
    start: Floats
    across: tuple[str, ...]
    kl: Floats
    kl_k1: Floats
    kl_k3: Floats
    length: Floats
    truncated: Floats


def conclude(home: Path) -> dict[str, Any]:
    """Read a sweep's runs, write results into its sweep.json and the page sweep.html, and return the record.

    A value is dominated by another one when that one's KL is no higher and the interval of the paired difference of
    the scores (same seeds, same prompts) lies above zero. Intervals are those of `core.stats.crossed`, each at 95 %
    by itself.

    Raises:
        RunError: there is no sweep, or none of its runs is finished.
    """
    record = read(home)
    found: list[dict[int, Measured]] = []
    combinations: list[Mapping[str, Any]] = []
    for run in record["runs"]:
        if run["values"] not in combinations:
            combinations.append(run["values"])
            found.append({})
        if run["status"] == "done":
            measured = measure(home / run["run"], record["metric"])
            if measured is not None:
                found[combinations.index(run["values"])][run["seed"]] = measured
    if not any(found):
        raise RunError("no run of the sweep is finished", where=str(home), fix="run the same hizala sweep again")
    values = [_value(v, runs, record) for v, runs in zip(combinations, found, strict=True)]
    for place, value in enumerate(values):
        value["dominated_by"] = _dominated(place, values, found)
    record["results"] = {
        "level": 0.95,
        "values": values,
        "start": _finite(crossed_interval(_table(next(filter(None, found)), "start"))),
        "notes": _notes(record, values),
    }
    _write(home / "sweep.json", json.dumps(record, ensure_ascii=False, indent=2) + "\n")
    _write(home / "sweep.html", page(record))
    return record


def read(home: Path) -> dict[str, Any]:
    """The record of a sweep. Raises RunError where there is none."""
    try:
        record: dict[str, Any] = json.loads((home / "sweep.json").read_text(encoding="utf-8"))
        return record
    except (OSError, ValueError) as error:
        raise RunError("this is not a sweep: it has no sweep.json", where=str(home)) from error


def measure(run: Path, metric: str) -> Measured | None:
    """The figures of one run, or None where its measurement is missing or damaged."""
    place = next(iter(sorted((run / "stages").glob("[0-9][0-9]-frontier*"), reverse=True)), None)
    if place is None:
        return None
    try:
        lines = (place / "samples.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        results = json.loads((place / "results.json").read_text(encoding="utf-8"))
        start, *_, last = results["models"]
        answers = [(row["responses"][start], row["responses"][last]) for row in rows]
        ids = tuple(str(row["id"]) for row in rows)
        moved = {key: np.array([np.mean(mine[key]) for _, mine in answers]) for key in _KL}
        scores = [np.array([_mean(_each(pair[i], "score")) for pair in answers]) for i in (1, 0)]
        length, cut = (np.array([_mean(_each(mine, key)) for _, mine in answers]) for key in ("tokens", "truncated"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    names = ids
    if metric != GOLD:
        names = ("",)
        scores = [np.array([_figure(run, model, metric)]) for model in (last, start)]
    return Measured(names, scores[0], scores[1], ids, length=length, truncated=cut, **moved)


def _each(answer: Mapping[str, Any], key: str) -> list[float | None]:
    """A value of every sample of a prompt."""
    return [sample[key] for sample in (answer, *answer.get("others", ()))]


def _mean(values: Sequence[float | None]) -> float:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _figure(run: Path, model: str, metric: str) -> float:
    """A metric of a model from the last evaluation of the run that has it."""
    for file in sorted((run / "stages").glob("*/results.json"), reverse=True):
        try:
            value = json.loads(file.read_text(encoding="utf-8"))["models"][model][metric]["value"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(value, int | float):
            return float(value)
    return math.nan


def _table(runs: Mapping[int, Measured], what: str, seeds: Sequence[int] | None = None) -> Floats:
    """(S, P) of a figure; where the seeds were not measured on the same prompts, (S, 1) of their means."""
    chosen = [runs[seed] for seed in (sorted(runs) if seeds is None else seeds)]
    names = [one.prompts if what in ("score", "start", "gain") else one.across for one in chosen]
    columns = [one.score - one.start if what == "gain" else getattr(one, what) for one in chosen]
    if all(sorted(other) == sorted(names[0]) for other in names):
        order = [[other.index(name) for name in names[0]] for other in names]
        return np.array([column[places] for column, places in zip(columns, order, strict=True)])
    return np.array([[np.nanmean(column)] for column in columns])


def _value(values: Mapping[str, Any], runs: Mapping[int, Measured], record: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one combination of values over its finished seeds."""
    failed = [run for run in record["runs"] if run["values"] == values and run["status"] == "failed"]
    told: dict[str, Any] = {"values": dict(values), "seeds": sorted(runs), "failed": len(failed)}
    for name in ("score", "gain", *_KL, "length", "truncated"):
        told[name] = _finite(crossed_interval(_table(runs, name))) if runs else None
        if told[name] and name in _NEVER_NEGATIVE and told[name]["low"] is not None:
            told[name]["low"] = max(told[name]["low"], 0.0)
    return told


def _dominated(
    place: int, values: Sequence[Mapping[str, Any]], found: Sequence[Mapping[int, Measured]]
) -> list[dict[str, Any]]:
    """The values that are no farther from the start and surely score higher, with the difference."""
    mine, better = values[place], []
    for other, runs in zip(values, found, strict=True):
        seeds = sorted(set(runs) & set(found[place]))
        if other is mine or not seeds or other["kl"]["value"] > mine["kl"]["value"]:
            continue
        here, there = _table(found[place], "score", seeds), _table(runs, "score", seeds)
        if here.shape != there.shape:
            continue
        difference = crossed_interval(there - here)
        if difference.low > 0:
            better.append({"values": other["values"], "difference": _finite(difference)})
    return better


def _notes(record: Mapping[str, Any], values: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if len(record["seeds"]) == 1:
        notes.append("one seed: the intervals hold for this seed and say nothing of the spread between seeds")
    missing = sum(run["status"] != "done" for run in record["runs"])
    if missing:
        notes.append(f"{missing} of {len(record['runs'])} runs failed or are not finished")
    known = [value for value in values if value["kl"] is not None]
    if any((value["truncated"]["value"] or 0) > 0.05 for value in known):
        notes.append("more than 5 % of some value's responses were cut at the token limit: their KL is a lower bound")
    if any(_apart(value["kl"], value["kl_k3"]) for value in known):
        notes.append(
            "for some value the intervals of the two estimates of the KL (k1, k3) do not meet: take more samples"
        )
    if len(values) > 2:
        notes.append("each interval is at 95 % by itself; with many values a few lie apart by chance")
    return notes


def _apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    bounds = [a["low"], a["high"], b["low"], b["high"]]
    return None not in bounds and (a["low"] > b["high"] or b["low"] > a["high"])


def _finite(estimate: Estimate) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(estimate).items()}


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"cannot write: {error.strerror}", where=str(path), fix="free some space") from error


def render(record: Mapping[str, Any]) -> None:
    """Print the frontier for people."""
    console = Console()
    results = record["results"]
    title = f"{record['name']}: {record['metric']} against KL from the start (start: {shown(results['start'])})"
    table = Table(title=title, title_justify="left")
    for column in (*record["parameters"], f"gain in {record['metric']}", "KL, nats a response", "seeds", "verdict"):
        table.add_column(column, overflow="fold")
    order = sorted(results["values"], key=lambda v: math.inf if v["kl"] is None else v["kl"]["value"])
    for value in order:
        gain = value["gain"] if value["gain"] and value["gain"]["value"] is not None else value["score"]
        table.add_row(
            *(value_text(v) for v in value["values"].values()), shown(gain), shown(value["kl"]),
            str(len(value["seeds"])), verdict(value),
        )  # fmt: skip
    console.print(table)
    for note in results["notes"]:
        console.print(f"note: {note}", markup=False)
