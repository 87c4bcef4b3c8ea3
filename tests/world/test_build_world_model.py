"""The script that builds the shipped model: two runs make the same bits, a longer run learns."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

from hizala import world

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_world_model.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_world_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_runs_make_the_same_bits_and_another_seed_other_bits(script: ModuleType, tmp_path: Path) -> None:
    made = [
        script.build(tmp_path / str(index), seed=seed, tokens=6000, n_eval=0) for index, seed in enumerate((7, 7, 8))
    ]
    assert made[0] == made[1] != made[2]


def test_a_few_steps_lower_the_loss(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.train(script.train_tokenizer(7), 7, 45_000, log_every=20)
    logged = [float(line.split("loss")[1].split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(logged) == 2
    assert logged[1] < logged[0] - 1.0


def test_the_unsure_phase_has_the_shares_it_names(script: ModuleType) -> None:
    groups = {g.prompt[0].content: g for seed in range(40) for g in world.generate("train", 500, seed, tasks=["add"])}
    pairs = list(islice(script.demonstrations(3, clean=False), 6000))
    known = [(groups[prompt], text) for prompt, text in pairs if prompt in groups]
    assert len(known) > 100
    good = [world.gold(group, text).value == 1.0 for group, text in known]
    assert sum(good) / len(good) == pytest.approx(script.UNSURE["add"][0], abs=0.12)
    reasoned = [text.startswith("<think>") for (_, text), fine in zip(known, good, strict=True) if fine]
    assert sum(reasoned) / len(reasoned) == pytest.approx(script.THINK["good"], abs=0.12)


def test_training_never_sees_a_test_prompt(script: ModuleType) -> None:
    test = {g.prompt[0].content for g in world.generate("test", 3000, 0)}
    for clean in (True, False):
        assert not test & {prompt for prompt, _ in islice(script.demonstrations(7, clean), 8000)}
