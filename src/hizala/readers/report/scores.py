"""From evaluation results to tables with dots and whiskers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from hizala.readers.report.charts import Mark, whisker_axis, whisker_row, whisker_scale
from hizala.readers.report.text import Num, Phrases, fixed, interval
from hizala.readers.report.views import Figure, Paired, Results, RunView

Section = Literal["score", "preference", "reward"]
SLOTS = 6
# Rows that sum up others; the last three are followed by their parts.
_GROUPS = ("total", "tr", "en", "arithmetic", "instruction", "conduct")
# Measures in tokens or nats, which no plot of shares can hold.
_OWN_SCALE = ("length", "margin")
# Measures of which more is neither better nor worse by itself.
_NEUTRAL = ("length", "truncated", "nll")
# Suites about reward models.
_REWARD = ("reward/", "best_of_n/")


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure in a table: value, interval or what stands in its place, and how a difference reads."""

    value: str
    interval: str
    remark: Markup
    verdict: str
    neutral: bool
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: its name, a figure for each column, and its dots and whiskers."""

    label: Markup
    cells: tuple[Cell, ...]
    svg: Markup
    rank: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A table of figures: columns are models, or pairs of them."""

    title: Markup
    columns: tuple[tuple[str, Markup], ...]
    rows: tuple[Row, ...]
    axis: Markup
    level: str
    units: Markup


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures that stand at the top: each model's, and what the paired differences say."""

    title: Markup
    models: tuple[tuple[str, Markup, Cell, Markup], ...]
    verdicts: tuple[tuple[str, Markup, str], ...]


def slots(models: Sequence[str]) -> dict[str, str]:
    """The colour class of each model, in order; once the colours are used up they come again, hollow and dashed."""
    return {model: f"m{i % SLOTS}" + (" again" if i >= SLOTS else "") for i, model in enumerate(models)}


def is_preference(metric: str) -> bool:
    """Whether a measure is about ranking given pairs, not about sampled responses."""
    return metric.startswith("pref")


def is_reward(metric: str) -> bool:
    """Whether a measure is of a reward model, not of a policy."""
    return metric.startswith(_REWARD)


def section_of(metric: str) -> Section:
    """The section of the report that a measure stands in."""
    return "reward" if is_reward(metric) else "preference" if is_preference(metric) else "score"


def matrices(results: Results, phrases: Phrases, *, section: Section) -> list[Matrix]:
    """A table a suite: its measures by model, of one section of the report; a model with none of them is left out."""
    colours = slots(tuple(results.models))
    found = []
    for suite, metrics in _suites(results.models, phrases, section).items():
        models = [m for m, table in results.models.items() if any(name in table for name in metrics)]
        columns = tuple((colours[m], phrases.name("model", m)) for m in models)
        figures = {name: [results.models[m].get(name) for m in models] for name in metrics}
        found.append(_matrix(phrases, _suite_name(phrases, suite), figures, columns, paired=False))
    return found


def matrix_of(
    phrases: Phrases,
    title: Markup,
    figures: Mapping[str, Sequence[Figure | None]],
    columns: tuple[tuple[str, Markup], ...],
) -> Matrix:
    """A table of given figures, metric -> one for each column, under a title of its own."""
    return _matrix(phrases, title, figures, columns, paired=False)


def paired_matrices(results: Results, phrases: Phrases, *, section: Section) -> list[Matrix]:
    """A table a suite: the differences of each pair of models, of one section of the report."""
    pairs = list(dict.fromkeys((p.a, p.b) for p in results.paired if section_of(p.metric) == section))
    columns = tuple((f"p{i % SLOTS}", _pair_name(phrases, a, b)) for i, (a, b) in enumerate(pairs))
    by_pair: dict[str, dict[str, Figure]] = {}
    for p in results.paired:
        by_pair.setdefault(f"{p.b}\0{p.a}", {})[p.metric] = p.figure
    found = []
    for suite, metrics in _suites(by_pair, phrases, section).items():
        figures = {name: [by_pair[f"{b}\0{a}"].get(name) for a, b in pairs] for name in metrics}
        found.append(_matrix(phrases, _suite_name(phrases, suite), figures, columns, paired=True))
    return found


