"""The gate over attributes: fitted on pairs, it finds which quality counts for which prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.engines.policy import random_init
from hizala.engines.reward.gating import Gate, Gated, fit, fit_on, prompt_states
from hizala.engines.reward.scorers import Outputs
from hizala.errors import DataError, ModelError
from hizala.records import TokenBranch, TokenGroup


def planted(pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states, scores, which attribute counts): its sign in the state's first entry says which of two decides."""
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(pairs, 4))
    counts = (states[:, 0] > 0).astype(int)
    scores = rng.normal(size=(pairs, 2, 2)) * [1.0, 7.0] + [3.0, -20.0]
    better = scores[np.arange(pairs), :, counts].argmax(axis=1)
    turned = np.where((better == 1)[:, None, None], scores[:, ::-1], scores)
    return states, turned, counts


def right(gate: Gate, states: np.ndarray, scores: np.ndarray) -> float:
    shares = gate.shares(states)
    mixed = [gate.mixed(row, table) for row, table in zip(shares, scores, strict=True)]
    return float(np.mean([m[0] > m[1] for m in mixed]))


def test_the_gate_learns_which_attribute_counts_for_which_prompt() -> None:
    gate = fit(*planted(400, 0)[:2], decay=1e-3)
    states, scores, counts = planted(400, 1)
    assert right(gate, states, scores) > 0.95
    shares = gate.shares(states)
    assert np.mean(shares[np.arange(400), counts] > 0.5) > 0.95
    # No fixed weights can do so: each attribute decides half of the pairs.
    fixed = fit(np.zeros_like(planted(400, 0)[0]), planted(400, 0)[1])
    assert right(fixed, states, scores) < 0.85


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_shares_are_never_negative_and_add_up_to_one(seed: int) -> None:
    states, scores, _ = planted(20, seed)
    shares = fit(states, scores).shares(10 * states)
    assert (shares >= 0).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(20))


def test_units_and_offsets_of_attributes_change_nothing() -> None:
    states, scores, _ = planted(200, 2)
    plain, moved = fit(states, scores), fit(states, 5 * scores + [100.0, -3.0])
    np.testing.assert_allclose(plain.shares(states), moved.shares(states), atol=1e-5)
    one = plain.mixed(plain.shares(states)[0], scores[0])
    other = moved.mixed(moved.shares(states)[0], 5 * scores[0] + [100.0, -3.0])
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_strong_decay_gives_every_prompt_the_same_shares() -> None:
    states, scores, _ = planted(200, 3)
    shares = fit(states, scores, decay=1e4).shares(states)
    assert np.ptp(shares, axis=0).max() < 1e-3


def test_fitting_draws_nothing_and_moves_nothing_else() -> None:
    states, scores, _ = planted(50, 4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, other = fit(states, scores), fit(states, scores)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), before)


CONFIG = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}


def pairs() -> list[TokenGroup]:
    draw = np.random.default_rng(0)

    def ids(n: int) -> list[int]:
        return [int(i) for i in draw.integers(0, 61, n)]

    return [
        TokenGroup(ids(3), (TokenBranch(ids(4), [True] * 4), TokenBranch(ids(2), [True] * 2)), f"g{i}")
        for i in range(12)
    ]


def test_a_gated_reward_model_mixes_its_own_outputs(tmp_path) -> None:
    torch.manual_seed(0)
    policy = random_init(CONFIG, 0, heads=("score",), labels=("a", "b", "c"))
    with torch.no_grad():
        policy.module.heads["score"].weight.normal_()
    outputs, data = Outputs(policy, ("a", "b", "c"), token_budget=20), pairs()
    gate = fit_on(outputs, data, decay=0.1)
    gate.save(tmp_path)
    again = Gated(outputs, Gate.load(tmp_path))
    found, shares = again.score(data), again.shares(data)
    for group, scores, row, table in zip(data, found, shares, outputs.outputs(data), strict=True):
        units = (table - gate.score_mean.numpy()) / gate.score_std.numpy()
        np.testing.assert_allclose(scores, float(gate.scale) * units @ row, rtol=1e-10)
        state = policy.hidden(policy.pack([TokenGroup(group.prompt, ())], 100)[0])[-1].detach().numpy()
        np.testing.assert_allclose(prompt_states(policy, [group])[0], state, atol=1e-5)
    assert again.score([]) == []
    with pytest.raises(ModelError, match="mixes 3 attributes, the model has 2"):
        Gated(Outputs(policy, ("a", "b")), gate)


def test_a_gate_is_not_fitted_on_nothing_nor_read_from_nowhere(tmp_path) -> None:
    with pytest.raises(DataError, match="there are none"):
        fit(np.zeros((0, 4)), np.zeros((0, 2, 3)))
    with pytest.raises(DataError, match="without a score"):
        fit(np.zeros((1, 4)), np.full((1, 2, 3), np.nan))
    with pytest.raises(ModelError, match="gate cannot be read"):
        Gate.load(tmp_path)
