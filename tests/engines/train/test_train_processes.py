"""One process and two (FSDP2 over gloo) make the same gradient, steps, metrics and checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from hizala.engines.train.world import World

DRIVER = str(Path(__file__).parents[2] / "support" / "sharded.py")
TORCHRUN = ["-m", "torch.distributed.run", "--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]


def run(out: Path, processes: int, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
    several = [*TORCHRUN, "--local-addr=127.0.0.1", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *several, DRIVER, str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out.with_suffix(".safetensors")), json.loads(out.with_suffix(".json").read_text())


def difference(a: dict[str, Any], b: dict[str, Any], kind: str) -> float:
    """Largest relative difference (by norm) of the tensors of a kind."""
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).norm() / b[k].double().norm()) for k in b if k.startswith(kind))


@pytest.mark.real
@pytest.mark.parametrize(
    ("dtype", "method", "gradient", "after"),
    [
        ("float64", "full", 1e-10, 1e-10),
        ("float64", "lora", 1e-10, 1e-10),
        ("float64", "reward", 1e-10, 1e-10),
        ("float32", "full", 1e-6, 1e-5),
    ],
)
def test_two_processes_make_the_gradient_of_one(
    tmp_path: Path, dtype: str, method: str, gradient: float, after: float
) -> None:
    one, said_one = run(tmp_path / "one", 1, dtype, method, "3")
    two, said_two = run(tmp_path / "two", 2, dtype, method, "3")
    assert (said_one["world"], said_two["world"]) == (1, 2)
    assert difference(two, one, "gradient") < gradient
    assert difference(two, one, "weight") < after
    assert difference(two, one, "measured") < after
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for got, expected in zip(said_two["reports"], said_one["reports"], strict=True):
        assert got == pytest.approx(expected, rel=tolerance, abs=tolerance)
    assert said_two["evaluated"].keys() == said_one["evaluated"].keys()
    for name, values in said_one["evaluated"].items():
        assert said_two["evaluated"][name] == pytest.approx(values, rel=tolerance, abs=tolerance)
    assert said_two["plain"], "whole() must give plain tensors"
    assert said_two["total"] == pytest.approx(said_one["total"], rel=1e-6)


@pytest.mark.real
def test_checkpoint_of_two_processes_continues_on_one_and_back(tmp_path: Path) -> None:
    arguments = ("float64", "full", "1")
    run(tmp_path / "a", 2, *arguments, str(tmp_path / "mixed"))
    run(tmp_path / "b", 1, *arguments, str(tmp_path / "mixed"))
    mixed, said = run(tmp_path / "c", 2, *arguments, str(tmp_path / "mixed"))
    for name in "def":
        alone, _ = run(tmp_path / name, 1, *arguments, str(tmp_path / "alone"))
    assert said["steps"] == 6
    assert difference(mixed, alone, "weight") < 1e-10
    assert difference(mixed, alone, "gradient") < 1e-10


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_disjoint_complete_and_balanced(size: int) -> None:
    sizes = [50, 3, 9, 41, 7, 7, 30, 12, 1, 28, 3]
    shares = [World(rank, size).share(sizes) for rank in range(size)]
    assert sorted(i for share in shares for i in share) == list(range(len(sizes)))
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes)
    assert all(share == sorted(share) for share in shares)
