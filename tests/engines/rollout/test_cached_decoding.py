"""Decoding with a cache against whole forwards of transformers' own models, for every family the decoder covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hizala.engines.policy.arch import parse
from hizala.engines.policy.cache import Generates
from hizala.engines.policy.decoder import Decoder
from hizala.engines.rollout.local import LocalSampler

transformers = pytest.importorskip("transformers", reason="the reference models are those of transformers")

VOCAB, END = 61, 0
SMALL = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
SLIDING = ["sliding_attention", "sliding_attention", "full_attention"]
FAMILIES = {
    "llama": ("LlamaConfig", {}),
    "llama-one-key-head": ("LlamaConfig", {"num_key_value_heads": 1}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"tie_word_embeddings": True}),
    "mistral-window": ("MistralConfig", {"sliding_window": 5}),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 4, "layer_types": SLIDING, "query_pre_attn_scalar": 8}),
}
PROMPTS = [[5, 9, 3], [7], [8, 8, 1, 2, 3, 4, 5, 6, 7, 8, 9], [11, 12, 13, 14, 15], [7, 1]]


class Policy(Generates):
    """A module that generates."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module


def reference(family: str) -> nn.Module:
    """transformers' model of a family, with weights spread wide enough for lively distributions."""
    name, extra = FAMILIES[family]
    config = getattr(transformers, name)(**SMALL | {"attn_implementation": "eager"} | extra)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for name, p in model.named_parameters():
        p.data.normal_(0, 0.3 if "norm" not in name else 0.1)
    return model


def native(model: nn.Module) -> Policy:
    """Our decoder with the same weights."""
    decoder = Decoder(parse(model.config.to_dict()))
    missing, unexpected = decoder.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return Policy(decoder)


@torch.no_grad()
def whole(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """(len(ids), V) logits of one plain forward."""
    return model(input_ids=torch.tensor([list(ids)])).logits[0].float()


@pytest.fixture(params=list(FAMILIES))
def family(request) -> str:
    return request.param


def test_greedy_decoding_is_the_step_by_step_argmax(family):
    model = reference(family)
    sampler = LocalSampler(native(model), end_ids=[END], temperature=0, rows=3)
    for prompt, (sample,) in zip(PROMPTS, sampler.sample(PROMPTS, n=1, max_tokens=14, seed=0), strict=True):
        ids = list(prompt)
        for token in sample.ids:
            logits = whole(model, ids)[-1]
            assert logits[token] >= logits.max() - 1e-4
            ids.append(int(logits.argmax()))
            assert ids[-1] == token
        assert sample.truncated or sample.ids[-1] == END


@pytest.mark.parametrize("rows", [2, 64])
def test_reported_log_probs_are_those_of_a_whole_forward(family, rows):
    model = reference(family)
    sampler = LocalSampler(native(model), end_ids=[END, 1], rows=rows)
    got = sampler.sample(PROMPTS, n=4, max_tokens=14, seed=1)
    assert {s.truncated for r in got for s in r} == {True, False}
    for prompt, samples in zip(PROMPTS, got, strict=True):
        for sample in samples:
            logps = whole(model, [*prompt, *sample.ids])[len(prompt) - 1 : -1].log_softmax(-1)
            expected = logps[torch.arange(len(sample.ids)), torch.tensor(sample.ids)]
            np.testing.assert_allclose(sample.logps, expected.numpy(), atol=1e-5)


def test_recomputing_gives_what_the_cache_gives(family):
    model = reference(family)
    fast = LocalSampler(native(model), end_ids=[END, 1], rows=4).sample(PROMPTS, n=3, max_tokens=10, seed=2)
    slow = LocalSampler(Policy(model), end_ids=[END, 1], rows=4).sample(PROMPTS, n=3, max_tokens=10, seed=2)
    for a, b in zip(fast, slow, strict=True):
        assert [s.ids for s in a] == [s.ids for s in b]
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x.logps, y.logps, atol=1e-5)


def test_rows_decoded_with_others_give_the_samples_they_give_alone():
    policy = native(reference("gemma3"))
    together = LocalSampler(policy, end_ids=[END, 1], rows=64).sample(PROMPTS, n=4, max_tokens=14, seed=1)
    alone = [LocalSampler(policy, end_ids=[END, 1], rows=1).sample([p], n=4, max_tokens=14, seed=1)[0] for p in PROMPTS]
    assert [[s.ids for s in r] for r in together] == [[s.ids for s in r] for r in alone]


def test_decoding_is_float32_and_leaves_dtype_and_mode_as_they_were():
    model = reference("qwen3")
    policy = native(model)
    policy.module.dtype = torch.bfloat16
    policy.module.train()
    ((sample,),) = LocalSampler(policy, end_ids=[END]).sample([[5, 9]], n=1, max_tokens=14, seed=1)
    assert policy.module.dtype is torch.bfloat16
    assert policy.module.training
    logps = whole(model, [5, 9, *sample.ids])[1:-1].log_softmax(-1)
    expected = logps[torch.arange(len(sample.ids)), torch.tensor(sample.ids)]
    np.testing.assert_allclose(sample.logps, expected.numpy(), atol=1e-5)


def test_dtype_and_mode_are_restored_after_an_error():
    policy = native(reference("qwen3"))
    policy.module.dtype = torch.bfloat16
    with pytest.raises(IndexError):
        LocalSampler(policy, end_ids=[END]).sample([[VOCAB + 5]], n=1, max_tokens=2, seed=1)
    assert policy.module.dtype is torch.bfloat16
    assert policy.module.training


def test_a_changed_weight_changes_the_next_samples():
    policy = native(reference("qwen3"))
    before = LocalSampler(policy, end_ids=[END]).sample(PROMPTS, n=2, max_tokens=8, seed=1)
    with torch.no_grad():
        policy.module.model.layers[0].mlp.down_proj.weight.neg_()
    assert LocalSampler(policy, end_ids=[END]).sample(PROMPTS, n=2, max_tokens=8, seed=1) != before


def test_room_is_the_memory_of_the_cache():
    policy = native(reference("qwen3"))
    with policy.decoder(7, 20) as decoder:
        size = decoder.cache.numel() * 4
    assert policy.room(20, size) == 7
    assert policy.room(20, size - 1) == 6
    assert policy.room(20, 1) == 1


def test_the_context_is_the_one_the_config_names():
    assert Policy(reference("llama")).context_length == SMALL["max_position_embeddings"]
    assert Policy(nn.Linear(2, 2)).context_length is None
