"""The report's section on online RL: what was sampled and learnt from, where the time went, what rewards answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hizala.readers.report.charts import Point, Series, line_chart, stacked_chart
from hizala.readers.report.curves import Chart, Line, alternative, stage_lines
from hizala.readers.report.sampled import Table, table
from hizala.readers.report.text import Num, Phrases, clean, fixed, interval, number
from hizala.readers.report.views import Figure, RewardCount, StageView

MOST_REWARDS = 12
# Series by which a stage of online RL is known.
_SIGNS = ("groups/silent", "samples/entropy")
# What else this section says of these, or nothing a reader needs.
_SAID = ("reward/std", "groups/count", "seconds/waiting", "seconds", "tokens_per_second", "sampled_tokens_per_second")
_PARTS = {"sampling": "m2", "scoring": "m1", "waiting": "m2", "measuring": "m3", "training": "m5", "other": "m0"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A chart of single measures: its phrase, its unit's, the measures.

    `zero`: the axis starts from 0. `moving`: a line that never moves says nothing the settings do not.
    """

    key: str
    unit: str
    names: tuple[str, ...]
    zero: bool = False
    moving: bool = False


# Heading -> its charts in order; a name that starts with "*/" is that figure of any loss.
PLANS: Mapping[str, tuple[Plan, ...]] = {
    "policy": (
        Plan("entropy", "nats_token", ("samples/entropy",), True),
        Plan("response_length", "tokens", ("samples/length",)),
        Plan("reflection", "share", ("samples/reflection",), True),
        Plan("turns", "", ("samples/turns",)),
        Plan("told", "share", ("samples/told",), True),
        Plan("kl_reference", "nats_token", ("kl_reward/token", "kl/k1"), True),
        Plan("kl_response", "nats_response", ("kl_reward/response",), True),
        Plan("kl_price", "per_nat", ("kl_reward/beta",), moving=True),
        Plan("kl_step", "nats_token", ("*/approx_kl",), True),
        Plan("clipped", "share", ("*/low", "*/high", "*/dual"), True),
    ),
    "lesson": (
        Plan("silent", "share", ("groups/silent",), True),
        Plan("zero_advantage", "share", ("advantages/zero",), True),
        Plan("unscored", "share", ("samples/unscored",), True),
        Plan("truncated", "share", ("samples/truncated",), True),
        Plan("dropped", "groups", ("groups/dropped",), True),
    ),
    "sampler": (
        Plan("gap_mean", "nats_token", ("mismatch/mean",), True),
        Plan("gap_max", "nats_token", ("mismatch/max",), True),
        Plan("gap_kl", "nats_token", ("mismatch/kl",), True),
        Plan("ess", "share", ("mismatch/ess",)),
        Plan("correction", "", ("correction/weight",)),
        Plan("masked", "share", ("correction/masked",), True),
        Plan("staleness", "steps", ("samples/staleness",), True),
    ),
}


@dataclass(frozen=True, slots=True)
class Block:
    """Charts under one heading, and the names of those that would show nothing but zero."""

    key: str
    charts: list[Chart]
    zero: list[Markup]


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One measure at the start and at the end: training, and held out with its interval ("" where there is none)."""

    label: Markup
    train: tuple[str, str]
    held: tuple[tuple[str, str], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CountRow:
    """What one reward answered."""

    name: str
    calls: str
    scored: str
    unscored: tuple[tuple[str, str], ...]
    cached: str
    left: str
    seconds: str


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds and share of each part of the steps, what ran at the same time, tokens sampled, and rates."""

    parts: list[tuple[str, Markup, str, str]]
    meanwhile: list[tuple[str, Markup, str, str]]
    tokens: str
    rate: str
    all: str


@dataclass(frozen=True, slots=True)
class Online:
    """What one stage shows; `taken` are the measures that no other section needs to show."""

    stage: StageView
    figures: list[FigureRow]
    held_steps: tuple[str, str]
    blocks: list[Block]
    times: Times | None
    counts: list[CountRow]
    table: Table | None
    taken: frozenset[str]


def is_online(stage: StageView) -> bool:
    """Whether a stage samples and learns from rewards, as far as it has come."""
    return stage.rollouts is not None or any(s in stage.train for s in _SIGNS) or "reward/mean" in stage.held_out


def sections(stages: Sequence[StageView], phrases: Phrases) -> list[Online]:
    """The stages of online RL."""
    return [_section(stage, phrases) for stage in stages if is_online(stage)]


def _section(stage: StageView, phrases: Phrases) -> Online:
    lines = {(line.name, line.held): line for line in stage_lines(stage)}
    taken = set(_SAID)
    blocks = [_rewards(stage, lines, taken, phrases)]
    blocks += [_block(key, plans, stage, lines, taken, phrases) for key, plans in PLANS.items()]
    speed, times = _speed(stage, lines, phrases)
    blocks.append(speed)
    taken |= {name for name in stage.perf if name.startswith("seconds/")}
    steps = [x for name, points in stage.held_out.items() if name.startswith("reward/") for x, _ in points]
    held = (number(min(steps)), number(max(steps))) if steps else ("", "")
    return Online(
        stage,
        _figures(stage, phrases),
        held,
        [block for block in blocks if block.charts or block.zero],
        times,
        [_count(row) for row in stage.counts],
        table(stage, phrases),
        frozenset(taken),
    )


