"""A run killed at any moment continues to the same bits, through the command a user types."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hizala import ledger

pytestmark = pytest.mark.real

SETTINGS = "steps: 12, batch_size: 8, save_every: 1, eval_every: 4, holdout: 0.1"  # much of its time it saves
STAGES = (
    f'sft: {{data: "world:chat?n=96&seed=1", {SETTINGS}}}',
    f'dpo: {{data: "world:preferences?n=96&seed=1", {SETTINGS}}}',
)
ROLLOUTS = (
    'data: "world:prompts?n=64&tasks=add", rewards: {gold: 1.0}, steps: 8, prompts: 4, group_size: 4, max_tokens: 24, '
    "save_every: 1, eval_every: 4, learning_rate: 2.0e-4"
)
CASES = {
    "offline": STAGES,
    "grpo": (f"grpo: {{{ROLLOUTS}, dynamic_sampling: true, kl_in: loss, beta: 0.05, refresh_reference: 3}}",),
    "ppo": (f"ppo: {{{ROLLOUTS}, minibatches: 2, kl_in: reward, beta: 0.05, kl_target: 1.0, staleness: 1}}",),
}


def start(recipe: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hizala", "run", str(recipe), "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def metrics_rows(run: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in run.glob("stages/*/metrics.jsonl"))


def writing_a_checkpoint(run: Path) -> bool:
    return any(run.glob("stages/*/checkpoints/.tmp-*"))


def never(run: Path) -> bool:
    return False


def kill_when(process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> bool:
    """SIGKILL the process once `reached`; False when it ended by itself before."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
    process.kill()
    process.wait()
    return False


@pytest.mark.parametrize("case", list(CASES))
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(case: str, write_recipe: Callable[..., Path]) -> None:
    undisturbed = write_recipe(*CASES[case], name="undisturbed")
    whole = start(undisturbed)
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, output.decode()
    root = undisturbed.parent / "runs"
    total = metrics_rows(root / "undisturbed")

    killed = write_recipe(*CASES[case], name="killed")
    run = root / "killed"
    inside = 0
    for number, at in enumerate(sorted(random.Random(11).sample(range(2, total - 2), 5))):
        wanted = writing_a_checkpoint if number % 2 else never
        process = start(killed)
        assert kill_when(process, lambda: metrics_rows(run) >= at or wanted(run)), "it ended before it was killed"  # noqa: B023
        inside += writing_a_checkpoint(run)
    assert inside, "no kill fell into the writing of a checkpoint"

    last = start(killed)
    output, _ = last.communicate(timeout=300)
    assert last.returncode == 0, output.decode()
    compared = [name for name in files_of(root / "undisturbed") if name.suffix != ".json"]
    assert {"model.safetensors", "metrics.jsonl", "weights.safetensors", "optimizer.safetensors"} <= {
        name.name for name in compared
    }
    for name in compared:
        assert (run / name).read_bytes() == (root / "undisturbed" / name).read_bytes(), name
    for name in files_of(root / "undisturbed"):
        if name.name == "state.json":
            assert state_of(run / name) == state_of(root / "undisturbed" / name)
    proof = ledger.verify(run)
    assert proof.ok, proof.problem


def files_of(run: Path) -> list[Path]:
    """What must be the same: models, metrics, samples, and the last checkpoint of everything that was trained."""
    found = [*run.glob("stages/*/model/*.safetensors"), *run.glob("stages/*/metrics.jsonl")]
    found += run.glob("stages/*/samples.jsonl")
    for home in {path.parent for path in run.glob("stages/*/checkpoints/**/step-*")}:
        newest = max(home.glob("step-*"))
        found += [path for path in newest.iterdir() if path.suffix == ".safetensors" or path.name == "state.json"]
    return sorted(path.relative_to(run) for path in found)


def state_of(document: Path) -> dict[str, Any]:
    """Random states and counters; how long the file of timings is differs with the clock."""
    state: dict[str, Any] = json.loads(document.read_text())
    state["extra"].pop("metrics", None)
    return state


def test_an_interrupt_writes_a_checkpoint_and_the_run_continues(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(STAGES[0].replace("steps: 12", "steps: 400").replace("save_every: 1", "save_every: 400"))
    run = recipe.parent / "runs" / "tiny"
    process = start(recipe)
    deadline = time.monotonic() + 120
    while metrics_rows(run) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output.decode()
    assert b"Traceback" not in output
    assert len(list(run.glob("stages/01-sft/checkpoints/step-*"))) == 1
    again = start(recipe)
    while b"continuing after step" not in (line := again.stdout.readline() if again.stdout else b""):
        assert line, "the run did not continue"
    again.kill()
    again.wait()
