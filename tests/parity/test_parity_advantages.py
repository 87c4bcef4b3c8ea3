"""Advantages, importance weights, the KL controller and shaping against the installed peers' own code."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import peers_source as source
import pytest
import torch
from conformance_advantages import ADVANTAGES, AdvantagePeer, far, graded
from conformance_rollouts import rollouts
from peers_rollouts import mask, rows

from hizala.core.importance import weights
from hizala.core.kl import adapted
from hizala.core.shaping import soft_overlong

pytestmark = pytest.mark.parity

EVERY = [(name, peer) for name, peers in ADVANTAGES.items() for peer in peers]
SAME = [(name, peer) for name, peer in EVERY if peer.claim is None]
OTHER = [(name, peer) for name, peer in EVERY if peer.claim is not None]


def needs(package: str) -> None:
    if not source.installed(package):
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize(("name", "peer"), SAME, ids=[f"{name}-{peer.name}" for name, peer in SAME])
def test_the_peer_computes_our_advantages(name: str, peer: AdvantagePeer) -> None:
    needs(peer.package)
    batch = peer.batch()
    assert far(batch.ours(name, **peer.params), peer.theirs(batch)) <= peer.tolerance


@pytest.mark.parametrize(("name", "peer"), OTHER, ids=[f"{name}-{peer.name}" for name, peer in OTHER])
def test_the_peer_computes_other_advantages_and_they_are_the_ones_we_say(name: str, peer: AdvantagePeer) -> None:
    """When this fails the peer has changed, and what our documents say of it must."""
    needs(peer.package)
    batch = peer.batch()
    theirs = peer.theirs(batch)
    assert peer.claim is not None
    assert far(theirs, peer.claim(batch)) <= peer.tolerance
    assert far(batch.ours(name, **peer.params), theirs) > 1e-3
    assert peer.reason


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("beyond", ["truncate", "mask"])
def test_weights_for_the_samplers_mismatch_are_trls(level: Any, beyond: Any) -> None:
    needs("trl")
    case = rollouts()
    trainer = SimpleNamespace(
        vllm_importance_sampling_mode=f"{level}_{beyond}",
        vllm_importance_sampling_clip_min=0.3,
        vllm_importance_sampling_clip_max=1.7,
    )
    names = {
        "self": trainer,
        "torch": torch,
        "math": math,
        "completion_mask": mask(case),
        "tool_mask": None,
        "old_per_token_logps": rows(case, "old"),
        "sampling_per_token_logps": rows(case, "sampler"),
    }
    method = "GRPOTrainer._generate_and_score_completions"
    first, last = "mask = completion_mask if tool_mask", "if self.vllm_importance_sampling_mode in"
    source.block("trl", "trainer/grpo_trainer.py", method, first, last, names)
    theirs = names["vllm_importance_sampling_ratio"].expand(mask(case).shape)[mask(case) > 0]  # type: ignore[attr-defined]
    ours = weights(case.values("old"), case.values("sampler"), level=level, beyond=beyond, low=0.3, high=1.7)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("package", ["verl", "openrlhf"])
@pytest.mark.parametrize("kl", [0.0, 5.5, 6.0, 6.6, 40.0])
def test_the_price_of_kl_moves_as_the_peers_does_for_a_batch_of_a_tenth_of_the_horizon(package: str, kl: float) -> None:
    needs(package)
    controller = getattr(source, package)().AdaptiveKLController(0.2, 6.0, 10_000)
    controller.update(kl, 1_000)
    assert adapted(0.2, kl, target=6.0, rate=0.1) == pytest.approx(controller.value, rel=1e-12)


def test_the_overlong_penalty_is_openrlhfs() -> None:
    needs("openrlhf")
    lengths = torch.tensor([3, 40, 41, 50, 60])
    one = SimpleNamespace(response_length=lengths, rewards=torch.zeros(5, dtype=torch.float64))
    source.openrlhf().apply_overlong_penalty([one], 60, 20)
    np.testing.assert_allclose(one.rewards, soft_overlong(lengths.numpy(), limit=60, buffer=20), rtol=1e-12)


def test_the_overlong_penalty_is_trls() -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    from trl.rewards import get_soft_overlong_punishment

    lengths = [3, 40, 41, 50, 60, 75]
    theirs = get_soft_overlong_punishment(60, 20)(completion_ids=[[0] * n for n in lengths])
    np.testing.assert_allclose(soft_overlong(lengths, limit=60, buffer=20), theirs, rtol=1e-12)


def test_responses_of_a_batch_for_the_peers_are_not_all_alike() -> None:
    batch = graded()
    assert len(set(batch.count.tolist())) > 3
    assert float(batch.rewards.std()) > 0.3