def components(stage: StageView) -> list[str]:
    """Names of the rewards whose curves say something their sum does not."""
    names = [
        n for n in {**stage.train, **stage.held_out} if n.startswith("reward/") and n not in ("reward/mean", *_SAID)
    ]
    whole = (stage.train.get("reward/mean"), stage.held_out.get("reward/mean"))
    return [n for n in names if (stage.train.get(n), stage.held_out.get(n)) != whole][:MOST_REWARDS]


def _rewards(stage: StageView, lines: Mapping[tuple[str, bool], Line], taken: set[str], phrases: Phrases) -> Block:
    charts, zero = [], []
    for name in ("reward/mean", *components(stage)):
        mine = [line for held in (False, True) if (line := lines.get((name, held))) is not None]
        label = name.partition("/")[2]
        args = {} if label == "mean" else {"name": label}
        drawn = [(line, "held" if line.held else "train", phrases.span(_legend(line))) for line in mine]
        if drawn and args and all(_nil(line) for line in mine):
            zero.append(phrases.span("chart.component", **args))
        elif drawn:
            charts.append(_chart(phrases, "component" if args else "reward", "", drawn, args=args))
    taken |= {n for n in {**stage.train, **stage.held_out} if n.startswith("reward/")}
    solved = [lines[name, False] for name in stage.train if name.startswith("pass/")]
    taken |= {line.name for line in solved}
    if solved:
        drawn = []
        for i, line in enumerate(solved[:4]):
            k = line.name.partition("/")[2]
            words = phrases.span("legend.one") if k == "1" else phrases.span("legend.any", k=k)
            drawn.append((line, ("m5", "m2", "m3", "m4")[i], words))
        charts.append(_chart(phrases, "pass", "share", drawn, zero=True))
    return Block("reward", charts, zero)


def _legend(line: Line) -> str:
    return "legend.held" if line.held else "legend.train"


def _block(
    key: str,
    plans: Sequence[Plan],
    stage: StageView,
    lines: Mapping[tuple[str, bool], Line],
    taken: set[str],
    phrases: Phrases,
) -> Block:
    charts, zero = [], []
    for plan in plans:
        mine = [line for name in plan.names for line in _named(name, stage, lines)]
        taken |= {line.name for line in mine}
        alike = plan.key == "zero_advantage" and stage.train.get("advantages/zero") == stage.train.get("groups/silent")
        if not mine or alike:
            continue
        shown = [line for line in mine if not _nil(line)]
        if not shown:
            zero.append(phrases.span(f"chart.{plan.key}"))
            continue
        if plan.moving and len({point.y for line in shown for point in line.points}) == 1:
            continue
        drawn = []
        for i, line in enumerate(shown):
            legend = f"legend.{line.name.rpartition('/')[2]}"
            several = len(mine) > 1 and phrases.has(legend)
            drawn.append((line, ("m5", "m1", "m3", "m4")[i % 4], phrases.span(legend) if several else Markup("")))
        charts.append(_chart(phrases, plan.key, plan.unit, drawn, zero=plan.zero))
    return Block(key, charts, zero)


def _nil(line: Line) -> bool:
    """Whether nothing but zero was measured."""
    return all(point.y == 0 for point in line.points)


def _named(name: str, stage: StageView, lines: Mapping[tuple[str, bool], Line]) -> list[Line]:
    if not name.startswith("*/"):
        return [lines[name, False]] if (name, False) in lines else []
    found = [n for n in stage.train if n.endswith(name[1:]) and n.count("/") == 1 and not n.startswith("reward/")]
    return [lines[n, False] for n in found[:1]]


def _chart(
    phrases: Phrases,
    key: str,
    unit: str,
    drawn: Sequence[tuple[Line, str, Markup]],
    *,
    args: Mapping[str, str] | None = None,
    zero: bool = False,
) -> Chart:
    series = [Series(line.points, slot, dots=line.held) for line, slot, _ in drawn]
    shown = clean(args["name"]) if args else phrases.known("chart", key)
    svg = line_chart(series, alternative(phrases, shown, [line for line, _, _ in drawn]), zero=zero)
    legend = tuple((slot, words) for _, slot, words in drawn if words)
    if len(legend) == 1 and not drawn[0][0].held:
        legend = ()
    lost = sum(not math.isfinite(p.y) for line, _, _ in drawn for p in line.points)
    title = phrases.span(f"chart.{key}", **(args or {}))
    return Chart(title, phrases.span(f"unit.{unit}") if unit else Markup(""), svg, legend, lost)


