"""Sweeps: one stage of a recipe trained again and again from one start, a setting changed each time.

The stages before the swept one run once; every value and seed is a run of its own below `RUNS/NAME-sweep`, in the
format of any run, so that whatever reads runs reads these. Runs of one seed see the same data in the same order.
What was finished is skipped when a sweep is started again.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hizala import config
from hizala.canonical import digest
from hizala.config import Recipe, Stage, field_table, resolved
from hizala.config.text import parse
from hizala.errors import ConfigError, EvalError, TrainError, nearest
from hizala.pipelines import build
from hizala.pipelines.progress import say
from hizala.pipelines.rundir import read_json, write_json
from hizala.pipelines.settings import EvaluateSettings

FORMAT = 1
GOLD = "gold/total"
MEASURING = "frontier"
_RANGE = re.compile(r"^\s*([^,\s]+?)\s*\.\.\s*([^,\s]+)\s*$")
_MOST = 400  # runs of one sweep


@dataclass(frozen=True, slots=True)
class Asked:
    """What a sweep is asked for, as on the command line.

    Attributes:
        over: `name=low..high` or `name=a,b,c`, one an entry; every combination is trained.
        points: values of a range.
        seeds: how many seeds, from the recipe's on.
        stage: name of the swept stage, where the settings do not say.
        metric: the figure that stands against the divergence.
        prompts, samples, max_tokens: of the measurement after each run.
        evaluations: keep the recipe's own evaluation stages.
    """

    over: tuple[str, ...]
    points: int | None = None
    seeds: int = 3
    stage: str | None = None
    metric: str = GOLD
    prompts: int = 400
    samples: int = 1
    max_tokens: int = 96
    evaluations: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a sweep: the settings that were changed, and the recipe with them."""

    values: Mapping[str, Any]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked sweep.

    Attributes:
        home: directory of the sweep.
        stage: name of the swept stage.
        parameters: swept settings and their values.
        seeds: seeds, the first being the recipe's.
        metric: the figure that stands against the divergence.
        start: what is run once; None where the swept stage is the first.
        runs: one a seed and combination of values, seed by seed.
    """

    home: Path
    stage: str
    parameters: Mapping[str, Sequence[Any]]
    seeds: Sequence[int]
    metric: str
    start: Recipe | None
    runs: Sequence[Run]


def plan(recipe_file: str | Path, overrides: Sequence[str], asked: Asked) -> Plan:
    """Check a sweep wholly, before anything is trained.

    Raises:
        ConfigError: an unknown setting (naming the nearest), one that several stages have, a value out of its bounds,
            a range that is none, or a metric that these runs cannot have.
    """
    recipe = config.load(Path(recipe_file), overrides)
    if asked.seeds < 1:
        raise ConfigError(f"a sweep needs at least one seed, not {asked.seeds}", where="--seeds")
    given = _given(asked.over)
    index = _stage_of(recipe, list(given), asked.stage)
    stage = recipe.stages[index]
    if asked.seeds > 1 and getattr(stage.config, "seed", None) is not None:
        raise ConfigError(
            "the stage has a seed of its own, so that every seed would train the same",
            where=f"stages.{stage.name}.seed",
            fix="take it out, or give --seeds 1",
        )
    parameters = {name: _values(stage, name, text, asked.points) for name, text in given.items()}
    if asked.points is not None and not any(_RANGE.match(text) for text in given.values()):
        raise ConfigError("--points has no effect: no range LOW..HIGH is given", fix="take it out, or give a range")
    combinations = [dict(zip(parameters, found, strict=True)) for found in itertools.product(*parameters.values())]
    if len(combinations) < 2:
        raise ConfigError("one value is no sweep", where="--over", fix="give a range, or values with commas")
    if len(combinations) * asked.seeds > _MOST:
        raise ConfigError(f"{len(combinations) * asked.seeds} runs are more than {_MOST}", fix="fewer values or seeds")
    home = Path(recipe.out) / f"{recipe.name}-sweep"
    changed = [_changed(recipe_file, overrides, stage.name, values) for values in combinations]
    seeds = [recipe.seed + i for i in range(asked.seeds)]
    names = _names(combinations)
    tail = _tail(recipe, index, asked)
    runs = [
        Run(values, _named(replace(each, seed=seed, stages=(each.stages[index], *tail)), home, f"{name}_seed-{seed}"))
        for seed in seeds
        for values, each, name in zip(combinations, changed, names, strict=True)
    ]
    before = tuple(s for s in recipe.stages[:index] if asked.evaluations or s.kind != "evaluate")
    start = _named(replace(recipe, stages=before), home, "start") if before else None
    return Plan(home, stage.name, parameters, seeds, asked.metric, start, runs)


def run(sweep: Plan) -> Path:
    """Train what is not trained yet, note how each run stands in sweep.json, and return the sweep's directory.

    A run whose training fails is noted as failed, and the others go on.

    Raises:
        HizalaError: of another kind than TrainError, with the words of the part that failed.
        EvalError: the first finished run does not have the metric.
        KeyboardInterrupt: stopped by the user; started again it goes on where it was.
    """
    _set_aside(sweep)
    states: list[dict[str, Any]] = [
        {"values": dict(each.values), "seed": each.recipe.seed, "run": each.recipe.name, "status": "pending"}
        for each in sweep.runs
    ]
    model, first = None, True
    if sweep.start is not None:
        say(f"start: {', '.join(stage.name for stage in sweep.start.stages)}, once for all runs")
        first = build.run(sweep.start).first
        model = _last_policy(sweep.home / sweep.start.name, sweep.start)
    checked = False
    for number, (each, state) in enumerate(zip(sweep.runs, states, strict=True), 1):
        shown = ", ".join(f"{name} {value_text(value)}" for name, value in each.values.items())
        say(f"run {number} of {len(sweep.runs)}: {shown}, seed {each.recipe.seed}")
        recipe = each.recipe if model is None else _sourced(replace(each.recipe, model=str(model)))
        try:
            done = build.run(recipe)
            first, state["status"] = done.first, "done"
            state["seconds"] = round(done.seconds, 1)
        except TrainError as error:
            say(f"  failed: {error.message}")
            state |= {"status": "failed", "reason": error.message}
        if state["status"] == "done" and not checked:
            _require_metric(sweep, sweep.home / recipe.name)
            checked = True
        if first:
            _record(sweep, states)
    return sweep.home


def value_text(value: Any) -> str:
    """A value as people write it."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _given(over: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in over:
        name, equals, text = entry.partition("=")
        name = name.strip()
        if not equals or not name or not text.strip():
            raise ConfigError(
                f"'{entry}' is not NAME=VALUES", where="--over", fix="write beta=0.01..1 or learning_rate=1e-5,5e-5"
            )
        if name in found:
            raise ConfigError(f"'{name}' is given twice", where="--over", fix="give all its values in one")
        found[name] = text.strip()
    if not found:
        raise ConfigError("nothing to sweep over", fix="give --over, for example --over beta=0.01..1")
    return found


