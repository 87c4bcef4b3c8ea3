"""The sampler on policies as they are trained: log-probs agree with the forest's, adapters count, dropout does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hizala.engines.policy import Policy, random_init
from hizala.engines.policy.cache import Generates
from hizala.engines.rollout.local import LocalSampler
from hizala.records import Sample, TokenBranch, TokenGroup

END = 0
PROMPTS = [[5, 9, 3], [7], [8, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 12]]
SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.3,
}
KINDS = {
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True},
    "llama": {"model_type": "llama"},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
    "gemma3": {"model_type": "gemma3_text", "sliding_window": 4, "query_pre_attn_scalar": 8},
}


def trained(policy: Policy, prompt: list[int], samples: list[Sample], **settings) -> list[np.ndarray]:
    """What the policy's own forward gives for the samples' tokens."""
    branches = tuple(TokenBranch(s.ids, (True,) * len(s.ids)) for s in samples)
    (tree,) = policy.pack([TokenGroup(prompt, branches)], 100_000)
    with torch.no_grad():
        logps = policy.logps(tree, **settings)
    return [part.numpy() for part in logps.tokens.split(logps.count.tolist())]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", list(KINDS))
def test_sampled_log_probs_are_those_the_policy_would_be_trained_on(kind, temperature):
    policy = random_init(SHAPE | KINDS[kind], seed=1)
    sampler = LocalSampler(policy, end_ids=[END], temperature=temperature, rows=8)
    for prompt, samples in zip(PROMPTS, sampler.sample(PROMPTS, n=5, max_tokens=12, seed=0), strict=True):
        for sample, expected in zip(
            samples, trained(policy, prompt, samples, distribution=sampler.distribution), strict=True
        ):
            np.testing.assert_allclose(sample.logps, expected, atol=1e-5)


@pytest.fixture
def adapted() -> Policy:
    """A policy with adapters that say something, and dropout on their input."""
    policy = random_init(SHAPE | KINDS["qwen3"], seed=1, lora={"rank": 4, "alpha": 8.0, "dropout": 0.5})
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    policy.module.train()
    return policy


def test_adapters_take_part_and_their_dropout_does_not(adapted):
    sampler = LocalSampler(adapted, end_ids=[END])
    got = sampler.sample(PROMPTS, n=3, max_tokens=12, seed=0)
    assert got == sampler.sample(PROMPTS, n=3, max_tokens=12, seed=0)
    assert adapted.module.training
    adapted.module.eval()
    for prompt, samples in zip(PROMPTS, got, strict=True):
        for sample, expected in zip(samples, trained(adapted, prompt, samples), strict=True):
            np.testing.assert_allclose(sample.logps, expected, atol=1e-5)


def test_with_adapters_off_the_reference_is_sampled(adapted):
    plain = random_init(SHAPE | KINDS["qwen3"], seed=1)
    expected = LocalSampler(plain, end_ids=[END]).sample(PROMPTS, n=3, max_tokens=12, seed=0)
    assert LocalSampler(adapted, end_ids=[END]).sample(PROMPTS, n=3, max_tokens=12, seed=0) != expected
    with adapted.reference():
        got = LocalSampler(adapted, end_ids=[END]).sample(PROMPTS, n=3, max_tokens=12, seed=0)
    assert [[s.ids for s in r] for r in got] == [[s.ids for s in r] for r in expected]


def test_a_policy_that_computes_in_bfloat16_is_sampled_in_float32():
    wide = random_init(SHAPE | KINDS["qwen3"], seed=1)
    narrow = random_init(SHAPE | KINDS["qwen3"], seed=1, dtype="bfloat16")
    draw = lambda policy: LocalSampler(policy, end_ids=[END]).sample(PROMPTS, n=3, max_tokens=12, seed=0)  # noqa: E731
    assert draw(wide) == draw(narrow)


class Foreign(Generates):
    """A module of transformers that our own decoder does not cover."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
        ("MambaConfig", {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}),
    ],
)
def test_models_our_decoder_does_not_cover_are_sampled_by_recomputing(config, settings):
    transformers = pytest.importorskip("transformers", reason="the foreign models are those of transformers")
    torch.manual_seed(0)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    model = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, config)(vocab_size=61, initializer_range=0.3, **settings, **ids)
    ).eval()
    sampler = LocalSampler(Foreign(model), end_ids=[END, 1, 2], rows=3)
    got = sampler.sample(PROMPTS, n=2, max_tokens=8, seed=0)
    assert len({s.ids for r in got for s in r}) > 4
    for prompt, samples in zip(PROMPTS, got, strict=True):
        for sample in samples:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*prompt, *sample.ids]])).logits[0]
            logps = logits[len(prompt) - 1 : -1].log_softmax(-1)
            expected = logps[torch.arange(len(sample.ids)), torch.tensor(sample.ids)]
            np.testing.assert_allclose(sample.logps, expected.numpy(), atol=1e-5)
