"""The engine with the real policy: number formats, adapters, continuing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from resumable import CONFIG, VOCAB
from toy_policy import make_groups

from hizala.algorithms import algorithms
from hizala.engines.policy import random_init
from hizala.engines.train import Engine, Objective, Settings, measure

GROUPS = make_groups(6, vocab=VOCAB, seed=4)
DPO = Objective.of(algorithms.get("dpo"), {"beta": 0.5})


def settings(steps: int) -> Settings:
    return Settings(learning_rate=3e-3, total_steps=steps, token_budget=128)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dpo_learns_the_pairs_with_weights_and_moments_in_float32(dtype: str) -> None:
    policy = random_init(CONFIG, 1, dtype=dtype)
    columns = {"reference": {g.id: m for g, m in zip(GROUPS, measure(policy, GROUPS, 128), strict=True)}}
    engine = Engine(policy, settings(12))
    reports = [engine.step(GROUPS, DPO, columns).metrics for _ in range(12)]
    assert reports[0]["dpo/loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert reports[-1]["dpo/margin"] > 1.0
    assert reports[-1]["dpo/accuracy"] == 1.0
    assert reports[-1]["kl"] > 0
    assert {p.dtype for p in policy.module.parameters()} == {torch.float32}
    moments = [v for state in engine.optimizer.state.values() for v in state.values()]
    assert {v.dtype for v in moments} == {torch.float32}


def test_adapters_train_alone_and_their_reference_stays_the_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = random_init(CONFIG, 1, lora={"rank": 4})
    with policy.reference():
        before = measure(policy, GROUPS, 128)
    frozen = {n: p.detach().clone() for n, p in policy.module.named_parameters() if not p.requires_grad}
    engine = Engine(policy, settings(8))
    columns = {"reference": {g.id: m for g, m in zip(GROUPS, before, strict=True)}}
    reports = [engine.step(GROUPS, DPO, columns).metrics for _ in range(8)]
    assert reports[-1]["dpo/margin"] > 0.1
    with policy.reference():
        after = measure(policy, GROUPS, 128)
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, parameter in policy.module.named_parameters():
        if name in frozen:
            assert parameter.equal(frozen[name]), name
    trained = engine.measure(GROUPS)
    engine.save(tmp_path)
    torch.manual_seed(1)
    fresh = Engine(random_init(CONFIG, 1, lora={"rank": 4}), settings(8))
    fresh.load(tmp_path)
    for a, b in zip(fresh.measure(GROUPS), trained, strict=True):
        np.testing.assert_array_equal(a, b)