def _stage_of(recipe: Recipe, names: Sequence[str], wanted: str | None) -> int:
    """Index of the stage whose settings are swept: the one named, or the only one that has them all."""
    if "seed" in names:
        raise ConfigError("every value is trained with several seeds already", where="--over seed", fix="use --seeds")
    trained = [i for i, stage in enumerate(recipe.stages) if stage.kind != "evaluate"]
    known = [recipe.stages[i].name for i in trained]
    if wanted is not None and wanted not in known:
        fix = f"training stages: {', '.join(known) or 'none'}"
        raise ConfigError(f"there is no training stage '{wanted}'{nearest(wanted, known)}", where="--stage", fix=fix)
    trained = [i for i in trained if wanted in (None, recipe.stages[i].name)]
    for name in names:
        if not any(_has(recipe.stages[i], name) for i in trained):
            kinds = dict.fromkeys(recipe.stages[i].kind for i in trained)
            fix = "see " + " or ".join(f"hizala run --settings {kind}" for kind in kinds)
            raise ConfigError(_unknown(recipe, name, trained), where=f"--over {name}", fix=fix)
    fitting = [i for i in trained if all(_has(recipe.stages[i], name) for name in names)]
    if len(fitting) == 1:
        return fitting[0]
    shown = " and ".join(f"'{name}'" for name in names)
    if not fitting:
        fix = "sweep over the settings of one stage"
        raise ConfigError(f"no stage has {shown} together", where="--over", fix=fix)
    stages = [recipe.stages[i].name for i in fitting]
    message = f"stages {', '.join(stages)} all have {shown}"
    raise ConfigError(message, where="--over", fix=f"name one: --stage {stages[-1]}")


