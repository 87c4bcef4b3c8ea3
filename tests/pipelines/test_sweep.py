"""Sweeps: what is asked is checked before anything runs; runs are matched, resumable, and of the usual format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hizala import pipelines
from hizala.errors import ConfigError, EvalError
from hizala.ledger import verify
from hizala.pipelines.sweep import Asked, plan, run
from hizala.readers.sweep import conclude

pipelines.register()
SFT = 'sft: {data: "world:chat?n=24", steps: 2, batch_size: 8}'
DPO = 'dpo: {data: "world:preferences?n=24", steps: 2, batch_size: 8, holdout: 0.2}'
WORLD = "evaluate: {suites: [world], prompts: 4, max_tokens: 8}"
SMALL = {"prompts": 6, "max_tokens": 8}


def test_a_range_has_equal_ratios_and_every_seed_every_value(write_recipe: Callable[..., Path]) -> None:
    found = plan(write_recipe(SFT, DPO, WORLD), (), Asked(("beta=0.01..1",), seeds=2))
    assert found.parameters == {"beta": [0.01, 0.0316, 0.1, 0.316, 1.0]}
    assert (found.stage, list(found.seeds), found.home.name) == ("dpo", [3, 4], "tiny-sweep")
    assert [stage.name for stage in found.start.stages] == ["sft"]
    assert len(found.runs) == 10
    assert len({each.recipe.name for each in found.runs}) == 10
    for each in found.runs:
        assert [stage.name for stage in each.recipe.stages] == ["dpo", "frontier"]
        assert each.recipe.stages[0].config.beta == each.values["beta"]
        assert each.recipe.out == str(found.home)
    assert [each.recipe.seed for each in found.runs] == [3] * 5 + [4] * 5


def test_several_settings_are_crossed_and_whole_numbers_stay_whole(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(SFT, DPO)
    asked = Asked(("batch_size=2..16", "schedule=cosine,constant", "lora.rank=2,4"), 4, 1, stage="dpo")
    found = plan(recipe, ("stages.dpo.beta=0.3",), asked)
    assert found.parameters == {"batch_size": [2, 4, 8, 16], "schedule": ["cosine", "constant"], "lora.rank": [2, 4]}
    assert len(found.runs) == 16
    configs = [each.recipe.stages[0].config for each in found.runs]
    assert {(c.batch_size, c.schedule, c.lora.rank) for c in configs} == {
        (size, schedule, rank) for size in (2, 4, 8, 16) for schedule in ("cosine", "constant") for rank in (2, 4)
    }
    assert {c.beta for c in configs} == {0.3}


def test_the_recipes_evaluations_stay_where_they_are_asked_for(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(SFT, WORLD.replace("{", "{name: early, "), DPO, WORLD)
    short = plan(recipe, (), Asked(("beta=0.1,1",)))
    assert [s.name for s in (*short.start.stages, *short.runs[0].recipe.stages)] == ["sft", "dpo", "frontier"]
    for asked in (Asked(("beta=0.1,1",), evaluations=True), Asked(("beta=0.1,1",), metric="gold/add")):
        long = plan(recipe, (), asked)
        assert [s.name for s in long.runs[0].recipe.stages] == ["dpo", "evaluate", "frontier"]
        assert [s.name for s in long.start.stages] == (["sft", "early"] if asked.evaluations else ["sft"])


def test_the_first_stage_needs_no_start(write_recipe: Callable[..., Path]) -> None:
    assert plan(write_recipe(DPO), (), Asked(("beta=0.1,1",))).start is None


@pytest.mark.parametrize(
    ("over", "settings", "message"),
    [
        ((), {}, "nothing to sweep over"),
        (("beta",), {}, "not NAME=VALUES"),
        (("betta=0.1,1",), {}, "--over betta: no training stage has a setting 'betta', did you mean 'beta'"),
        (("betta=0.1,1",), {"stage": "sft"}, "stage 'sft' has no setting 'betta'"),
        (("beta=0.1,1",), {"stage": "dppo"}, "no training stage 'dppo', did you mean 'dpo'"),
        (("beta=0.1,1",), {"stage": "evaluate"}, "no training stage 'evaluate'"),
        (("learning_rate=1e-5,1e-4",), {}, "stages sft, dpo all have 'learning_rate'"),
        (("beta=0,1",), {}, "--over beta: expected a number greater than 0"),
        (("beta=0.1,soft",), {}, "--over beta: expected a number, got text 'soft'"),
        (("schedule=cosine,cosin",), {"stage": "dpo"}, "--over schedule: .*did you mean 'cosine'"),
        (("lora.rnk=2,4",), {"stage": "dpo"}, "--over lora.rnk: unknown key 'rnk', did you mean 'rank'"),
        (("beta=0.1",), {}, "one value is no sweep"),
        (("beta=0.1,0.1",), {}, "given twice"),
        (("beta=0.1,1", "beta=2,3"), {}, "given twice"),
        (("beta=1..0.1",), {}, "from a number above zero to a larger one"),
        (("beta=0..1",), {}, "from a number above zero to a larger one"),
        (("beta=low..high",), {}, "not a range of numbers"),
        (("beta=0.1..1",), {"points": 1}, "at least two points"),
        (("beta=0.1,1",), {"points": 3}, "--points has no effect"),
        (("beta=0.1..1",), {"seeds": 0}, "at least one seed"),
        (("beta=0.1..1",), {"points": 300}, "runs are more than"),
        (("seed=1,2",), {}, "--over seed: every value is trained with several seeds"),
        (("threads=1,2",), {}, "belongs to the whole recipe"),
        (("beta=[0.1,",), {}, "not a list of values|--over beta"),
    ],
)
def test_what_cannot_be_swept_is_one_clear_error(
    write_recipe: Callable[..., Path], over: tuple[str, ...], settings: dict[str, object], message: str
) -> None:
    recipe = write_recipe(SFT, DPO, WORLD)
    with pytest.raises(ConfigError, match=message):
        plan(recipe, (), Asked(over, **settings))
    assert not (recipe.parent / "runs").exists()


def test_data_without_gold_need_a_metric_and_held_out_prompts(
    write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    stage = f"dpo: {{data: {tmp_path / 'pairs.jsonl'}, steps: 2"
    with pytest.raises(ConfigError, match="not of the world, so there is no gold reward"):
        plan(write_recipe(stage + "}"), (), Asked(("beta=0.1,1",)))
    with pytest.raises(ConfigError, match="this stage holds none out"):
        plan(write_recipe(stage + ", holdout: 0}"), (), Asked(("beta=0.1,1",), metric="preferences/accuracy"))
    found = plan(write_recipe(stage + "}"), (), Asked(("beta=0.1,1",), metric="preferences/accuracy"))
    config = found.runs[0].recipe.stages[-1].config
    assert (config.suites, config.held_out_of) == (("frontier_data",), "dpo")


def test_a_seed_of_the_stages_own_would_train_the_same_again(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(SFT, DPO.replace("steps", "seed: 5, steps"))
    with pytest.raises(ConfigError, match="a seed of its own"):
        plan(recipe, (), Asked(("beta=0.1,1",), seeds=2))
    assert plan(recipe, (), Asked(("beta=0.1,1",), seeds=1)).runs


def step_rows(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "stages" / "01-dpo" / "metrics.jsonl").read_text().split("\n")
    return [row for row in map(json.loads, filter(None, lines)) if row["split"] == "train"]


def test_runs_are_matched_of_the_usual_format_and_go_on_where_they_stopped(
    write_recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(SFT, DPO)
    found = plan(recipe, (), Asked(("beta=0.1,2",), seeds=2, **SMALL))
    home = run(found)
    record = conclude(home)
    places = {(r["values"]["beta"], r["seed"]): home / r["run"] for r in record["runs"]}
    assert set(places) == {(0.1, 3), (2, 3), (0.1, 4), (2, 4)}
    assert {r["status"] for r in record["runs"]} == {"done"}
    starts = set()
    for place in places.values():
        assert verify(place).problems == ()
        begun = json.loads((place / "ledger.jsonl").read_text().split("\n")[0])
        starts.add(begun["payload"]["model_digest"])
    made = json.loads((home / "start" / "stages" / "01-sft" / "done.json").read_text())["outputs"]["model"]
    assert starts == {made["digest"]}
    # One seed, the same data in the same order: the first step measures before the setting can act.
    tokens = {key: [row["tokens"] for row in step_rows(place)] for key, place in places.items()}
    assert tokens[0.1, 3] == tokens[2, 3]
    assert tokens[0.1, 4] == tokens[2, 4]
    assert tokens[0.1, 3] != tokens[0.1, 4]
    values = record["results"]["values"]
    assert [v["seeds"] for v in values] == [[3, 4], [3, 4]]
    assert all(v["kl"]["value"] > 0 for v in values)
    page = (home / "sweep.html").read_text()
    assert "0.1" in page
    before = {place: (place / "stages" / "01-dpo" / "done.json").stat().st_mtime_ns for place in places.values()}
    capsys.readouterr()
    again = conclude(run(plan(recipe, (), Asked(("beta=0.1,2",), seeds=2, **SMALL))))
    assert {p: (p / "stages" / "01-dpo" / "done.json").stat().st_mtime_ns for p in places.values()} == before
    assert again["results"] == record["results"]
    more = run(plan(recipe, (), Asked(("learning_rate=1e-5,1e-4",), stage="dpo", seeds=1, **SMALL)))
    assert json.loads((more / "sweep.1.json").read_text())["parameters"] == {"beta": [0.1, 2]}
    assert json.loads((more / "sweep.json").read_text())["parameters"] == {"learning_rate": [1e-05, 1e-04]}


def test_a_metric_that_no_evaluation_has_is_named_after_the_first_run(write_recipe: Callable[..., Path]) -> None:
    found = plan(write_recipe(DPO, WORLD), (), Asked(("beta=0.1,2",), seeds=1, metric="gold/totl", **SMALL))
    with pytest.raises(EvalError, match="no metric 'gold/totl', did you mean 'gold/total'"):
        run(found)
