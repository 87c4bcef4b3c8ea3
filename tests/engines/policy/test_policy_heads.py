"""Heads: a score at each response's last token, a value before each counted token."""

from __future__ import annotations

import pytest
import torch

from hizala.engines.policy import load
from hizala.errors import ConfigError


@pytest.fixture
def policy(make_model, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path / "m")
    policy = load(tmp_path / "m", dtype="float64", heads=("score", "value"))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in policy.module.heads.parameters():
            parameter.normal_()
    return policy


def states(policy, model, ids):
    hidden = model.model(torch.tensor([ids])).last_hidden_state[0]
    score, value = policy.module.heads["score"], policy.module.heads["value"]
    return {"score": hidden @ score.weight[0], "value": hidden @ value.weight + value.bias}


def test_scores_and_values_equal_the_plain_forward(policy, make_model, make_groups, lift):
    model = make_model("qwen3")
    lift(model)
    policy.module.angle_dtype = torch.float64
    groups = make_groups((2, 1, 3), holes=True)
    tree = policy.pack(groups, 1000)[0]
    scores, values = [], []
    for group in groups:
        for response in group.responses:
            plain = states(policy, model, list(group.prompt) + list(response.ids))
            scores.append(plain["score"][-1])
            before = plain["value"][len(group.prompt) - 1 : -1]
            values += [v for v, m in zip(before, response.mask, strict=True) if m]
    assert torch.allclose(policy.scores(tree), torch.stack(scores), rtol=1e-10)
    assert torch.allclose(policy.values(tree), torch.stack(values), rtol=1e-10)
    ours, theirs = policy.scores(tree).square().sum(), torch.stack(scores).square().sum()
    ours.backward()
    theirs.backward()
    expected = dict(model.named_parameters())
    for name, parameter in policy.trainable().items():
        if name in expected and expected[name].grad is not None:
            difference = (parameter.grad - expected[name].grad).norm() / expected[name].grad.norm()
            assert difference <= 1e-10, name


def test_heads_are_saved_and_loaded_again(policy, make_groups, tmp_path):
    tree = policy.pack(make_groups((2,)), 1000)[0]
    policy.save(tmp_path / "saved")
    again = load(tmp_path / "saved", dtype="float64")
    assert torch.equal(again.scores(tree), policy.scores(tree))
    assert torch.equal(again.values(tree), policy.values(tree))


def test_a_fresh_value_head_says_nothing_and_a_missing_one_is_an_error(make_model, make_groups, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    policy = load(tmp_path, heads=("value",))
    tree = policy.pack(make_groups((3,)), 1000)[0]
    assert not policy.values(tree).any()
    with pytest.raises(ConfigError, match="no score head"):
        policy.scores(tree)


def test_a_fresh_score_head_says_little_and_teaches_the_model_beneath(make_model, make_groups, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    torch.manual_seed(3)
    policy = load(tmp_path, heads=("score",), labels=("one", "two"))
    scores = policy.scores(policy.pack(make_groups((3,)), 1000)[0])
    assert scores.shape == (3, 2)
    assert 0 < scores.abs().max() < 0.5
    assert (scores[:, 0] != scores[:, 1]).all()
    scores.sum().backward()
    assert policy.module.model.embed_tokens.weight.grad.abs().sum() > 0
    torch.manual_seed(3)
    again = load(tmp_path, heads=("score",), labels=("one", "two"))
    assert torch.equal(again.module.heads["score"].weight, policy.module.heads["score"].weight)


def test_heads_are_trained_beside_adapters(make_model, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    policy = load(tmp_path, heads=("score",), lora={"rank": 2, "alpha": 2.0})
    assert "heads.score.weight" in policy.trainable()
    assert "model.embed_tokens.weight" not in policy.trainable()