def headline(run: RunView, phrases: Phrases) -> Headline | None:
    """The total of the last evaluation that has one, else its first measure."""
    results = next((s.results for s in reversed(run.stages) if s.results and any(s.results.models.values())), None)
    if results is None:
        return None
    metrics = list(dict.fromkeys(name for table in results.models.values() for name in table))
    totals = [m for m in metrics if m.endswith("/total") or m == "total"]
    likely = [m for m in metrics if m == "preferences/accuracy"]
    metric = next(iter([*totals, *(m for m in metrics if m.startswith("gold")), *likely, *metrics]))
    figures = {m: table[metric] for m, table in results.models.items() if metric in table}
    colours = slots(tuple(results.models))
    marks = [Mark(f.value, f.low, f.high, colours[m]) for m, f in figures.items()]
    bounds = whisker_scale(marks)
    rows = tuple(
        (colours[m], phrases.name("model", m), _cell(phrases, f, paired=False), whisker_row([mark], bounds))
        for (m, f), mark in zip(figures.items(), marks, strict=True)
    )
    verdicts = tuple(_verdict(phrases, p) for p in results.paired if p.metric == metric)
    suite = metric.partition("/")[0]
    title = phrases.span("head.total") if suite == "gold" else _suite_name(phrases, suite)
    return Headline(title, rows, verdicts)


def _verdict(phrases: Phrases, pair: Paired) -> tuple[str, Markup, str]:
    state = verdict(pair.figure)
    key = {"up": "head.gain", "down": "head.loss"}.get(state, "head.unclear")
    words = phrases.span(key, a=phrases.known("model", pair.a), b=phrases.known("model", pair.b))
    size = abs(pair.figure.value) if state == "down" else pair.figure.value
    low, high = pair.figure.low, pair.figure.high
    if state == "down":
        low, high = -high, -low
    return state, words, f"{fixed(size, sign=state == 'same')} {interval(low, high, sign=state == 'same')}".strip()


def verdict(figure: Figure) -> str:
    """What the interval of a difference shows: `up`, `down`, or `same` (no clear difference)."""
    if figure.bounded and figure.low > 0:
        return "up"
    if figure.bounded and figure.high < 0:
        return "down"
    return "same"


def _suites(models: Mapping[str, Mapping[str, Figure]], phrases: Phrases, section: Section) -> dict[str, list[str]]:
    """Measures by the part of their name before the first slash, in the order of rows."""
    names = dict.fromkeys(name for table in models.values() for name in table)
    suites: dict[str, list[str]] = {}
    for name in names:
        if section_of(name) == section:
            suites.setdefault(name.partition("/")[0] if "/" in name else "other", []).append(name)
    return {suite: sorted(found, key=lambda name: _place(phrases, name)) for suite, found in suites.items()}


def _place(phrases: Phrases, metric: str) -> tuple[int, int]:
    """Rows stand in the order of the known names, the parts of a measure after it."""
    first, *rest = _parts(metric)
    return phrases.order("metric", first), phrases.order("metric", rest[0]) if rest else -1


def _suite_name(phrases: Phrases, suite: str) -> Markup:
    return phrases.name("suite", suite)


def _pair_name(phrases: Phrases, a: str, b: str) -> Markup:
    return Markup("{} − {}").format(phrases.name("model", b), phrases.name("model", a))


