"""A run killed with SIGKILL at random moments, also inside a checkpoint's write, ends with the same bits."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from strike import checkpoint_being_written, rows_written, strike

from hizala.engines.train import checkpoint

DRIVER = str(Path(__file__).parents[2] / "support" / "resumable.py")
STEPS = 60


def final(directory: Path) -> dict[str, object]:
    """Every bit of the newest checkpoint, and the metrics log."""
    newest = checkpoint.find(directory / "checkpoints", "step")[0]
    checkpoint.verify(newest.path)
    out: dict[str, object] = {"step": newest.step, "metrics": (directory / "metrics.jsonl").read_bytes()}
    for name in ("weights", "optimizer"):
        for key, tensor in load_file(newest.path / f"{name}.safetensors").items():
            out[f"{name}:{key}"] = tensor.numpy().tobytes()
    document = checkpoint.read_json(newest.path / "state.json")
    return out | {"random": document["random"], "skipped": document["skipped"]}


@pytest.mark.real
@pytest.mark.parametrize("adapters", [(), ("lora",)], ids=["full", "lora"])
def test_run_killed_at_five_moments_continues_to_the_same_bits(tmp_path: Path, adapters: tuple[str, ...]) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    subprocess.run([sys.executable, DRIVER, str(undisturbed), str(STEPS), *adapters], check=True)
    command = [sys.executable, DRIVER, str(disturbed), str(STEPS), *adapters]
    draw = random.Random()  # another moment each time the test runs
    seed = draw.randrange(10**9)
    draw.seed(seed)
    killed = torn = 0
    for number in range(5):
        from_step = 2 + 11 * number + draw.randrange(8)
        delay = 0.0
        if number % 2:
            moment = checkpoint_being_written(disturbed / "checkpoints", from_step, draw.choice([1, 2000, 20000]))
        else:
            moment, delay = rows_written(disturbed / "metrics.jsonl", from_step), draw.random() * 0.02
        killed += strike(command, moment, delay=delay)
        torn += any((disturbed / "checkpoints").glob(".tmp-step-*"))
    assert killed == 5, f"seed {seed}"
    assert torn >= 1, f"no strike fell inside a write, seed {seed}"
    subprocess.run(command, check=True)
    assert final(disturbed) == final(undisturbed), f"seed {seed}"