def _speed(stage: StageView, lines: Mapping[tuple[str, bool], Line], phrases: Phrases) -> tuple[Block, Times | None]:
    """Where the time went, and tokens per second."""
    perf = {name: dict(points) for name, points in stage.perf.items()}
    steps = {x: y for x, y in perf.get("seconds", {}).items() if y > 0 and math.isfinite(y)}
    if not steps:
        return Block("speed", [], []), None
    part = {key: perf.get(f"seconds/{key}", {}) for key in _PARTS if key != "other"}
    total = {key: _sum(values, steps) for key, values in part.items()}
    whole = math.fsum(steps.values())
    # Sampled while training: what was waited for is part of a step's time, the sampling itself is not.
    apart = total["sampling"] + total["scoring"] > 1.05 * total["waiting"] and bool(part["waiting"])
    names = ["waiting", "measuring", "training"] if apart else ["sampling", "scoring", "measuring", "training"]
    names = [name for name in names if part[name]]
    left = {x: max(0.0, y - math.fsum(_finite(part[n].get(x)) for n in names)) for x, y in steps.items()}
    if math.fsum(left.values()) > 0.01 * whole:
        part["other"] = left
        total["other"] = math.fsum(left.values())
        names.append("other")
    series = [Series(tuple(Point(x, _finite(part[n].get(x))) for x in sorted(steps)), _PARTS[n]) for n in names]
    shares = [f"{phrases.plain(f'time.{n}')} {total[n] / whole:.0%}" for n in names]
    alt = Markup('role="img" tabindex="0" ') + phrases.attribute(
        "aria-label", "online.time.alt", parts=Num(", ".join(shares))
    )
    legend = tuple((_PARTS[n], phrases.span(f"time.{n}")) for n in names)
    title = phrases.span("chart.time")
    charts = [Chart(title, phrases.span("unit.seconds"), stacked_chart(series, alt), legend, 0)]
    rates = (("sampled_tokens_per_second", "m2", "sampled"), ("tokens_per_second", "m5", "all_tokens"))
    drawn = [(lines[n, False], slot, phrases.span(f"legend.{w}")) for n, slot, w in rates if (n, False) in lines]
    if drawn:
        charts.append(_chart(phrases, "online_speed", "", drawn, zero=True))
    rows = [_time(n, total, whole, phrases) for n in names]
    aside = [_time(n, total, whole, phrases) for n in ("sampling", "scoring")] if apart else []
    sampled = math.fsum(
        _finite(rate) * _finite(part["sampling"].get(x))
        for x, rate in perf.get("sampled_tokens_per_second", {}).items()
    )
    every = math.fsum(_finite(rate) * steps.get(x, 0.0) for x, rate in perf.get("tokens_per_second", {}).items())
    rate = sampled / total["sampling"] if total["sampling"] > 0 else math.nan
    times = Times(rows, aside, number(round(sampled)), number(_round(rate)), number(_round(every / whole)))
    return Block("speed", charts, []), times


def _round(value: float) -> float:
    return float(f"{value:.3g}") if math.isfinite(value) else math.nan


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _sum(values: Mapping[float, float], steps: Mapping[float, float]) -> float:
    return math.fsum(_finite(values.get(x)) for x in steps)


def _time(name: str, total: Mapping[str, float], whole: float, phrases: Phrases) -> tuple[str, Markup, str, str]:
    seconds = total[name]
    return _PARTS[name], phrases.span(f"time.{name}"), fixed(seconds, 1), f"{100 * seconds / whole:.0f} %"


def _figures(stage: StageView, phrases: Phrases) -> list[FigureRow]:
    """Rewards and what goes with them, at the start and at the end."""
    rows = []
    wanted = [("reward", "reward/mean"), *(("component", name) for name in components(stage))]
    wanted += [("pass", name) for name in stage.train if name.startswith("pass/")]
    wanted += [("entropy", "samples/entropy"), ("response_length", "samples/length"), ("silent", "groups/silent")]
    wanted += [("unscored", "samples/unscored"), ("truncated", "samples/truncated")]
    for key, name in wanted:
        train, held = stage.train.get(name, ()), stage.held_out.get(name, ())
        if not train and not held:
            continue
        last = name.partition("/")[2]
        if key == "pass":
            label = phrases.span("legend.one") if last == "1" else phrases.span("legend.any", k=last)
        else:
            label = phrases.span(f"chart.{key}", **({"name": last} if key == "component" else {}))
        ends = [_shown(held[i][1]) if held else ("", "") for i in (0, -1)]
        rows.append(FigureRow(label, ends_of(train), (ends[0], ends[1])))
    return rows


def ends_of(points: Sequence[tuple[float, float]]) -> tuple[str, str]:
    """Means of the first and of the last tenth of a series, as text."""
    known = [y for _, y in points if math.isfinite(y)]
    if not known:
        return "", ""
    tenth = max(1, len(known) // 10)
    first, last = known[:tenth], known[-tenth:]
    return number(math.fsum(first) / tenth, 3), number(math.fsum(last) / tenth, 3)


def _shown(figure: Figure) -> tuple[str, str]:
    return fixed(figure.value), interval(figure.low, figure.high)


def _count(row: RewardCount) -> CountRow:
    unscored = tuple((reason, number(count)) for reason, count in row.unscored[:20])
    cached, left = number(row.cached), number(row.left_out)
    return CountRow(row.name, number(row.calls), number(row.scored), unscored, cached, left, fixed(row.seconds, 1))
