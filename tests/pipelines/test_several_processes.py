"""`torchrun -m hizala run`: several processes leave one run directory with the model one process would make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hizala import ledger

pytestmark = pytest.mark.real

SETTINGS = "steps: 3, batch_size: 8, save_every: 2, eval_every: 2, holdout: 0.2, learning_rate: 1.0e-4"
STAGES = (
    f'sft: {{data: "world:chat?n=48&seed=1", {SETTINGS}}}',
    f'dpo: {{data: "world:preferences?n=48&seed=1", {SETTINGS}}}',
    "evaluate: {suites: [preferences], held_out_of: dpo}",
)


def run(recipe: Path, processes: int) -> str:
    launcher = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    launcher += ["--local-addr=127.0.0.1", f"--nproc-per-node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "hizala", "run", str(recipe), "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_processes_make_the_model_that_one_makes(write_recipe: Callable[..., Path]) -> None:
    alone, together = write_recipe(*STAGES, name="alone"), write_recipe(*STAGES, name="together")
    run(alone, 1)
    spoken = run(together, 2)
    assert spoken.count("[1/3] sft") == 1, "one process speaks"
    runs = alone.parent / "runs"
    for stage in ("01-sft", "02-dpo"):
        left, right = (
            load_file(runs / name / "stages" / stage / "model" / "model.safetensors") for name in ("alone", "together")
        )
        assert left.keys() == right.keys()
        # Adam divides tiny gradients by their own size, so last bits of the gradient grow to parts of a step.
        assert max(float((left[k].float() - right[k].float()).abs().max()) for k in left) < 3e-5
        moved = torch.cat([(left[k].float()).flatten() for k in left])
        assert moved.isfinite().all()
    proof = ledger.verify(runs / "together")
    assert proof.ok, proof.problem


def test_two_processes_take_the_first_steps_of_rl_as_one_does(write_recipe: Callable[..., Path]) -> None:
    """Each samples and scores its share of the prompts; what is sampled is the same, so the steps are too."""
    stage = (
        'grpo: {data: "world:prompts?n=64&tasks=arithmetic", rewards: {gold: 1.0}, steps: 20, prompts: 5, '
        "group_size: 4, max_tokens: 32, learning_rate: 1.0e-4, save_every: 20, eval_every: 20}"
    )
    alone, together = write_recipe(stage, name="alone"), write_recipe(stage, name="together")
    run(alone, 1)
    run(together, 2)
    runs = alone.parent / "runs"
    left, right = (
        [json.loads(line) for line in (runs / name / "stages/01-grpo/metrics.jsonl").read_text().splitlines()]
        for name in ("alone", "together")
    )
    assert [row["step"] for row in left] == [row["step"] for row in right]
    trained = [(a, b) for a, b in zip(left, right, strict=True) if a["split"] == "train"]
    assert len(trained) == 20
    for a, b in trained:
        assert a.keys() == b.keys()
        for name in a.keys() - {"split", "mismatch/max", "mismatch/mean", "mismatch/kl"}:
            assert a[name] == pytest.approx(b[name], rel=2e-3, abs=2e-5), (a["step"], name)
    samples = [(runs / name / "stages/01-grpo/samples.jsonl").read_text() for name in ("alone", "together")]
    assert samples[0] == samples[1]
