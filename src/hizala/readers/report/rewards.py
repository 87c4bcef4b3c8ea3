"""The report's section on reward models: reliability, accuracy by bucket, over-optimisation, first wrong steps.

Of results.json, besides the figures of each model: details.reward {MODEL: {calibration {before, after: {bins: [{low,
high, n, predicted, observed: estimate}], brier, ece_by_chance {mean, q95}, pairs}}, buckets: [{by, name, low, high}],
first_error: [{task, answers, wrong, right, f1}]}} and details.best_of_n {KEY: {name, tasks, points: [{n, kl,
gold, proxy?}]}}, the name `ceiling` being the selection by gold. Every part is optional.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from hizala.readers.report.charts import Point, Series, line_chart
from hizala.readers.report.curves import Chart
from hizala.readers.report.scores import (
    Cell,
    Matrix,
    figure_cell,
    is_reward,
    matrices,
    matrix_of,
    paired_matrices,
    slots,
)
from hizala.readers.report.text import Num, Phrases, fixed, number
from hizala.readers.report.values import figure, word
from hizala.readers.report.values import number as read
from hizala.readers.report.views import Figure, Results, StageView

CEILING = "ceiling"
MOST_MODELS = 12
# The tables of figures and the measures in each, by how their names begin; the first that fits takes a measure.
_TABLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("process", ("step_", "first_error")),
    ("bias", ("length_", "flourish", "padding", "gold_correlation")),
    ("calibration", ("nll", "ece", "brier", "temperature")),
    ("lists", ("kendall", "ndcg", "top1")),
    ("quality", ("",)),
)
_BRIER = ("score", "reliability", "resolution", "within")


@dataclass(frozen=True, slots=True)
class BrierRow:
    """Calibration of one model's scores, as trained or scaled: the parts of the Brier score, and chance."""

    slot: str
    model: Markup
    state: Markup
    pairs: str
    parts: tuple[str, ...]
    chance: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """First-error detection of one model in one task."""

    slot: str
    model: Markup
    task: Markup
    answers: str
    figures: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Rewards:
    """What an evaluation stage found about reward models."""

    stage: StageView
    tables: list[Matrix]
    pairs: list[Matrix]
    reliability: list[Chart]
    brier: list[BrierRow]
    buckets: list[Matrix]
    curves: list[Chart]
    curve_tables: list[Matrix]
    most: str
    steps: list[StepRow]


def sections(stages: Sequence[StageView], phrases: Phrases) -> list[Rewards]:
    """The evaluation stages that measured reward models."""
    found = []
    for stage in stages:
        if stage.results is None or not any(is_reward(m) for t in stage.results.models.values() for m in t):
            continue
        found.append(_section(stage, stage.results, phrases))
    return found


def _section(stage: StageView, results: Results, phrases: Phrases) -> Rewards:
    best = Results({m: {k: f for k, f in t.items() if k.startswith("best_of_n/")} for m, t in results.models.items()})
    colours = slots(tuple(results.models))
    told = _models(results.details.get("reward"))
    curves, most = _curves(_models(results.details.get("best_of_n")), colours, phrases)
    kept = [p for p in results.paired if is_reward(p.metric) and not p.metric.startswith("reward/accuracy.")]
    return Rewards(
        stage,
        _tables(results, colours, phrases),
        paired_matrices(Results(results.models, tuple(kept)), phrases, section="reward"),
        [c for m, d in told.items() if (c := _reliability(m, d, results, phrases)) is not None],
        [row for m, d in told.items() for row in _brier(m, d, colours, phrases)],
        _buckets(results, told, colours, phrases),
        curves,
        matrices(best, phrases, section="reward"),
        most,
        [row for m, d in told.items() for row in _steps(m, d, colours, phrases)],
    )