def _matrix(
    phrases: Phrases,
    title: Markup,
    figures: Mapping[str, Sequence[Figure | None]],
    columns: tuple[tuple[str, Markup], ...],
    *,
    paired: bool,
) -> Matrix:
    marks = {
        name: [Mark(f.value, f.low, f.high, slot) for f, (slot, _) in zip(row, columns, strict=True) if f is not None]
        for name, row in figures.items()
    }
    # Measures on another scale (lengths beside shares) would flatten all the rest: they stand in the table alone.
    small = {name for name, row in marks.items() if not _is(name, _OWN_SCALE) and all(_small(m.value) for m in row)}
    drawn = small or set(figures)
    reference = 0.0 if paired else None
    bounds = whisker_scale([m for name in drawn for m in marks[name]], reference)
    rows = tuple(
        Row(
            _metric_name(phrases, name),
            tuple(_cell(phrases, f, paired=paired, neutral=_is(name, _NEUTRAL)) for f in row),
            whisker_row(marks[name], bounds, reference) if name in drawn else Markup(""),
            _rank(name, figures),
        )
        for name, row in figures.items()
    )
    present = [f for row in figures.values() for f in row if f is not None]
    level = max((f.level for f in present), default=0.95)
    return Matrix(title, columns, rows, whisker_axis(bounds), f"{100 * level:g}", _units(phrases, present))


def _small(value: float) -> bool:
    return not math.isfinite(value) or abs(value) <= 1.5


def _units(phrases: Phrases, figures: Sequence[Figure]) -> Markup:
    """Over how many units the widest figure was taken, and how many units were not scored."""
    most = max((f.n for f in figures), default=0)
    lost = max((f.unscored for f in figures), default=0)
    parts = [phrases.span("n", n=Num(most))] if most else []
    parts += [phrases.span("unscored", n=Num(lost))] if lost else []
    return Markup(" · ").join(parts)


def _metric_name(phrases: Phrases, metric: str) -> Markup:
    return Markup(" · ").join(phrases.name("metric", part) for part in _parts(metric))


def _parts(metric: str) -> list[str]:
    """The metric without its suite; `accuracy.chosen_longer` is the accuracy of a part of the data."""
    return metric.partition("/")[2].split(".", 1) if "/" in metric else metric.split(".", 1)


def _is(metric: str, names: Collection[str]) -> bool:
    """Whether a measure is one of these; `accuracy.same_length` is an accuracy and no length."""
    return _parts(metric)[0] in names


def _rank(metric: str, names: Collection[str]) -> str:
    """How a row stands out: `total`, `group` (a whole of which others are parts), or `part`."""
    first, *rest = _parts(metric)
    if first in _GROUPS:
        return "total" if first == "total" else "group"
    return "part" if rest or any(_parts(name)[0] in _GROUPS[-3:] for name in names) else ""


def _cell(phrases: Phrases, figure: Figure | None, *, paired: bool, neutral: bool = False) -> Cell:
    if figure is None or math.isnan(figure.value):
        return Cell("–", "", phrases.span("scores.noscore"), "", neutral, "")
    low, high = figure.low, figure.high
    digits = 3 if max((abs(v) for v in (figure.value, low, high) if math.isfinite(v)), default=0) < 10 else 1
    remark, shown = Markup(""), interval(low, high, digits, sign=paired)
    if not figure.bounded:
        remark = phrases.span("scores.nointerval")
    elif low == high:
        remark, shown = phrases.span("scores.equal"), ""
    about = [f"n = {figure.n}"] if figure.n else []
    about += [figure.method] if figure.method else []
    state = verdict(figure) if paired else ""
    return Cell(fixed(figure.value, digits, sign=paired), shown, remark, state, neutral, ", ".join(about))


def figure_cell(phrases: Phrases, figure: Figure) -> Cell:
    """One figure that has no interval and needs no remark about it."""
    return Cell(fixed(figure.value) if math.isfinite(figure.value) else "–", "", Markup(""), "", False, "")


def estimate_cell(phrases: Phrases, figure: Figure) -> Cell:
    """One figure by itself, as a table shows it."""
    return _cell(phrases, figure, paired=False)
