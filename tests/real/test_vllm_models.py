"""vLLM holds the weights of every family exactly: tied or not, with biases, adapters, windows, in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from hizala import world
from hizala.engines.policy import Policy, load, random_init
from hizala.engines.rollout.vllm.sampler import VllmSampler
from hizala.errors import TrainError
from hizala.records import TokenBranch, TokenGroup

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.real

END = 0
SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "initializer_range": 0.2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
KINDS: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": False},
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False},
    "gemma3": {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "query_pre_attn_scalar": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
        },
    },
}
PROMPTS = [[5, 9, 3], [7, 8], list(range(10, 60))]


def gap(policy: Policy, sampler: VllmSampler, tolerance: float) -> float:
    """Largest |log-prob reported - the policy's own| over a few samples, nats."""
    largest = 0.0
    for prompt, samples in zip(PROMPTS, sampler.sample(PROMPTS, n=3, max_tokens=10, seed=0), strict=True):
        branches = tuple(TokenBranch(s.ids, (True,) * len(s.ids)) for s in samples)
        (tree,) = policy.pack([TokenGroup(prompt, branches)], 1 << 20)
        with torch.no_grad():
            ours = policy.logps(tree).tokens.numpy()
        largest = max(largest, float(np.abs(np.concatenate([s.logps for s in samples]) - ours).max()))
    assert largest < tolerance
    return largest


def move(policy: Policy, size: float = 0.05) -> None:
    """A step that reaches every trained tensor."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)


@pytest.mark.parametrize("kind", list(KINDS))
def test_weights_of_every_family_are_in_use_after_a_step(kind: str) -> None:
    policy = random_init(SHAPE | KINDS[kind], seed=1)
    with VllmSampler(policy, end_ids=[END], kv_cache_bytes=1 << 24, rows=16) as sampler:
        gap(policy, sampler, 1e-4)
        move(policy)
        sampler.sync(policy, 1)
        assert sampler.synced.unknown == ()
        # Matrices of two layers, their norms, embedding, last norm and output layer.
        assert sampler.synced.compared >= 2 * 4 + 2 * 2 + 3
        assert sampler.synced.gap < 1e-5
        gap(policy, sampler, 1e-4)


def test_adapters_are_added_in(record_property: Callable[[str, object], None]) -> None:
    policy = load(world.model_dir(), lora={"rank": 4, "alpha": 8.0, "dropout": 0.5, "merge": False})
    with VllmSampler(policy, end_ids=[2045], kv_cache_bytes=1 << 26, rows=16) as sampler:
        first = sampler.synced.digest
        move(policy)
        sampler.sync(policy, 1)
        assert sampler.synced.digest != first
        policy.module.eval()
        record_property("gap", float(gap(policy, sampler, 1e-3)))


def test_bfloat16_is_exact_in_weights_and_near_in_log_probs(record_property: Callable[[str, object], None]) -> None:
    policy = load(world.model_dir(), dtype="bfloat16")
    with VllmSampler(policy, end_ids=[2045], dtype="bfloat16", kv_cache_bytes=1 << 26, rows=16) as sampler:
        move(policy, 0.01)
        sampler.sync(policy, 1)
        assert sampler.synced.compared == 35
        assert 1e-4 < sampler.synced.gap < 0.1
        record_property("gap", {"probe": float(sampler.synced.gap), "largest": float(gap(policy, sampler, 0.5))})


@pytest.fixture
def foreign(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    """A tiny random model that transformers computes for us."""
    torch.manual_seed(0)
    shape = {name: value for name, value in SHAPE.items() if name != "rope_parameters"}
    shape |= {"pad_token_id": 1, "eos_token_id": 0, "bos_token_id": None}
    if request.param == "granite":
        transformers.GraniteForCausalLM(transformers.GraniteConfig(**shape)).save_pretrained(tmp_path)
    else:
        config = transformers.MixtralConfig(**shape, num_local_experts=4)
        transformers.MixtralForCausalLM(config).save_pretrained(tmp_path)
    return load(tmp_path)


@pytest.mark.parametrize("foreign", ["granite"], indirect=True)
def test_a_model_that_transformers_computes_is_handed_over_too(foreign: Policy) -> None:
    with VllmSampler(foreign, end_ids=[END], kv_cache_bytes=1 << 24, rows=16) as sampler:
        move(foreign)
        sampler.sync(foreign, 1)
        assert sampler.synced.unknown == ()
        assert sampler.synced.gap < 1e-4
        gap(foreign, sampler, 1e-3)


@pytest.mark.parametrize("foreign", ["mixtral"], indirect=True)
def test_experts_have_the_names_of_files_and_a_reload_that_breaks_them_is_refused(
    foreign: Policy, tmp_path: Path
) -> None:
    """transformers holds all experts in one tensor; vLLM's CPU build computes with others after a reload."""
    stored = load_file(tmp_path / "model.safetensors")
    handed = foreign.tensors()
    assert stored.keys() == handed.keys()
    assert all(torch.equal(stored[name], handed[name]) for name in stored)
    with pytest.raises(TrainError, match="nats a token from the policy's, more than arithmetic explains"):
        VllmSampler(foreign, end_ids=[END], kv_cache_bytes=1 << 24, rows=16)


def test_what_an_engine_cannot_hold_is_said_and_leaves_nothing() -> None:
    policy = random_init({**SHAPE, **KINDS["llama"], "max_position_embeddings": 1 << 20}, seed=0)
    with pytest.raises(TrainError, match="vLLM does not start"):
        VllmSampler(policy, end_ids=[END], kv_cache_bytes=1 << 20, length=1 << 20)
    assert not torch.distributed.is_initialized()
