"""Checkpoints: complete, atomic, verified, pruned; the metrics log that goes with them."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_policy import ToyPolicy, make_groups

from hizala.algorithms import algorithms
from hizala.engines.train import Engine, MetricsLog, Objective, Settings, checkpoint
from hizala.errors import CheckpointError
from hizala.records import Estimate

OBJECTIVE = Objective.of(algorithms.get("sft"))


def engine(*, identity: str = "run", keep_last: int = 2, width: int = 16, seed: int = 0) -> Engine:
    settings = Settings(
        learning_rate=1e-2, total_steps=20, schedule="cosine", warmup=0.2, keep_last=keep_last, identity=identity
    )
    return Engine(ToyPolicy(seed=seed, dtype=torch.float32, width=width), settings)


def advance(trained: Engine, steps: int) -> None:
    groups = make_groups(8, responses=1)
    for _ in range(steps):
        trained.step([groups[random.randrange(8)] for _ in range(3)], OBJECTIVE)


def snapshot(trained: Engine) -> dict[str, bytes]:
    """Every bit that training depends on."""
    out = {n: p.detach().numpy().tobytes() for n, p in trained.policy.module.named_parameters()}
    for name, p in trained.policy.module.named_parameters():
        for key, value in trained.optimizer.state[p].items():
            out[f"{name}:{key}"] = value.numpy().tobytes()
    out["steps"] = str(trained.steps).encode()
    out["draws"] = repr((random.random(), np.random.rand(3).tobytes(), torch.rand(3))).encode()
    return out


def test_continued_run_has_the_bits_of_the_undisturbed_one(tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(3)
    first = engine()
    advance(first, 4)
    first.save(tmp_path, {"position": 12})
    advance(first, 5)
    expected = snapshot(first)
    random.seed(99)
    np.random.seed(99)
    second = engine(seed=5)
    advance(second, 1)
    assert second.load(tmp_path) == {"position": 12}
    assert second.steps == 4
    advance(second, 5)
    assert snapshot(second) == expected


def test_extra_state_comes_back_as_it_was_given(tmp_path: Path) -> None:
    extra = {
        "position": (3, 4),
        "order": [1, 2, None, True, 0.1, float("inf"), "şöyle"],
        "array": np.arange(6, dtype=np.int32).reshape(2, 3),
        "nested": {
            "tensor": torch.randn(3, dtype=torch.bfloat16),
            "empty": np.zeros((0, 2)),
            "s": np.float32(0.5),
        },
    }
    trained = engine()
    trained.save(tmp_path, extra)
    back = trained.load(tmp_path)
    assert back is not None
    assert back["position"] == (3, 4)
    assert back["order"] == extra["order"]
    np.testing.assert_array_equal(back["array"], extra["array"])
    assert back["array"].dtype == np.int32
    assert back["nested"]["tensor"].equal(extra["nested"]["tensor"])
    assert back["nested"]["empty"].shape == (0, 2)
    assert back["nested"]["s"] == 0.5
    with pytest.raises(CheckpointError, match="holds a object"):
        trained.save(tmp_path, {"x": object()})


def test_files_are_safetensors_and_json_and_tied_weights_stand_once(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    trained = engine()
    advance(trained, 1)
    path = trained.save(tmp_path)
    assert path is not None
    assert sorted(f.suffix for f in path.iterdir()) == [".json", ".json", *[".safetensors"] * 3]
    held = load_file(path / "weights.safetensors")
    assert held.keys() == dict(trained.policy.module.named_parameters()).keys()
    for name, p in trained.policy.module.named_parameters():
        assert held[name].equal(p)


def test_newest_are_kept_and_the_best_stands_beside_them(tmp_path: Path) -> None:
    trained = engine(keep_last=2)
    for step in range(1, 6):
        advance(trained, 1)
        trained.save(tmp_path, {"step": step})
        if step in (1, 3):
            trained.save(tmp_path, {"best": step}, best=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best-00000003", "step-00000004", "step-00000005"]
    assert trained.load(tmp_path) == {"step": 5}
    assert trained.load(tmp_path, best=True) == {"best": 3}
    assert trained.steps == 3


def test_no_checkpoint_is_none_and_saving_a_step_twice_keeps_the_newer(tmp_path: Path) -> None:
    trained = engine(keep_last=1)
    assert trained.load(tmp_path / "nowhere") is None
    trained.save(tmp_path, {"n": 1})
    trained.save(tmp_path, {"n": 2})
    assert trained.load(tmp_path) == {"n": 2}
    assert len(list(tmp_path.iterdir())) == 1


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
def test_damage_is_found_named_and_the_older_checkpoint_used(tmp_path: Path, name: str, damage: object) -> None:
    trained = engine()
    advance(trained, 1)
    trained.save(tmp_path, {"step": 1})
    advance(trained, 1)
    newest = trained.save(tmp_path, {"step": 2})
    assert newest is not None
    damage(newest / name)  # type: ignore[operator]
    fresh = engine()
    assert fresh.load(tmp_path) == {"step": 1}
    assert [f.kind for f in fresh.findings] == ["damaged-checkpoint"]
    assert fresh.findings[0].where == str(newest / name)
    shutil.rmtree(tmp_path / "step-00000001")
    with pytest.raises(CheckpointError, match=name):
        engine().load(tmp_path)


def test_checkpoint_of_another_run_or_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    trained = engine()
    advance(trained, 1)
    trained.save(tmp_path)
    other = engine(identity="other")
    before = snapshot_weights(other)
    with pytest.raises(CheckpointError, match="another run"):
        other.load(tmp_path)
    wide = engine(width=8)
    before_wide = snapshot_weights(wide)
    with pytest.raises(CheckpointError, match="another model"):
        wide.load(tmp_path)
    assert snapshot_weights(other) == before
    assert snapshot_weights(wide) == before_wide


def snapshot_weights(trained: Engine) -> dict[str, bytes]:
    return {n: p.detach().numpy().tobytes() for n, p in trained.policy.module.named_parameters()}


def test_frozen_weights_are_not_written_but_must_be_the_same(tmp_path: Path) -> None:
    def frozen(seed: int) -> Engine:
        policy = ToyPolicy(seed=seed)
        policy.module.embed.weight.requires_grad_(False)  # type: ignore[union-attr]
        return Engine(policy, Settings(learning_rate=1e-2, total_steps=5))

    trained = frozen(0)
    path = trained.save(tmp_path)
    assert path is not None
    assert b"embed.weight" not in (path / "weights.safetensors").read_bytes()
    assert frozen(0).load(tmp_path) == {}
    with pytest.raises(CheckpointError, match="frozen weights"):
        frozen(1).load(tmp_path)


def test_left_overs_of_an_interrupted_write_are_ignored_and_removed(tmp_path: Path) -> None:
    trained = engine()
    trained.save(tmp_path, {"ok": True})
    torn = tmp_path / ".tmp-step-00000009-1"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"half")
    assert trained.load(tmp_path) == {"ok": True}
    trained.save(tmp_path)
    assert not torn.exists()


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {support!r})
from toy_policy import ToyPolicy
from hizala.engines.train import Engine, Settings
from hizala.errors import CheckpointError
trained = Engine(ToyPolicy(), Settings(learning_rate=1e-2, total_steps=5))
root = Path(sys.argv[1])
trained.save(root, {{"good": 1}})
trained.steps = 1
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    trained.save(root, {{"good": 2}})
except CheckpointError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sorted(p.name for p in root.iterdir()), trained.load(root))
"""


