"""A run directory as plain records. Whatever is missing, torn or odd becomes a note, never an exception.

Read, each file being optional and every field in it too:

RUN/recipe.yaml         text, shown as given
RUN/resolved.yaml       name, model, seed, threads, stages: [{KIND: {name?, …settings}}]
RUN/environment.json    any nesting of plain values
RUN/ledger.jsonl        through `hizala.ledger`: `verify`, and of `run.start` and `run.done` the times
RUN/ledger.lock         held by a process: the run is going on
RUN/stages/NN-NAME/     one stage; NN counts from 1 along the recipe
  state.json            status "running" | "done" | "failed" | "interrupted", kind, reason, seconds
  done.json             seconds, outputs.model {name, parent, beta}; being there means done
  config.json           settings
  findings.json         a data report (see `findings`), or a list of {kind, severity, message, where, count}
  metrics.jsonl         {"step": n, "split": "train"|"eval", METRIC: number | {"value", "low", "high", "n"}}
  perf.jsonl            {"step": n, FIGURE: number}
  results.json          models: {NAME: {METRIC: estimate}}, paired: [{a, b, metric, …estimate of b - a}]
                        estimate: {value, low, high, n, unscored, method, level}; METRIC is "suite/part";
                        details: see `rewards`
  samples.jsonl         of online RL: see `rollouts`; else
                        {prompt, task, lang, gold: {…}, responses: {MODEL: {text, score, reason?, truncated?, others?}}}
"""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hizala import ledger
from hizala.errors import HizalaError, RunError
from hizala.readers.report import rollouts
from hizala.readers.report.findings import data_view
from hizala.readers.report.values import figure, number, word
from hizala.readers.report.views import (
    Answer,
    Figure,
    LedgerView,
    Paired,
    Results,
    Rollouts,
    RunView,
    SampleRow,
    StageView,
)

MAX_TEXT = 2_000_000  # bytes read of a recipe or another small file
MAX_ROWS = 1_000_000


def load(run_dir: Path) -> RunView:
    """Read a run directory.

    Raises:
        RunError: there is no such directory, or nothing in it is of a run.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise RunError("no such run directory", where=str(run_dir), fix="name the directory of a run")
    if not any((run_dir / name).exists() for name in ("ledger.jsonl", "resolved.yaml", "recipe.yaml", "stages")):
        raise RunError("the directory is not a Hizala run", where=str(run_dir), fix="name the directory of a run")
    reader = _Reader(run_dir)
    resolved = reader.text(run_dir / "resolved.yaml")
    recipe = reader.text(run_dir / "recipe.yaml")
    plan = reader.plan(resolved or recipe)
    stages = _stages(reader, plan, held(run_dir))
    started, ended = _times(run_dir)
    return RunView(
        name=word(plan.get("name")) or run_dir.resolve().name,
        model=word(plan.get("model")),
        seed=word(plan.get("seed")),
        status=_overall(stages),
        stages=stages,
        ledger=_ledger(run_dir),
        recipe=recipe,
        resolved=resolved,
        environment=reader.mapping(run_dir / "environment.json"),
        started=started,
        ended=ended,
        problems=tuple(reader.problems),
    )


class _Reader:
    """Lenient reading; what went wrong is noted in `problems`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def note(self, path: Path, problem: str) -> None:
        self.problems.append(f"{path.relative_to(self.root).as_posix()}: {problem}")

    def text(self, path: Path) -> str:
        """The file's text, "" when there is none."""
        if not path.is_file():
            return ""
        try:
            with path.open("rb") as handle:
                raw = handle.read(MAX_TEXT + 1)
        except OSError as error:
            self.note(path, error.strerror or "cannot be read")
            return ""
        if len(raw) > MAX_TEXT:
            self.note(path, f"only its first {MAX_TEXT:,} bytes are read")
        return raw[:MAX_TEXT].decode("utf-8", "replace")

    def json(self, path: Path) -> Any:
        """The JSON value of a file, None when there is none."""
        text = self.text(path)
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self.note(path, "not readable as JSON")
            return None

    def mapping(self, path: Path) -> dict[str, Any]:
        """The JSON object of a file, {} when there is none."""
        value = self.json(path)
        if value is not None and not isinstance(value, dict):
            self.note(path, "not a JSON object")
        return value if isinstance(value, dict) else {}

    def rows(self, path: Path) -> Iterator[dict[str, Any]]:
        """The JSON objects of a file of lines; broken lines are counted."""
        if not path.is_file():
            return
        broken = 0
        try:
            with path.open("r", encoding="utf-8", errors="replace") as handle:
                for count, line in enumerate(handle):
                    if count >= MAX_ROWS:
                        self.note(path, f"only its first {MAX_ROWS:,} lines are read")
                        break
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError):
                        row = None
                    if isinstance(row, dict):
                        yield row
                    elif line.strip():
                        broken += 1
        except OSError as error:
            self.note(path, error.strerror or "cannot be read")
        if broken:
            self.note(path, f"{broken} lines not readable as JSON objects")

    def rollouts(self, path: Path) -> Rollouts | None:
        """What a stage of online RL sampled, None for a file of another kind."""
        try:
            return rollouts.read(path)
        except OSError as error:
            self.note(path, error.strerror or "cannot be read")
            return None

    def plan(self, text: str) -> dict[str, Any]:
        """The recipe's values."""
        try:
            value = yaml.safe_load(text) if text else {}
        except (yaml.YAMLError, ValueError, RecursionError):
            self.problems.append("the recipe is not readable as YAML")
            return {}
        return value if isinstance(value, dict) else {}


