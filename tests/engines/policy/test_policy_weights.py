"""Model directories: what is saved loads in transformers, and what is damaged is refused with one clear error."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hizala.engines.policy import load, random_init, weights
from hizala.errors import ConfigError, ModelError

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")
LORA = {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "down_proj"]}


def hf_logits(path, ids):
    from transformers import AutoModelForCausalLM

    model, info = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        return model.eval()(ids[None]).logits[0]


def our_logits(policy, ids):
    from hizala.engines.policy.attention import attend_over
    from hizala.engines.policy.forest import plant
    from hizala.records import TokenGroup

    tree = plant([TokenGroup(ids.tolist(), ())])
    with torch.no_grad():
        attend = attend_over(tree, policy.arch.attention_scale)
        return policy.module.logits(policy.module(tree.ids, tree.positions, attend))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_policy_loads_in_transformers_and_here(family, make_model, tmp_path):
    ids = torch.arange(20)
    make_model(family, torch.float32).save_pretrained(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text("{}")
    policy = load(tmp_path / "a")
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.mul_(1.01)
    policy.save(tmp_path / "b")
    expected = our_logits(policy, ids)
    assert torch.allclose(hf_logits(tmp_path / "b", ids), expected, atol=1e-5)
    assert torch.equal(our_logits(load(tmp_path / "b"), ids), expected)
    assert (tmp_path / "b" / "tokenizer.json").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_merged_on_saving(family, make_model, tmp_path):
    ids = torch.arange(20)
    make_model(family, torch.float32).save_pretrained(tmp_path / "a")
    policy = load(tmp_path / "a", lora=LORA)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.1)
    policy.save(tmp_path / "b")
    assert torch.allclose(hf_logits(tmp_path / "b", ids), our_logits(policy, ids), atol=1e-4)


def test_adapters_can_be_saved_alone_and_read_by_peft_and_here(make_model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.arange(20)
    make_model("qwen3", torch.float32).save_pretrained(tmp_path / "a")
    policy = load(tmp_path / "a", lora={**LORA, "merge": False})
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.1)
    policy.save(tmp_path / "b")
    expected = our_logits(policy, ids)
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "a"), tmp_path / "b")
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(ids[None]).logits[0], expected, atol=1e-5)
    again = load(tmp_path / "b")
    assert again.has_adapters
    assert torch.equal(our_logits(again, ids), expected)


def test_sharded_weights_are_written_and_read(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_SHARD_BYTES", 40_000)
    make_model("llama", torch.float32).save_pretrained(tmp_path / "a")
    policy = load(tmp_path / "a")
    policy.save(tmp_path / "b")
    assert len(list((tmp_path / "b").glob("model-*-of-*.safetensors"))) > 2
    ids = torch.arange(20)
    assert torch.equal(our_logits(load(tmp_path / "b"), ids), our_logits(policy, ids))
    assert torch.allclose(hf_logits(tmp_path / "b", ids), our_logits(policy, ids), atol=1e-5)
    next((tmp_path / "b").glob("model-00002-*")).unlink()
    with pytest.raises(ModelError, match="lack"):
        load(tmp_path / "b")


def test_state_goes_out_and_in_bit_for_bit(make_model, tmp_path):
    make_model("qwen3", torch.float32).save_pretrained(tmp_path)
    for lora in (None, LORA):
        policy, other = load(tmp_path, lora=lora), load(tmp_path, lora=lora)
        with torch.no_grad():
            for parameter in policy.trainable().values():
                parameter.normal_()
        other.load_state_dict(policy.state_dict())
        assert all(torch.equal(other.state_dict()[n], t) for n, t in policy.state_dict().items())
    with pytest.raises(ModelError, match="another model"):
        load(tmp_path).load_state_dict(policy.state_dict())


def test_random_init_is_the_same_for_the_same_seed(make_model):
    config = make_model("gemma3_text").config.to_dict()
    a, b, c = (random_init(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not torch.equal(a["model.embed_tokens.weight"], c["model.embed_tokens.weight"])
    assert (a["model.norm.weight"] == 0).all()


def damage(path, how):
    file = path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "empty":
        file.write_bytes(b"")
    elif how == "absent":
        file.unlink()
    elif how == "pickled":
        file.rename(path / "pytorch_model.bin")
    elif how == "no config":
        (path / "config.json").unlink()
    elif how == "broken config":
        (path / "config.json").write_text("{")
    elif how == "unknown architecture":
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_type": "no_such_model"}))
    elif how == "gone":
        shutil.rmtree(path)
    else:
        change = {
            "a tensor lacks": lambda: tensors.pop(name),
            "another shape": lambda: tensors.update({name: tensors[name][:-1]}),
            "an unknown tensor": lambda: tensors.update({"model.extra": torch.zeros(2)}),
            "not finite": lambda: tensors[name].view(-1)[0].fill_(float("nan")),
        }
        change[how]()
        save_file(tensors, file)


DAMAGES = {
    "truncated": "damaged",
    "empty": "damaged",
    "absent": "no safetensors",
    "pickled": "never loaded",
    "no config": r"config\.json",
    "broken config": "cannot be read",
    "unknown architecture": "no_such_model",
    "gone": r"config\.json",
    "a tensor lacks": "up_proj",
    "another shape": "asks for",
    "an unknown tensor": "model.extra",
    "not finite": "not finite",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_directory_gives_one_clear_error(how, make_model, tmp_path):
    path = tmp_path / "model"
    make_model("qwen3", torch.float32).save_pretrained(path)
    damage(path, how)
    with pytest.raises(ModelError, match=DAMAGES[how]) as caught:
        load(path)
    assert "model" in caught.value.where


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "float16x"},
        {"attention": "none"},
        {"heads": ("reward",)},
        {"lora": {"rnk": 4}},
        {"lora": {"rank": 0}},
        {"lora": {"targets": ["qproj"]}},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, make_model, tmp_path):
    make_model("qwen3", torch.float32).save_pretrained(tmp_path)
    with pytest.raises(ConfigError):
        load(tmp_path, **settings)


def test_a_policy_without_adapters_is_no_reference(make_model, tmp_path):
    make_model("qwen3", torch.float32).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no adapters"), load(tmp_path).reference():
        pass