def _tables(results: Results, colours: Mapping[str, str], phrases: Phrases) -> list[Matrix]:
    """The figures of held-out data, a table for each kind of question; a model stands only where it has figures."""
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for table in results.models.values() for name in table):
        suite, _, rest = name.partition("/")
        if suite == "reward" and not rest.startswith("accuracy."):
            kind = next(kind for kind, heads in _TABLES if rest.startswith(heads))
            kinds.setdefault(kind, []).append(name)
    found = []
    for kind, _ in reversed(_TABLES):
        names = sorted(kinds.get(kind, ()), key=lambda name: phrases.order("metric", name.partition("/")[2]))
        models = [m for m, table in results.models.items() if any(name in table for name in names)]
        rows = {name: [results.models[m].get(name) for m in models] for name in names}
        if rows:
            columns = tuple((colours[m], phrases.name("model", m)) for m in models)
            found.append(matrix_of(phrases, phrases.span(f"rewards.table.{kind}"), rows, columns))
    return found


def _models(value: object) -> dict[str, Mapping[str, Any]]:
    """Model -> what is told of it; whatever is not an object is left out."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    return {word(m): told for m, told in pairs if isinstance(told, Mapping)}


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _reliability(model: str, told: Mapping[str, Any], results: Results, phrases: Phrases) -> Chart | None:
    """The reliability diagram of one model: as trained, and with the fitted temperature."""
    calibration = told.get("calibration")
    if not isinstance(calibration, Mapping):
        return None
    series = [Series((Point(0.5, 0.5), Point(1.0, 1.0)), "ideal")]
    legend = [("ideal", phrases.span("rewards.ideal"))]
    for key, slot in (("before", "held"), ("after", "chosen")):
        part = calibration.get(key)
        points = []
        for row in _rows(part.get("bins")) if isinstance(part, Mapping) else ():
            seen = figure(row.get("observed"))
            x = read(row.get("predicted"))
            if seen is not None and math.isfinite(x):
                points.append(Point(x, seen.value, seen.low, seen.high) if seen.bounded else Point(x, seen.value))
        if points:
            series.append(Series(tuple(sorted(points, key=lambda p: p.x)), slot, dots=True))
            legend.append((slot, phrases.span(f"rewards.{key}")))
    if len(series) == 1:
        return None
    table = results.models.get(model, {})
    errors = {
        key: Num(fixed(table[name].value)) if name in table else "–"
        for key, name in (("before", "reward/ece"), ("after", "reward/ece_scaled"))
    }
    shown = phrases.known("model", model)
    attributes = Markup('role="img" tabindex="0" ') + phrases.attribute(
        "aria-label", "rewards.reliability.alt", model=shown, **errors
    )
    title = phrases.span("rewards.reliability", model=shown)
    svg = line_chart(series, attributes)
    return Chart(title, phrases.span("rewards.unit.share"), svg, tuple(legend), 0, "rewards.confidence")


def _brier(model: str, told: Mapping[str, Any], colours: Mapping[str, str], phrases: Phrases) -> list[BrierRow]:
    calibration = told.get("calibration")
    rows = []
    for key in ("before", "after"):
        part = calibration.get(key) if isinstance(calibration, Mapping) else None
        parts = part.get("brier") if isinstance(part, Mapping) else None
        if not isinstance(part, Mapping) or not isinstance(parts, Mapping):
            continue
        given = part.get("ece_by_chance")
        chance = given if isinstance(given, Mapping) else {}
        rows.append(
            BrierRow(
                colours.get(model, "m0"),
                phrases.name("model", model),
                phrases.span(f"rewards.{key}"),
                number(read(part.get("pairs"))),
                tuple(fixed(read(parts.get(name)), 4) for name in _BRIER),
                f"{fixed(read(chance.get('mean')))} ({fixed(read(chance.get('q95')))})",
            )
        )
    return rows


def _buckets(
    results: Results, told: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str], phrases: Phrases
) -> list[Matrix]:
    """Accuracy by bucket: a table for each way of sorting the pairs."""
    kinds: dict[str, dict[str, None]] = {}
    for details in told.values():
        for row in _rows(details.get("buckets")):
            kinds.setdefault(word(row.get("by")), {})[word(row.get("name"))] = None
    models = [m for m in results.models if any(n.startswith("reward/accuracy") for n in results.models[m])]
    columns = tuple((colours[m], phrases.name("model", m)) for m in models)
    found = []
    for kind in ("source", "margin", "longer", "length"):
        rows: dict[str, Sequence[Figure | None]] = {}
        for name in kinds.get(kind, {}):
            metric = f"reward/accuracy.{name}"
            figures = [results.models[m].get(metric) for m in models]
            if any(f is not None for f in figures):
                rows[f"bucket/{name}"] = figures
        if rows:
            found.append(matrix_of(phrases, phrases.span(f"buckets.{kind}"), rows, columns))
    return found


def _curves(
    told: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str], phrases: Phrases
) -> tuple[list[Chart], str]:
    """Gold and proxy of best-of-n against KL, a chart for each set of tasks, and the largest n."""
    most = max((n for d in told.values() for n in _numbers(d, "n")), default=0.0)
    by_tasks: dict[str, dict[str, Mapping[str, Any]]] = {}
    for details in told.values():
        by_tasks.setdefault(word(details.get("tasks")) or "all", {})[word(details.get("name"))] = details
    charts = []
    for tasks, curves in by_tasks.items():
        for kind, unit in (("gold", "kl"), ("proxy", "sd")):
            chart = _curve_chart(tasks, kind, curves, colours, phrases)
            if chart is not None:
                charts.append(replace(chart, unit=phrases.span(f"rewards.unit.{unit}")))
    return charts, number(most)


def _curve_chart(
    tasks: str, kind: str, curves: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str], phrases: Phrases
) -> Chart | None:
    """One chart with a line for each reward model; the ceiling stands first."""
    series, legend = [], []
    order = sorted(curves, key=lambda name: name != CEILING)[:MOST_MODELS]
    lines = {name: points for name in order if (points := _points(curves[name], kind))}
    if not lines:
        return None
    for name, points in lines.items():
        slot = "ideal" if name == CEILING else colours.get(name, "m0")
        series.append(Series(points, slot))
        legend.append((slot, phrases.span("rewards.ceiling") if name == CEILING else phrases.name("model", name)))
    main = next((name for name in lines if name != CEILING), CEILING)
    words = {
        "name": phrases.known("rewards.curve", kind),
        "model": phrases.known("rewards" if main == CEILING else "model", main),
        "first": Num(lines[main][0].text),
        "last": Num(lines[main][-1].text),
        "n": Num(number(max(_numbers(curves[main], "n"), default=0.0))),
    }
    attributes = Markup('role="img" tabindex="0" ') + phrases.attribute("aria-label", "rewards.curve.alt", **words)
    title = phrases.span(f"rewards.curve.{kind}")
    if tasks != "all":
        title = Markup(" · ").join([title, phrases.name("metric", tasks)])
    return Chart(title, Markup(""), line_chart(series, attributes), tuple(legend), 0, "rewards.curve.at")


def _numbers(details: Mapping[str, Any], key: str) -> list[float]:
    return [n for row in _rows(details.get("points")) if math.isfinite(n := read(row.get(key)))]


def _points(details: Mapping[str, Any], kind: str) -> tuple[Point, ...]:
    points = []
    for row in _rows(details.get("points")):
        seen, x = figure(row.get(kind)), read(row.get("kl"))
        if seen is not None and math.isfinite(x) and math.isfinite(seen.value):
            points.append(Point(x, seen.value, seen.low, seen.high) if seen.bounded else Point(x, seen.value))
    return tuple(sorted(points, key=lambda p: p.x))


def _steps(model: str, told: Mapping[str, Any], colours: Mapping[str, str], phrases: Phrases) -> list[StepRow]:
    return [
        StepRow(
            colours.get(model, "m0"),
            phrases.name("model", model),
            phrases.name("metric", word(row.get("task"))),
            number(read(row.get("answers"))),
            tuple(figure_cell(phrases, Figure(read(row.get(key)))) for key in ("wrong", "right", "f1")),
        )
        for row in _rows(told.get("first_error"))
    ]
