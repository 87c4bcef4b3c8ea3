"""The decoder computes what transformers computes, for one plain sequence."""

from __future__ import annotations

import pytest
import torch

from hizala.engines.policy.arch import NotNative, parse
from hizala.engines.policy.attention import SdpaAttend
from hizala.engines.policy.decoder import Decoder
from hizala.engines.policy.forest import plant
from hizala.errors import ModelError
from hizala.records import TokenBranch, TokenGroup

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_logits_equal_transformers(family, lifted, make_model, lift):
    model = make_model(family)
    decoder = Decoder(parse(model.config.to_dict()), torch.float64).double()
    decoder.load_state_dict(model.state_dict())
    if lifted:
        lift(model)
        decoder.angle_dtype = torch.float64
    ids = torch.arange(40) % 61
    tree = plant([TokenGroup(ids[:30].tolist(), (TokenBranch(ids[30:].tolist(), [True] * 10),))])
    with torch.no_grad():
        hidden = decoder(tree.ids, tree.positions, SdpaAttend(tree, decoder.arch.attention_scale))
        ours, theirs = decoder.logits(hidden), model(ids[None]).logits[0]
    error = (ours - theirs).norm() / theirs.norm()
    assert error <= (1e-12 if lifted else 1e-6)


def test_parameter_names_are_those_of_transformers(make_model):
    for family in FAMILIES:
        model = make_model(family)
        decoder = Decoder(parse(model.config.to_dict()))
        assert set(decoder.state_dict()) == set(model.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mamba"},
        {"hidden_act": "relu"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
        {"layer_types": ["linear_attention"] * 3},
    ],
)
def test_what_the_decoder_does_not_cover_is_said(change, make_model):
    config = {**make_model("qwen3").config.to_dict(), **change}
    with pytest.raises(NotNative):
        parse(config)


def test_a_config_that_makes_no_sense_is_refused(make_model):
    config = make_model("llama").config.to_dict()
    with pytest.raises(ModelError, match="inconsistent"):
        parse({**config, "num_key_value_heads": 3})
    del config["hidden_size"]
    with pytest.raises(ModelError, match="hidden_size"):
        parse(config)


def test_old_and_new_spelling_of_rotary_settings_mean_the_same(make_model):
    config = make_model("llama").config.to_dict()
    scaling = dict(config.pop("rope_parameters"))
    old = {**config, "rope_theta": scaling.pop("rope_theta"), "rope_scaling": scaling}
    assert parse(old).ropes == parse(make_model("llama").config.to_dict()).ropes
