"""From a stage's series to its charts: which measures stand on one chart, under which name and unit."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hizala.readers.report.charts import Point, Series, line_chart
from hizala.readers.report.text import Num, Phrases, clean, fixed, interval, number
from hizala.readers.report.views import Figure, StageView

# Measures that would repeat what another chart or the text says.
_SILENT = ("tokens", "skipped", "seconds", "epoch")


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of chart: the last parts of the metric names that belong to it, its phrase and its unit's."""

    key: str
    parts: tuple[str, ...]
    unit: str = ""


# The order in which charts stand.
FAMILIES: tuple[Family, ...] = (
    Family("loss", ("loss",), "nats"),
    Family("margin", ("margin",)),
    Family("accuracy", ("accuracy",)),
    Family("logratio", ("chosen_logratio", "rejected_logratio"), "nats"),
    Family("kl", ("kl",), "nats_token"),
    Family("grad_norm", ("grad_norm",)),
    Family("lr", ("lr", "learning_rate")),
    Family("speed", ("tokens_per_second",)),
    Family("memory", ("peak_memory_mb",), "mb"),
)


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its caption: what `templates` need to place it; `read` is the phrase of a place along x."""

    title: Markup
    unit: Markup
    svg: Markup
    legend: tuple[tuple[str, Markup], ...]
    lost: int
    read: str = "step"


@dataclass(frozen=True, slots=True)
class Line:
    """One series before it is drawn; `held` says that it was measured on held-out data."""

    name: str
    points: tuple[Point, ...]
    held: bool


def stage_lines(stage: StageView) -> list[Line]:
    """Every series of a stage: of training, of speed, held out."""
    train = {**stage.train, **stage.perf}
    lines = [Line(name, tuple(Point(x, y) for x, y in points), False) for name, points in train.items()]
    return lines + [Line(name, tuple(_point(x, f) for x, f in points), True) for name, points in stage.held_out.items()]


def stage_charts(stage: StageView, phrases: Phrases, without: Collection[str] = ()) -> tuple[list[Chart], list[Chart]]:
    """The charts of a stage: the well-known ones in order, and one for each other measure.

    Args:
        stage: with series.
        phrases: of the page.
        without: measures that another section shows.
    """
    lines = [line for line in stage_lines(stage) if line.name not in without]
    left = [line for line in lines if _last(line.name) not in _SILENT]
    known = []
    for family in FAMILIES:
        mine = [line for line in left if _last(line.name) in family.parts]
        left = [line for line in left if line not in mine]
        for group in _together(family, mine):
            known.append(_chart(phrases, group, family))
    # A stage of one loss writes it under several names; the others say nothing new.
    drawn = {(line.held, line.points) for line in lines if line not in left}
    left = [line for line in left if (line.held, line.points) not in drawn]
    names = list(dict.fromkeys(line.name for line in left))
    return known, [_chart(phrases, [line for line in left if line.name == name], None) for name in names]


def final_accuracy(stage: StageView) -> tuple[float, Figure] | None:
    """The last held-out preference accuracy of a training stage with its step; that of single steps is none."""
    for name, points in stage.held_out.items():
        if _last(name) == "accuracy" and points and not name.startswith("step_"):
            return points[-1]
    return None


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _point(x: float, figure: Figure) -> Point:
    return Point(x, figure.value, figure.low, figure.high) if figure.bounded else Point(x, figure.value)


def _together(family: Family, lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of a family by chart: one chart for each metric name, both log-ratios on one."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        owner = line.name.rsplit("/", 1)[0] if family.key == "logratio" else line.name
        by_name.setdefault(owner, []).append(line)
    # The whole loss first: a loss equal to it joins its chart.
    groups = [by_name[name] for name in sorted(by_name, key=lambda name: name != "loss")]
    if family.key != "loss" or len(groups) < 2:
        return groups
    # `loss` and the only loss it is made of are one line; drawn twice they would suggest two.
    kept: list[list[Line]] = []
    for group in groups:
        points = [line.points for line in group if not line.held]
        same = next((k for k in kept if [line.points for line in k if not line.held] == points), None)
        if same is None:
            kept.append(group)
        else:
            same.extend(line for line in group if line.held and not any(each.held for each in same))
    return kept


def _chart(phrases: Phrases, lines: Sequence[Line], family: Family | None) -> Chart:
    ratio = family is not None and family.key == "logratio"
    drawn = sorted(lines, key=lambda line: line.held)
    series, legend = [], []
    for line in drawn:
        side = _last(line.name).removesuffix("_logratio") if ratio else ""
        slot = f"{side or ('held' if line.held else 'train')}{' heldout' if side and line.held else ''}"
        series.append(Series(line.points, slot, dots=line.held))
        key = f"legend.{side}.held" if side and line.held else f"legend.{side or ('held' if line.held else 'train')}"
        legend.append((slot, phrases.span(key)))
    if len(legend) == 1 and legend[0][0] == "train":
        legend = []
    title = phrases.span(f"chart.{family.key}") if family else Markup("<code>{}</code>").format(clean(lines[0].name))
    if family and not ratio and "/" in lines[0].name and family.key == "loss":
        title += Markup(" <code>{}</code>").format(clean(lines[0].name.rsplit("/", 1)[0]))
    unit = phrases.span(f"unit.{family.unit}") if family and family.unit else Markup("")
    shown = phrases.known("chart", family.key) if family else clean(lines[0].name)
    lost = sum(not math.isfinite(p.y) for line in lines for p in line.points)
    svg = line_chart(series, alternative(phrases, shown, drawn), zero=ratio)
    return Chart(title, unit, svg, tuple(legend), lost)


def alternative(phrases: Phrases, shown: str, lines: Sequence[Line]) -> Markup:
    """The text alternative of what is `shown`: where the first line starts, ends, and its extremes."""
    main = lines[0]
    finite = [p for p in main.points if math.isfinite(p.y)]
    role = Markup('role="img" tabindex="0" ')
    if not finite:
        return role + phrases.attribute("aria-label", "curves.alt.none", name=shown)
    first, last = finite[0], finite[-1]
    values = {
        "name": shown,
        "from": Num(number(first.x)),
        "first": Num(number(first.y)),
        "to": Num(number(last.x)),
        "last": Num(number(last.y)),
        "low": Num(number(min(p.y for p in finite))),
        "high": Num(number(max(p.y for p in finite))),
    }
    held = next((p for line in lines if line.held for p in reversed(line.points) if math.isfinite(p.y)), None)
    if held is None or main.held:
        return role + phrases.attribute("aria-label", "curves.alt", **values)
    shown_held = f"{fixed(held.y)} {interval(held.low, held.high)}".strip()
    return role + phrases.attribute("aria-label", "curves.alt.held", **values, held=Num(shown_held))


def steps_taken(stage: StageView) -> int:
    """Optimiser steps a stage has written."""
    return int(max((points[-1][0] for points in stage.train.values() if points), default=0.0))