def _has(stage: Stage, name: str) -> bool:
    return name.partition(".")[0] in type(stage.config).model_fields


def _unknown(recipe: Recipe, name: str, trained: Sequence[int]) -> str:
    if name in config.RecipeSettings.model_fields:
        return f"'{name}' belongs to the whole recipe and to no stage"
    fields = dict.fromkeys(field for i in trained for field in type(recipe.stages[i].config).model_fields)
    hint = nearest(name, fields)
    if len(trained) == 1:
        return f"stage '{recipe.stages[trained[0]].name}' has no setting '{name}'{hint}"
    return f"no training stage has a setting '{name}'{hint}"


def _values(stage: Stage, name: str, text: str, points: int | None) -> list[Any]:
    where = f"--over {name}"
    bounds = _RANGE.match(text)
    if bounds:
        return _range(stage, name, bounds[1], bounds[2], 5 if points is None else points)
    given = parse(f"[{text}]", where)
    if given.problems or not isinstance(given.value, list):
        raise ConfigError(f"'{text}' is not a list of values", where=where, fix="write values with commas: 1e-5,5e-5")
    twice = [value for i, value in enumerate(given.value) if value in given.value[:i]]
    if twice:
        raise ConfigError(f"the value {value_text(twice[0])} is given twice", where=where)
    return given.value


def _range(stage: Stage, name: str, low: str, high: str, points: int) -> list[Any]:
    """Values at equal ratios from low to high; whole numbers where the setting is one."""
    where = f"--over {name}"
    try:
        first, last = float(low), float(high)
    except ValueError:
        raise ConfigError(f"'{low}..{high}' is not a range of numbers", where=where, fix="write beta=0.01..1") from None
    if not (0 < first < last < math.inf):
        raise ConfigError(
            f"a range goes from a number above zero to a larger one, not from {low} to {high}",
            where=where,
            fix="give the values with commas",
        )
    if points < 2:
        raise ConfigError(f"a range has at least two points, not {points}", where="--points")
    ratios = [first * (last / first) ** (i / (points - 1)) for i in range(points)]
    kinds = {row.name: row.type for row in field_table(type(stage.config))}
    if "int" in kinds.get(name, "") and "float" not in kinds.get(name, ""):
        return sorted({round(value) for value in ratios})
    return [float(f"{value:.3g}") for value in ratios]


def _changed(recipe_file: str | Path, overrides: Sequence[str], stage: str, values: Mapping[str, Any]) -> Recipe:
    """The recipe with one combination of values, checked against the bounds of its settings."""
    changes = [f"stages.{stage}.{name}={json.dumps(value)}" for name, value in values.items()]
    try:
        return config.load(Path(recipe_file), [*overrides, *changes])
    except ConfigError as error:
        where, message = error.where, error.message
        for name in values:
            where, message = (
                text.replace(f"--set stages.{stage}.{name}", f"--over {name}") for text in (where, message)
            )
        raise ConfigError(message, where=where, fix=error.fix) from None