def test_file_that_cannot_grow_gives_one_clear_error_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    support = str(Path(__file__).parents[2] / "support")
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(support=support), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written: File too large" in done.stdout
    assert "fix: free some space" in done.stdout
    assert "['step-00000000'] {'good': 1}" in done.stdout


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root")
def test_full_disk_gives_one_clear_error_and_the_old_checkpoint_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        small = engine(width=32)
        small.save(disk, {"good": 1})
        advance(small, 1)
        with pytest.raises(CheckpointError, match="No space left on device"):
            small.save(disk)
        assert [p.name for p in disk.iterdir()] == ["step-00000000"]
        assert engine(width=32).load(disk) == {"good": 1}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_metrics_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.train(1, {"loss": 0.5}, {"seconds": 1.0})
    log.evaluation(1, {"dpo/margin": Estimate(0.1, 0.0, 0.2, 8)})
    offset = log.offset()
    log.train(2, {"loss": 0.4}, {"seconds": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step":3,"lo')
    log = MetricsLog(tmp_path, offset=offset)
    log.train(2, {"loss": 0.4, "kl": float("inf")}, {"seconds": 2.0})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [
        {"step": 1, "split": "train", "loss": 0.5},
        {"step": 1, "split": "eval", "dpo/margin": {"value": 0.1, "low": 0.0, "high": 0.2, "n": 8}},
        {"step": 2, "split": "train", "loss": 0.4, "kl": None},
    ]
    assert len((tmp_path / "perf.jsonl").read_text().splitlines()) == 2


def test_metrics_log_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.train(1, {"loss": 0.5})
    offset = log.offset()
    log.close()
    (tmp_path / "metrics.jsonl").write_bytes(b"{}\n")
    with pytest.raises(CheckpointError, match="3 bytes"):
        MetricsLog(tmp_path, offset=offset)


def test_metrics_log_of_a_process_that_is_not_first_writes_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "stage", write=False)
    log.train(1, {"loss": 0.5})
    assert log.offset() == {}
    log.close()
    assert not (tmp_path / "stage").exists()


def test_find_orders_by_step_and_ignores_strangers(tmp_path: Path) -> None:
    for name in (
        "step-00000002",
        "step-00000010",
        "step-00000010-2",
        "best-00000010",
        "stepping",
        ".tmp-step-00000011",
    ):
        (tmp_path / name).mkdir()
    names = [found.path.name for found in checkpoint.find(tmp_path)]
    assert names == ["step-00000010-2", "step-00000010", "best-00000010", "step-00000002"]
