"""Online RL through a recipe: it learns what is rewarded, gives the same bits, and says what happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hizala
from hizala.errors import ConfigError

DATA = 'data: "world:prompts?n=96&tasks=arithmetic&seed=2"'
SMALL = f"{DATA}, prompts: 4, group_size: 4, max_tokens: 32, learning_rate: 2.0e-4, save_every: 100, eval_every: 100"
GOLD = "rewards: {gold: 1.0}"

Write = Callable[..., Path]


def rows(recipe: Path, name: str = "metrics.jsonl", split: str | None = "train") -> list[dict[str, Any]]:
    """Rows of the only stage of a run that stands beside its recipe."""
    (path,) = (recipe.parent / "runs" / recipe.stem / "stages").glob(f"01-*/{name}")
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in found if split is None or row.get("split") == split]


def trained(recipe: Path) -> dict[str, torch.Tensor]:
    (path,) = (recipe.parent / "runs" / recipe.stem / "stages").glob("01-*/model/model.safetensors")
    return load_file(path)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def learn(write_recipe: Write, rewards: str, name: str) -> tuple[float, float, float]:
    """Gold reward at the start and at the end of a short run, and the largest gradient on the way."""
    stage = (
        'grpo: {data: "world:prompts?n=600&tasks=add,sub&seed=2", prompts: 12, group_size: 8, max_tokens: 40, '
        f"learning_rate: 3.0e-4, dtype: bfloat16, steps: 24, holdout: 0, rewards: {rewards}}}"
    )
    recipe = write_recipe(stage, name=name)
    hizala.run(recipe, report=False)
    metrics = rows(recipe)
    gold = [row["reward/gold"] for row in metrics]
    return sum(gold[:4]) / 4, sum(gold[-4:]) / 4, max(row["grad_norm"] for row in metrics)


def test_it_learns_what_is_rewarded_unlearns_what_is_punished_and_nothing_from_nothing(write_recipe: Write) -> None:
    start, end, _ = learn(write_recipe, "{gold: 1.0}", "up")
    assert end > start + 0.12
    start, end, _ = learn(write_recipe, "{gold: -1.0}", "down")
    assert end < start - 0.12
    # A reward that every response gets says nothing: there is no gradient at all.
    _, _, gradient = learn(write_recipe, "{gold: 0.0, regex: {pattern: '(?s).*', weight: 1.0}}", "still")
    assert gradient == 0


def test_the_same_seed_gives_the_same_run_and_another_seed_another(write_recipe: Write) -> None:
    stage = f"grpo: {{{SMALL}, {GOLD}, steps: 3}}"
    recipes = [write_recipe(stage, name="one"), write_recipe(stage, name="two")]
    other = write_recipe(f"grpo: {{{SMALL}, {GOLD}, steps: 3, seed: 9}}", name="other")
    for recipe in (*recipes, other):
        hizala.run(recipe, report=False)
    assert same(trained(recipes[0]), trained(recipes[1]))
    assert rows(recipes[0], "samples.jsonl", None) == rows(recipes[1], "samples.jsonl", None)
    assert rows(recipes[0]) == rows(recipes[1])
    assert not same(trained(recipes[0]), trained(other))


def test_every_row_of_the_table_runs_and_reports(write_recipe: Write) -> None:
    for row in ("grpo", "dr_grpo", "dapo", "gspo", "rloo", "remax", "reinforce_pp", "cispo", "ppo", "maxrl"):
        extra = ", overlong_buffer: 8" if row == "dapo" else ""
        recipe = write_recipe(f"{row}: {{{SMALL}, {GOLD}, steps: 2{extra}}}", name=row)
        hizala.run(recipe, report=False)
        metrics = rows(recipe)
        assert len(metrics) == 2, row
        told = ("loss", "reward/mean", "reward/gold", "samples/entropy", "groups/silent", "pass/4", "mismatch/max")
        assert not set(told) - metrics[0].keys(), row
        assert metrics[-1]["mismatch/max"] < 1e-4, row
        assert metrics[-1]["mismatch/ess"] == pytest.approx(1.0, abs=1e-6)


VARIANTS = {
    "shared-critic": "ppo: {critic: shared, value_weight: 0.5, minibatches: 2, passes: 2}",
    "critic-alone-first": "ppo: {critic_warmup: 2, critic_learning_rate: 1.0e-3}",
    "kl-in-loss": "grpo: {kl_in: loss, beta: 0.05, estimator: k3_plus}",
    "kl-of-adapters": "grpo: {kl_in: loss, beta: 0.05, lora: {rank: 4}}",
    "kl-in-reward": "rloo: {kl_in: reward, beta: 0.05, kl_estimator: k2, kl_target: 4.0, kl_rate: 0.5}",
    "corrected": "grpo: {correction: mask, correction_level: geometric, correction_low: 0.5, correction_high: 1.5}",
    "uncertain": "grpo: {uncertain_share: 0.2, entropy_weight: 0.01}",
    "truncated": "grpo: {temperature: 0.8, top_p: 0.9, top_k: 40, minibatches: 2}",
    "cut": "grpo: {max_tokens: 10, mask_truncated: true}",
}


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_what_can_be_asked_for_is_done(variant: str, write_recipe: Write) -> None:
    row, _, extra = VARIANTS[variant].partition(": {")
    given = SMALL.replace("max_tokens: 32, ", "") if "max_tokens" in extra else SMALL
    recipe = write_recipe(f"{row}: {{{given}, {GOLD}, steps: 3, {extra}")
    hizala.run(recipe, report=False)
    metrics = rows(recipe)
    assert len(metrics) == 3
    first, last = metrics[0], metrics[-1]
    match variant:
        case "shared-critic":
            assert "value/loss" in last
            assert "critic/loss" not in last
            assert first["clip/ratio"] != 1.0
        case "critic-alone-first":
            assert ["clip/loss" in row for row in metrics] == [False, False, True]
            assert all("critic/loss" in row for row in metrics)
        case "kl-in-loss" | "kl-of-adapters":
            assert first["kl/k3"] == pytest.approx(0.0, abs=1e-6)
            assert last["kl/k3"] > 0
        case "kl-in-reward":
            assert first["kl_reward/beta"] == 0.05
            # Nothing has moved yet: the price falls by the most that it may.
            assert metrics[1]["kl_reward/beta"] == pytest.approx(0.05 * 0.9)
        case "corrected":
            assert first["correction/weight"] == pytest.approx(1.0, abs=1e-4)
            assert first["correction/masked"] == 0
        case "uncertain":
            assert last["entropy/entropy"] > 0
        case "truncated":
            assert first["mismatch/max"] < 1e-3
            assert first["mismatch/outside"] < 0.01
        case "cut":
            assert first["samples/truncated"] > 0.2
            assert all(one["tokens"] <= 10 for row in rows(recipe, "samples.jsonl", None) for one in row["responses"])


def test_a_policy_gradient_without_weights_is_not_let_off_its_policy(write_recipe: Write) -> None:
    recipe = write_recipe(f"rloo: {{{SMALL}, {GOLD}, steps: 2, minibatches: 2}}")
    with pytest.raises(ConfigError, match="weights") as caught:
        hizala.run(recipe, report=False)
    assert "weighted" in str(caught.value.fix)
    recipe = write_recipe(f"rloo: {{{SMALL}, {GOLD}, steps: 2, minibatches: 2, weighted: true}}")
    hizala.run(recipe, report=False)
    assert len(rows(recipe)) == 2


def test_responses_sampled_ahead_come_from_weights_one_step_old(write_recipe: Write) -> None:
    recipe = write_recipe(f"grpo: {{{SMALL}, {GOLD}, steps: 4, staleness: 1, correction: truncate}}")
    hizala.run(recipe, report=False)
    metrics = rows(recipe)
    assert [row["samples/staleness"] for row in metrics] == [0, 1, 1, 1]
    assert metrics[0]["mismatch/max"] < 1e-4 < metrics[2]["mismatch/max"]
    assert {row["version"] for row in rows(recipe, "samples.jsonl", None)} == {0, 1, 2}


def test_dynamic_sampling_fills_a_step_with_groups_that_say_something(write_recipe: Write) -> None:
    stage = f"grpo: {{{SMALL}, {GOLD}, steps: 3, dynamic_sampling: true, refills: 6}}"
    recipe = write_recipe(stage)
    hizala.run(recipe, report=False)
    told = rows(recipe, "samples.jsonl", None)
    assert len(told) == 12
    telling = [len({one["score"] for one in row["responses"]}) > 1 for row in told]
    assert all(telling)
    assert all(row["groups/silent"] == 0 for row in rows(recipe))


def test_a_response_that_was_not_scored_is_not_trained_on(write_recipe: Write) -> None:
    """Half of the prompts have no answer that the reward could compare with."""
    prompts = [
        {"messages": [{"role": "user", "content": f"{n} + {n} kaç eder?"}], **({"answer": str(2 * n)} if n % 2 else {})}
        for n in range(1, 17)
    ]
    recipe = write_recipe("", name="partly")
    data = recipe.parent / "prompts.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in prompts))
    how = "prompts: 8, group_size: 2, max_tokens: 16, steps: 1, holdout: 0, rewards: {math: 1}"
    stage = f"grpo: {{data: '{data}', {how}}}"
    recipe = write_recipe(stage, name="partly")
    hizala.run(recipe, report=False)
    (row,) = rows(recipe)
    told = rows(recipe, "samples.jsonl", None)
    unscored = [one for each in told for one in each["responses"] if one["score"] is None]
    assert unscored
    assert row["samples/unscored"] == pytest.approx(len(unscored) / 16)
    assert all("answer" in one["reason"] for one in unscored)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("beta: 0.1", "kl_in"),
        ("kl_in: loss", "beta"),
        ("kl_target: 3.0", "kl_target"),
        ("correction_high: 3.0", "correction_high"),
        ("refills: 2", "refills"),
        ("overlong_buffer: 64", "overlong_buffer"),
        ("minibatches: 5", "minibatches"),
        ("refresh_reference: 5", "refresh_reference"),
        ("group_size: 1", "group_size"),
        ("estimator: k2", "estimator"),
        ("sampler_dtype: float32", "sampler_dtype"),
        ("rewards: {golden: 1.0}", "gold"),
        ("rewards: {gold: {wieght: 1.0}}", "wieght"),
        ("rewards: {gold: 0.0}", "weight"),
        ("clip_lo: 0.1", "clip_low"),
    ],
)
def test_settings_that_cannot_work_together_are_refused_before_anything_is_written(
    write_recipe: Write, settings: str, said: str
) -> None:
    given = {**dict(part.split(": ", 1) for part in SMALL.split(", ")), "steps": "2", "rewards": "{gold: 1.0}"}
    name, value = settings.split(": ", 1)
    given[name] = value
    stage = ", ".join(f"{key}: {value}" for key, value in given.items())
    recipe = write_recipe(f"grpo: {{{stage}}}")
    with pytest.raises(ConfigError, match=said):
        hizala.run(recipe, report=False)
    assert not (recipe.parent / "runs").exists()