def _stages(reader: _Reader, plan: Mapping[str, Any], live: bool) -> tuple[StageView, ...]:
    planned = _planned(plan)
    home = reader.root / "stages"
    places: dict[int, Path] = {}
    for place in sorted(home.iterdir()) if home.is_dir() else ():
        head, _, _ = place.name.partition("-")
        if place.is_dir() and head.isdigit():
            places[int(head)] = place
    views = []
    for number_ in sorted({*places, *range(1, len(planned) + 1)}):
        kind, name, config = planned[number_ - 1] if 0 < number_ <= len(planned) else ("", "", {})
        if number_ in places:
            views.append(_stage(reader, number_, places[number_], kind, config, live))
        else:
            views.append(StageView(number_, name, kind, "pending", config=config))
    return tuple(views)


def _planned(plan: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(kind, name, settings) of each stage the recipe lists."""
    rows = plan.get("stages")
    planned: list[tuple[str, str, Mapping[str, Any]]] = []
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row:
            kind = next(iter(row))
            config = row[kind] if isinstance(row[kind], Mapping) else {}
            planned.append((word(kind), word(config.get("name") or kind), config))
        else:
            planned.append((word(row), word(row), {}))
    return planned


def _stage(reader: _Reader, number_: int, place: Path, kind: str, planned: Mapping[str, Any], live: bool) -> StageView:
    state, done = reader.mapping(place / "state.json"), reader.mapping(place / "done.json")
    status = "done" if done else word(state.get("status")) or "running"
    if status == "running" and not live:
        status = "interrupted"
    outputs = done.get("outputs")
    model = outputs.get("model") if isinstance(outputs, dict) else None
    model = model if isinstance(model, dict) else {}
    seconds = number(done.get("seconds", state.get("seconds")))
    train, held_out = _metrics(reader.rows(place / "metrics.jsonl"))
    findings = reader.json(place / "findings.json")
    sampled = reader.rollouts(place / "samples.jsonl")
    return StageView(
        number_,
        place.name.partition("-")[2],
        word(state.get("kind")) or kind or place.name.partition("-")[2],
        status,
        reason=word(state.get("reason"), 2_000) if status != "done" else "",
        seconds=seconds if math.isfinite(seconds) else None,
        config=reader.mapping(place / "config.json") or planned,
        model=word(model.get("name")),
        parent=word(model.get("parent")),
        data=data_view(findings) if findings else None,
        train=train,
        held_out=held_out,
        perf=_metrics(reader.rows(place / "perf.jsonl"))[0],
        results=_results(reader.mapping(place / "results.json")),
        samples=() if sampled else tuple(_samples(reader.rows(place / "samples.jsonl"))),
        rollouts=sampled,
        counts=rollouts.counts(findings),
    )


def _metrics(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, tuple[tuple[float, float], ...]], dict[str, tuple[tuple[float, Figure], ...]]]:
    """Training and held-out series by metric. A step written twice counts as it was written last."""
    train: dict[str, dict[float, float]] = {}
    held_out: dict[str, dict[float, Figure]] = {}
    for row in rows:
        step = number(row.get("step"))
        if not math.isfinite(step):
            continue
        evaluated = row.get("split") == "eval"
        for name, value in row.items():
            if name in ("step", "split"):
                continue
            key = word(name)
            # A number that is not finite may stand as null or as text ("NaN") in strict JSON.
            read = figure(value) or (Figure(math.nan) if value is None or isinstance(value, str) else None)
            if read is None:
                continue
            if evaluated:
                held_out.setdefault(key, {})[step] = read
            else:
                train.setdefault(key, {})[step] = read.value
    return (
        {name: tuple(sorted(points.items())) for name, points in train.items()},
        {name: tuple(sorted(points.items(), key=lambda item: item[0])) for name, points in held_out.items()},
    )


def _results(value: Mapping[str, Any]) -> Results | None:
    models = value.get("models")
    if not isinstance(models, Mapping):
        return None
    tables = {
        word(model): {word(name): read for name, given in metrics.items() if (read := figure(given)) is not None}
        for model, metrics in models.items()
        if isinstance(metrics, Mapping)
    }
    rows = value.get("paired")
    paired = []
    for row in rows if isinstance(rows, list) else ():
        read = figure(row) if isinstance(row, Mapping) else None
        if read is not None:
            paired.append(Paired(word(row.get("a")), word(row.get("b")), word(row.get("metric")), read))
    details = value.get("details")
    return Results(tables, tuple(paired), details if isinstance(details, Mapping) else {})


def _samples(rows: Iterable[Mapping[str, Any]]) -> Iterator[SampleRow]:
    for row in rows:
        given = row.get("responses")
        answers = {}
        for model, answer in given.items() if isinstance(given, Mapping) else ():
            entry = answer if isinstance(answer, Mapping) else {"text": answer}
            score = number(entry.get("score"))
            others = entry.get("others")
            answers[word(model)] = Answer(
                word(entry.get("text"), MAX_TEXT),
                None if math.isnan(score) else score,
                word(entry.get("reason"), 2_000),
                entry.get("truncated") is True,
                len(others) if isinstance(others, list) else 0,
            )
        gold = row.get("gold")
        facts = gold.items() if isinstance(gold, Mapping) else ()
        yield SampleRow(
            word(row.get("prompt"), MAX_TEXT),
            word(row.get("task")),
            word(row.get("lang")),
            tuple((word(k), v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for k, v in facts),
            answers,
        )


def held(run_dir: Path) -> bool:
    """Whether a process is writing to the run: it holds a lock, and a lock dies with its process."""
    for name in (ledger.LOCK, ".lock"):
        try:
            with (run_dir / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            continue
    return False


def _overall(stages: tuple[StageView, ...]) -> str:
    states = [stage.status for stage in stages]
    if not states:
        return "empty"
    for status in ("failed", "running", "interrupted"):
        if status in states:
            return status
    return "done" if all(state == "done" for state in states) else "interrupted"


def _ledger(run_dir: Path) -> LedgerView:
    try:
        found = ledger.verify(run_dir)
    except RunError:
        return LedgerView(None)
    except (HizalaError, OSError) as error:
        return LedgerView(False, problems=(str(error),))
    return LedgerView(found.ok, found.entries, found.head, found.files, found.problems, found.unfinished)


def _times(run_dir: Path) -> tuple[str, str]:
    """When the run began, and when its last entry was written."""
    try:
        entries = ledger.read(run_dir)
    except (HizalaError, OSError):
        return "", ""
    return (entries[0].time, entries[-1].time) if entries else ("", "")
