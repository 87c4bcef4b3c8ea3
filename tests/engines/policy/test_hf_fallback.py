"""Architectures beyond our own decoder run through transformers; sharing is used only where it is proven equal."""

from __future__ import annotations

import pytest
import torch

from hizala.core.distribution import Distribution
from hizala.engines.policy import load
from hizala.engines.policy.hf import ROWS, SHARE, HfPolicy, sharing_of
from hizala.errors import ConfigError, ModelError

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
# What makes a type differ from our own decoder, so that transformers runs it.
EXTRA = {
    "gemma": {"head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "llama": {"rope_parameters": YARN},
    "mistral": {"rope_parameters": YARN, "sliding_window": None},
    "mixtral": {**EXPERTS, "sliding_window": None},
    "olmoe": EXPERTS,
    "qwen2": {"rope_parameters": YARN},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": {"rope_parameters": YARN, "head_dim": 8},
    "qwen3_moe": {**EXPERTS, "head_dim": 8},
    "glm": {"head_dim": 8},
    "mamba": {"state_size": 4, "num_hidden_layers": 2},
    "gpt_oss": {**EXPERTS, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4},
    "qwen3_next": {
        **EXPERTS,
        "head_dim": 8,
        "linear_num_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "shared_expert_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "gemma2": {"head_dim": 8, "sliding_window": 4},
    "starcoder2": {"sliding_window": 4},
}


def build(family, path, dtype=torch.float64):
    from transformers import AutoConfig, AutoModelForCausalLM

    drop = ("intermediate_size", "num_attention_heads") if family == "mamba" else ()
    shape = {k: v for k, v in SMALL.items() if k not in drop}
    config = AutoConfig.for_model(family, **{**shape, **EXTRA.get(family, {})})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(path)
    return model.to(dtype).eval()


def plain(model, groups):
    out = []
    for group in groups:
        for response in group.responses:
            ids = torch.tensor([list(group.prompt) + list(response.ids)])
            logp = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0], dim=-1)
            rows = range(len(group.prompt) - 1, ids.shape[1] - 1)
            out += [logp[r, t] for r, t, m in zip(rows, response.ids, response.mask, strict=True) if m]
    return torch.stack(out)


@pytest.mark.parametrize("family", [*SHARE, "mamba", "gpt_oss", "qwen3_next", "gemma2", "starcoder2"])
def test_log_probs_and_gradients_equal_one_plain_forward_a_response(family, make_groups, tmp_path):
    # The experts of transformers have no float64 kernel.
    single = "num_experts" in EXTRA.get(family, {})
    model = build(family, tmp_path, torch.float32 if single else torch.float64)
    policy = load(tmp_path, dtype="float32" if single else "float64")
    assert isinstance(policy, HfPolicy)
    assert policy.sharing == (family in SHARE)
    assert policy.sharing == (policy.reason == "")
    groups = make_groups((1, 2, 3), holes=True)
    ours = torch.cat([policy.logps(tree).tokens for tree in policy.pack(groups, 40)])
    theirs = plain(model, groups)
    # Some of these models compute parts in float32 whatever their weights are.
    assert ((ours - theirs).norm() / theirs.norm()).item() <= (1e-5 if single else 1e-6)
    weights = torch.randn(ours.shape, dtype=ours.dtype, generator=torch.Generator().manual_seed(1))
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    mine = torch.cat([p.grad.flatten() for p in policy.trainable().values() if p.grad is not None])
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert ((mine - expected).norm() / expected.norm()).item() <= (1e-4 if single else 1e-5)


def test_what_cannot_share_says_why():
    for kind, reason in ROWS.items():
        assert sharing_of({"model_type": kind}) == (False, reason)
    can, reason = sharing_of({"model_type": "no_such_type"})
    assert not can
    assert "proven" in reason
    assert not sharing_of({"model_type": "llama", "rope_scaling": {"type": "dynamic"}})[0]
    assert "window" in sharing_of({"model_type": "mistral", "sliding_window": 4})[1]
    assert sharing_of({"model_type": "qwen2", "sliding_window": 4, "use_sliding_window": False})[0]


def test_entropy_temperature_heads_adapters_and_saving(make_groups, tmp_path):
    from transformers import AutoModelForCausalLM

    model = build("olmo2", tmp_path / "a", torch.float32)
    lora = {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "down_proj"]}
    policy = load(tmp_path / "a", lora=lora, heads=("value",), checkpointing=True)
    groups = make_groups((2,))
    tree = policy.pack(groups, 1000)[0]
    measured = policy.logps(tree, entropy=True, distribution=Distribution(temperature=2.0))
    logits = model(torch.tensor([[*groups[0].prompt, *groups[0].responses[0].ids]])).logits[0] / 2.0
    logp = torch.log_softmax(logits[len(groups[0].prompt) - 1 : -1], dim=-1)
    n = int(measured.count[0])
    assert torch.allclose(measured.entropy[:n], -(logp.exp() * logp).sum(-1), atol=1e-5)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.2)
    assert policy.values(tree).shape == measured.tokens.shape
    after = policy.logps(tree).tokens
    with policy.reference():
        assert torch.allclose(policy.logps(tree).tokens, plain(model, groups), atol=1e-5)
    policy.save(tmp_path / "b")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32).eval()
    assert torch.allclose(plain(merged, groups), after, atol=1e-4)
    assert torch.allclose(load(tmp_path / "b").values(tree), policy.values(tree), atol=1e-4)
    assert torch.allclose(load(tmp_path / "b").logps(tree).tokens, after, atol=1e-4)


def test_bfloat16_computes_under_autocast(make_groups, tmp_path):
    model = build("olmo2", tmp_path, torch.float32)
    policy = load(tmp_path, dtype="bfloat16")
    groups = make_groups((2,))
    ours = policy.logps(policy.pack(groups, 1000)[0]).tokens
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, plain(model, groups), atol=0.1)
    assert all(p.dtype == torch.float32 for p in policy.trainable().values())


def test_a_damaged_foreign_model_is_one_clear_error(tmp_path):
    build("olmo2", tmp_path, torch.float32)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot load"):
        load(tmp_path)


def test_adapters_on_layers_that_are_not_there_are_refused(tmp_path):
    build("gpt_neox", tmp_path, torch.float32)
    with pytest.raises(ConfigError, match="gate_proj"):
        load(tmp_path, lora={"rank": 2, "alpha": 2.0, "targets": ["gate_proj"]})


def test_why_prompts_are_not_shared_is_on_record(tmp_path):
    build("mamba", tmp_path, torch.float32)
    policy = load(tmp_path)
    assert policy.facts["sharing"] == f"no: {ROWS['mamba']}"
