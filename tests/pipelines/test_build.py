"""A run directory from a recipe: what is finished is skipped, what changed is redone, what was cut is continued."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hizala
from hizala import ledger
from hizala.errors import HizalaError, RunError
from hizala.readers.show import summary

SFT = 'sft: {data: "world:chat?n=64&seed=1", steps: 4, batch_size: 8, save_every: 2, eval_every: 2, holdout: 0.1}'
DPO = (
    'dpo: {data: "world:preferences?n=64&seed=1", steps: 4, batch_size: 8, save_every: 2, eval_every: 2, holdout: 0.1}'
)
Writer = Callable[..., Path]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def kinds(run: Path) -> list[str]:
    return [entry.kind for entry in ledger.read(run)]


def test_a_recipe_leaves_models_metrics_and_proof(write_recipe: Writer) -> None:
    result = hizala.run(write_recipe(SFT, DPO), report=False)
    assert list(result.models) == ["base", "sft", "dpo"]
    assert all((result.models[name] / "model.safetensors").is_file() for name in ("sft", "dpo"))
    rows = lines(result.path / "stages" / "02-dpo" / "metrics.jsonl")
    assert [row["step"] for row in rows if row["split"] == "train"] == [1, 2, 3, 4]
    assert rows[0] == {**rows[0], "step": 0, "split": "eval"}
    margin = rows[0]["dpo/margin"]
    assert isinstance(margin, dict)
    assert margin["value"] == pytest.approx(0, abs=1e-4), "before the first step the policy is its reference"
    proof = ledger.verify(result.path)
    assert proof.ok, proof.problem
    assert [stage["status"] for stage in summary(result.path)["stages"]] == ["done", "done"]


def test_the_same_seed_gives_the_same_bits(write_recipe: Writer) -> None:
    first = hizala.run(write_recipe(SFT, name="first"), report=False)
    again = hizala.run(write_recipe(SFT.replace("sft:", "sft:"), name="again"), report=False)
    weights = [(run.models["sft"] / "model.safetensors").read_bytes() for run in (first, again)]
    assert weights[0] == weights[1]
    metrics = [(run.path / "stages" / "01-sft" / "metrics.jsonl").read_bytes() for run in (first, again)]
    assert metrics[0] == metrics[1]


def test_finished_stages_are_skipped_and_changed_ones_redone(write_recipe: Writer) -> None:
    recipe = write_recipe(SFT, DPO)
    first = hizala.run(recipe, report=False)
    stamp = (first.models["dpo"] / "model.safetensors").stat().st_mtime_ns
    hizala.run(recipe, report=False)
    assert (first.models["dpo"] / "model.safetensors").stat().st_mtime_ns == stamp
    changed = hizala.run(recipe, ["stages.dpo.beta=0.5"], report=False)
    assert kinds(changed.path).count("stage.start") == 3, "sft once, dpo twice"
    assert (changed.path / "superseded" / "02-dpo.1" / "model" / "model.safetensors").is_file()
    assert json.loads((changed.path / "stages" / "02-dpo" / "config.json").read_text())["beta"] == 0.5
    assert ledger.verify(changed.path).ok


def test_a_damaged_result_is_noticed_and_made_again(write_recipe: Writer) -> None:
    recipe = write_recipe(SFT)
    first = hizala.run(recipe, report=False)
    weights = first.models["sft"] / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-8] + b"\0" * 8)
    assert not ledger.verify(first.path).ok
    again = hizala.run(recipe, report=False)
    assert (again.models["sft"] / "model.safetensors").read_bytes() == good
    assert ledger.verify(again.path).ok


def test_a_failed_stage_says_so_and_the_rest_is_kept(write_recipe: Writer) -> None:
    # That all thumbs point one way is seen only when all data are read, after the first stage.
    recipe = write_recipe(SFT, 'kto: {data: "world:thumbs?n=64&up=0.0", steps: 2}')
    with pytest.raises(HizalaError, match="thumb"):
        hizala.run(recipe, report=False)
    state = summary(recipe.parent / "runs" / "tiny")
    assert [stage["status"] for stage in state["stages"]] == ["done", "failed"]
    fixed = hizala.run(recipe, ["stages.kto.data=world:thumbs?n=64"], report=False)
    assert kinds(fixed.path).count("stage.start") == 3, "sft is not trained again"


def test_a_foreign_directory_is_left_alone(write_recipe: Writer) -> None:
    recipe = write_recipe(SFT)
    foreign = recipe.parent / "runs" / "tiny"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not a Hizala run"):
        hizala.run(recipe, report=False)
    assert [p.name for p in foreign.iterdir()] == ["thesis.txt"]


def test_two_processes_cannot_run_in_one_directory(write_recipe: Writer) -> None:
    recipe = write_recipe(SFT)
    run = recipe.parent / "runs" / "tiny"
    run.mkdir(parents=True)
    with ledger.Ledger(run), pytest.raises(RunError, match="another process"):
        hizala.run(recipe, report=False)


def test_the_best_checkpoint_is_the_one_exported(write_recipe: Writer) -> None:
    """At a learning rate that ruins the model the best held-out loss is the first one."""
    ruinous = SFT.replace("steps: 4", "steps: 6, learning_rate: 0.05, schedule: constant, warmup: 0.0")
    last = hizala.run(write_recipe(ruinous, name="last"), report=False)
    best = hizala.run(
        write_recipe(ruinous.replace("steps: 6", "steps: 6, keep_best: -loss"), name="best"), report=False
    )
    rows = [row for row in lines(best.path / "stages" / "01-sft" / "metrics.jsonl") if row["split"] == "eval"]
    held = {int(str(row["step"])): row["loss"] for row in rows if row["step"]}
    step = min(held, key=lambda at: held[at]["value"])  # type: ignore[index]
    stored = best.path / "stages" / "01-sft" / "checkpoints" / f"best-{step:08d}" / "weights.safetensors"
    weights, kept = load_file(best.models["sft"] / "model.safetensors"), load_file(stored)
    name = "model.embed_tokens.weight"
    assert torch.equal(weights[name].float(), kept[name].float())
    if step != 6:
        assert not torch.equal(weights[name], load_file(last.models["sft"] / "model.safetensors")[name])
