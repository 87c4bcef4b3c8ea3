"""Stages that teach themselves in iterations: their pairs are what they say, and a fall is noticed and undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hizala import config, ledger, world
from hizala.errors import ConfigError, HizalaError
from hizala.pipelines.build import run

SMALL = "iterations: 2, steps: 2, prompts: 12, batch_size: 4, max_tokens: 48, warmup: 0, schedule: constant"
GATE = 'gate: "gold:world:prompts?n=24&seed=8&tasks=add,sub"'
SFT = 'sft: {data: "world:chat?n=64&tasks=add,sub", steps: 2, batch_size: 8}'
SPIN = f'spin: {{data: "world:chat?n=48&tasks=add,sub", {SMALL}}}'
OWN = f'self_rewarding: {{data: "world:prompts?n=48&tasks=add,sub", {SMALL}}}'
FOUND = f'self_discovered: {{data: "world:prompts?n=48&tasks=add,sub", agreement: 0.2, {GATE}, {SMALL}}}'


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stage_of(recipe: Path, name: str) -> Path:
    return run(config.load(recipe)).path / "stages" / name


def weights(model: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(model / "model.safetensors").items()}


def test_spin_prefers_the_demonstration_to_what_the_policy_says(write_recipe: Callable[..., Path]) -> None:
    stage = stage_of(write_recipe(SPIN), "01-spin")
    demonstrations = {g.responses[0].text for g in world.chat(n=48, tasks=("add", "sub"))}
    samples = rows(stage / "samples.jsonl")
    assert len(samples) == 24
    used = [row for row in samples if "unused" not in row]
    assert used
    for row in used:
        assert row["responses"]["chosen"]["text"] in demonstrations
        assert row["responses"]["chosen"]["text"] != row["responses"]["rejected"]["text"]
    steps = [row for row in rows(stage / "metrics.jsonl") if "loss" in row]
    # Each iteration starts from its own reference (eq. 4.7 with p_theta = p_theta_t): the loss is log 2.
    assert [steps[0]["loss"], steps[2]["loss"]] == pytest.approx([np.log(2)] * 2, abs=1e-5)
    assert steps[3]["loss"] != pytest.approx(np.log(2), abs=1e-6)


def test_the_policy_judges_itself_in_words(write_recipe: Callable[..., Path]) -> None:
    stage = stage_of(write_recipe(OWN), "01-self_rewarding")
    for row in rows(stage / "samples.jsonl"):
        scores = [c["score"] for c in row["candidates"]]
        assert all(0.0 <= score <= 1.0 for score in scores)
        if "unused" not in row:
            assert row["responses"]["chosen"]["score"] > row["responses"]["rejected"]["score"] == min(scores)


def test_implicit_self_rewards_need_a_model_before_and_then_order_the_candidates(
    write_recipe: Callable[..., Path],
) -> None:
    stage = stage_of(
        write_recipe(SFT, OWN.replace("iterations: 2", "iterations: 1, judge: implicit")), "02-self_rewarding"
    )
    assert any("unused" not in row for row in rows(stage / "samples.jsonl"))
    with pytest.raises(HizalaError, match="was not trained from an earlier model"):
        run(config.load(write_recipe(OWN.replace("iterations: 2", "iterations: 2, judge: implicit"), name="alone")))


def test_discovered_pairs_have_two_witnesses(write_recipe: Callable[..., Path]) -> None:
    stage = stage_of(write_recipe(SFT, FOUND), "02-self_discovered")
    samples = rows(stage / "samples.jsonl")
    used = [row for row in samples if "unused" not in row]
    assert used
    for row in used:
        answers = [c["reason"].removeprefix("answer ") for c in row["candidates"]]
        assert row["agreement"] == answers.count(row["winner"]) / 8 >= 0.2
        assert row["responses"]["chosen"]["reason"] == f"answer {row['winner']}"
        assert row["responses"]["rejected"]["reason"] != f"answer {row['winner']}"
        winners = [c["score"] for c, a in zip(row["candidates"], answers, strict=True) if a == row["winner"]]
        others = [c["score"] for c, a in zip(row["candidates"], answers, strict=True) if a != row["winner"]]
        assert row["margin"] == pytest.approx(np.mean(winners) - np.mean(others))
        assert row["responses"]["chosen"]["score"] == max(winners)
        assert row["responses"]["rejected"]["score"] == min(others)
    harvests = [row for row in rows(stage / "metrics.jsonl") if "vote/agreement" in row]
    for number, row in enumerate(harvests):
        mine = samples[12 * number : 12 * (number + 1)]
        assert row["vote/agreement"] == pytest.approx(np.mean([r["agreement"] for r in mine]))
        assert row["pairs/yield"] == np.mean(["unused" not in r for r in mine])
        assert row["samples/length"] > 0
    looks = [row for row in rows(stage / "metrics.jsonl") if row["split"] == "eval"]
    assert len(looks) == 3
    assert "gate/gold_change" not in looks[0]
    assert "gate/gold_change" in looks[1]


def test_an_iteration_that_makes_it_worse_is_undone(write_recipe: Callable[..., Path]) -> None:
    harm = FOUND.replace("iterations: 2", "iterations: 2, learning_rate: 0.05")
    recipe = write_recipe(SFT, harm)
    result = run(config.load(recipe))
    stage = result.path / "stages" / "02-self_discovered"
    (finding,) = [f for f in json.loads((stage / "findings.json").read_text())["findings"] if f["kind"] == "gate"]
    assert "iteration 1 is undone" in finding["message"]
    before, after = weights(result.models["sft"]), weights(result.models["self_discovered"])
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=0)
    assert ledger.verify(result.path).ok
    kinds = [json.loads(line)["kind"] for line in (result.path / ledger.NAME).read_text().splitlines()]
    assert "round.rejected" in kinds


def test_a_change_of_length_beyond_its_share_is_undone(write_recipe: Callable[..., Path]) -> None:
    stage = stage_of(
        write_recipe(SFT, FOUND.replace("agreement: 0.2", "agreement: 0.2, gate_length: 1.0e-9")), "02-self_discovered"
    )
    found = json.loads((stage / "findings.json").read_text())["findings"]
    assert any("tokens longer than" in f["message"] for f in found)


def test_people_s_preferences_can_be_the_gate(write_recipe: Callable[..., Path]) -> None:
    pairs = FOUND.replace(GATE, 'gate: "pairs:world:preferences?n=40&seed=8"')
    stage = stage_of(write_recipe(SFT, pairs), "02-self_discovered")
    looks = [row for row in rows(stage / "metrics.jsonl") if row["split"] == "eval"]
    assert all(0.0 <= row["gate/accuracy"]["value"] <= 1.0 for row in looks)


def test_without_a_single_pair_a_stage_ends_and_says_so(write_recipe: Callable[..., Path]) -> None:
    stage = stage_of(write_recipe(SFT, FOUND.replace("agreement: 0.2", "agreement: 1.0")), "02-self_discovered")
    (finding,) = json.loads((stage / "findings.json").read_text())["findings"]
    assert finding["kind"] == "no-pairs"
    assert (stage / "model" / "model.safetensors").is_file()


def test_prompts_of_the_gate_are_not_trained_on(write_recipe: Callable[..., Path]) -> None:
    same = FOUND.replace(GATE, 'gate: "gold:world:prompts?n=24&tasks=add,sub"')
    stage = stage_of(write_recipe(SFT, same), "02-self_discovered")
    held = {g.prompt[-1].content for g in world.prompts(n=24, tasks=("add", "sub"))}
    assert not held & {row["prompt"] for row in rows(stage / "samples.jsonl")}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (FOUND.replace(GATE, "samples: 8"), "needs a gate"),
        (FOUND.replace("gold:", "silver:"), "unknown gate"),
        (FOUND.replace("agreement: 0.2", "evidence: likelihood, anchor: base"), "anchor has no effect"),
        (OWN.replace("steps: 2", "steps: 2, judge: gold"), "not the policy itself"),
        (OWN.replace("steps: 2", "steps: 2, gate_length: 0.5"), "without a gate"),
        (SPIN.replace("steps: 2", "steps: 2, reference: start"), "reference of SPIN"),
    ],
)
def test_settings_that_say_nothing_or_the_wrong_thing_are_refused(
    write_recipe: Callable[..., Path], stage: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write_recipe(SFT, stage))


@pytest.mark.parametrize(
    "stage",
    [
        SPIN.replace("world:chat?n=48", "world:prompts?n=48"),
        OWN.replace("world:prompts", "world:promts"),
        FOUND.replace("gold:world:prompts", "pairs:world:chat"),
        FOUND.replace("gold:world:prompts", "gold:no-such-file.jsonl#"),
    ],
)
def test_data_that_do_not_fit_are_refused_before_anything_is_written(
    write_recipe: Callable[..., Path], stage: str
) -> None:
    recipe = write_recipe(SFT, stage)
    with pytest.raises(HizalaError, match="stages"):
        run(config.load(recipe))
    assert not (recipe.parent / "runs").exists()


def kill_after(recipe: Path, metrics: Path, lines: int) -> None:
    """Kill a run as soon as a stage's metrics have so many rows."""
    command = [sys.executable, "-m", "hizala", "run", str(recipe), "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if metrics.is_file() and metrics.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("lines", [1, 3, 6])
def test_a_killed_iteration_continues_to_the_same_bits(write_recipe: Callable[..., Path], lines: int) -> None:
    stage = FOUND.replace("steps: 2", "steps: 3, save_every: 1")
    whole = stage_of(write_recipe(SFT, stage, name="whole"), "02-self_discovered")
    recipe = write_recipe(SFT, stage, name="killed")
    killed = recipe.parent / "runs" / "killed" / "stages" / "02-self_discovered"
    kill_after(recipe, killed / "metrics.jsonl", lines)
    run(config.load(recipe))
    for name in ("model/model.safetensors", "metrics.jsonl", "samples.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
