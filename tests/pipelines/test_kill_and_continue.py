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
ARTEFACTS = (
    "stages/01-sft/model/model.safetensors",
    "stages/01-sft/metrics.jsonl",
    "stages/02-dpo/model/model.safetensors",
    "stages/02-dpo/metrics.jsonl",
    "stages/02-dpo/checkpoints/step-00000012/optimizer.safetensors",
    "stages/02-dpo/checkpoints/step-00000012/weights.safetensors",
)


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


def test_a_run_killed_at_random_moments_ends_in_the_same_bits(write_recipe: Callable[..., Path]) -> None:
    undisturbed = write_recipe(*STAGES, name="undisturbed")
    whole = start(undisturbed)
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, output.decode()
    root = undisturbed.parent / "runs"
    total = metrics_rows(root / "undisturbed")

    killed = write_recipe(*STAGES, name="killed")
    run = root / "killed"
    inside = 0
    for number, at in enumerate(sorted(random.Random(11).sample(range(2, total - 4), 5))):
        wanted = writing_a_checkpoint if number % 2 else never
        process = start(killed)
        assert kill_when(process, lambda: metrics_rows(run) >= at or wanted(run)), "it ended before it was killed"  # noqa: B023
        inside += writing_a_checkpoint(run)
    assert inside, "no kill fell into the writing of a checkpoint"

    last = start(killed)
    output, _ = last.communicate(timeout=300)
    assert last.returncode == 0, output.decode()
    for name in ARTEFACTS:
        assert (run / name).read_bytes() == (root / "undisturbed" / name).read_bytes(), name
    states = [state_of(root / name / "stages/02-dpo/checkpoints/step-00000012") for name in ("killed", "undisturbed")]
    assert states[0] == states[1]
    proof = ledger.verify(run)
    assert proof.ok, proof.problem


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Random states and counters; how long the file of timings is differs with the clock."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text())
    state["extra"].pop("metrics")
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