def _tail(recipe: Recipe, index: int, asked: Asked) -> tuple[Stage, ...]:
    """What follows the swept stage in each run: later training, evaluations where kept, and the measurement."""
    swept = recipe.stages[index]
    keep = asked.evaluations or asked.metric != GOLD
    later = [stage for stage in recipe.stages[index + 1 :] if keep or stage.kind != "evaluate"]
    refs = getattr(swept.config, "data", [])
    refs = [refs] if isinstance(refs, str) else list(refs)
    of_world = any(ref.startswith("world:") for ref in refs)
    if asked.metric == GOLD and not of_world:
        raise ConfigError(
            "these data are not of the world, so there is no gold reward to stand against the divergence",
            where=f"stages.{swept.name}.data",
            fix="name a figure of the recipe's evaluation: --metric preferences/accuracy",
        )
    if not of_world and not getattr(swept.config, "holdout", 0):
        raise ConfigError(
            "the divergence is measured on held-out prompts, and this stage holds none out",
            where=f"stages.{swept.name}.holdout",
            fix="give holdout, for example 0.05",
        )
    settings = EvaluateSettings(
        suites=("frontier" if of_world else "frontier_data",),
        held_out_of=None if of_world else swept.name,
        prompts=asked.prompts,
        samples=asked.samples,
        max_tokens=asked.max_tokens,
        template=getattr(swept.config, "template", "chat"),
    )
    names = {stage.name for stage in recipe.stages}
    name = next(name for name in (MEASURING, f"{MEASURING}-sweep") if name not in names)
    return (*later, Stage(name, "evaluate", settings, 0))


def _names(combinations: Sequence[Mapping[str, Any]]) -> list[str]:
    """A directory name for each combination: what can stand in a file name, told apart by a digest where need be."""
    plain = ["_".join(f"{name}-{value_text(value)}" for name, value in values.items()) for values in combinations]
    names = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") for name in plain]
    return [
        name if names.count(name) == 1 and len(name) <= 80 else f"{name[:60]}-{digest(text)[:8]}"
        for name, text in zip(names, plain, strict=True)
    ]


def _named(recipe: Recipe, home: Path, name: str) -> Recipe:
    return _sourced(replace(recipe, name=name, out=str(home)))


def _sourced(recipe: Recipe) -> Recipe:
    """With the text it would be written as, since no file has it."""
    return replace(recipe, source=resolved(recipe))


def _last_policy(home: Path, recipe: Recipe) -> Path:
    """The model that the start left to train on."""
    for index in reversed(range(len(recipe.stages))):
        place = home / "stages" / f"{index + 1:02d}-{recipe.stages[index].name}"
        made = ((read_json(place / "done.json") or {}).get("outputs") or {}).get("model")
        if made and made.get("kind", "policy") == "policy":
            return place / "model"
    raise ConfigError("no stage before the swept one trains a policy", fix="sweep over the first training stage")


def _require_metric(sweep: Plan, place: Path) -> None:
    known: set[str] = set()
    for file in sorted((place / "stages").glob("*/results.json")):
        for figures in (read_json(file) or {}).get("models", {}).values():
            known |= set(figures)
    if sweep.metric not in known:
        raise EvalError(
            f"these runs have no metric '{sweep.metric}'{nearest(sweep.metric, known)}",
            where="--metric",
            fix=f"known: {', '.join(sorted(known))}",
        )


def _set_aside(sweep: Plan) -> None:
    """Keep the record of a sweep over other settings under a number; its runs stay where they are."""
    file = sweep.home / "sweep.json"
    old = read_json(file)
    told = (old or {}).get("stage"), sorted((old or {}).get("parameters", {}))
    if old is None or told == (sweep.stage, sorted(sweep.parameters)):
        return
    number = next(n for n in itertools.count(1) if not (sweep.home / f"sweep.{n}.json").exists())
    for suffix in ("json", "html"):
        if (place := sweep.home / f"sweep.{suffix}").exists():
            place.rename(sweep.home / f"sweep.{number}.{suffix}")
    say(f"the record of the sweep over {', '.join(told[1])} is kept in sweep.{number}.json")


def _record(sweep: Plan, states: Sequence[Mapping[str, Any]]) -> None:
    write_json(
        sweep.home / "sweep.json",
        {
            "format": FORMAT,
            "name": sweep.home.name,
            "stage": sweep.stage,
            "parameters": {name: list(values) for name, values in sweep.parameters.items()},
            "seeds": list(sweep.seeds),
            "metric": sweep.metric,
            "start": sweep.start.name if sweep.start is not None else None,
            "runs": list(states),
        },
    )
