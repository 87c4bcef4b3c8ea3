"""Advantages against plain counting in NumPy, and the laws they keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.core import advantages as adv
from hizala.errors import ConfigError

quick = settings(max_examples=40, deadline=None)
SIZES = [4, 1, 3, 2, 5]


def batch(seed: int = 0, missing: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards, some of them not scored, and groups of unlike size."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(SIZES)), SIZES)
    rewards = np.round(generator.normal(size=len(groups)), 2)
    rewards[generator.random(len(groups)) < missing] = np.nan
    return torch.from_numpy(rewards), torch.from_numpy(groups)


def by_group(rewards: torch.Tensor, groups: torch.Tensor, what: Any) -> np.ndarray:
    """`what(scored rewards of a group)` put back where they came from; NaN elsewhere."""
    out = np.full(len(rewards), np.nan)
    for group in np.unique(groups.numpy()):
        mine = np.flatnonzero((groups.numpy() == group) & ~np.isnan(rewards.numpy()))
        if len(mine):
            out[mine] = what(rewards.numpy()[mine])
    return out


def standard(r: np.ndarray, ddof: int, epsilon: float = 1e-4) -> np.ndarray:
    """Distance from the mean in standard deviations; 0 in a group that says nothing."""
    return np.zeros(len(r)) if len(r) < 2 or np.ptp(r) == 0 else (r - r.mean()) / (r.std(ddof=ddof) + epsilon)


@pytest.mark.parametrize(("deviation", "ddof"), [("sample", 1), ("population", 0)])
@pytest.mark.parametrize("seed", range(5))
def test_grpo_is_the_distance_from_the_mean_in_deviations(deviation: Any, ddof: int, seed: int) -> None:
    rewards, groups = batch(seed)
    expected = by_group(rewards, groups, lambda r: standard(r, ddof))
    np.testing.assert_allclose(adv.grpo(rewards, groups, deviation=deviation), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_grpo_over_the_deviation_of_the_batch(seed: int) -> None:
    rewards, groups = batch(seed)
    spread = np.nanstd(rewards.numpy(), ddof=1) + 1e-4
    expected = by_group(rewards, groups, lambda r: (r - r.mean()) / spread)
    np.testing.assert_allclose(adv.grpo(rewards, groups, deviation="batch"), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("deviation", "winner"), [("sample", 1.5), ("population", np.sqrt(3)), ("batch", 1.5)])
def test_the_winner_of_four_has_the_advantage_each_deviation_says(deviation: Any, winner: float) -> None:
    got = adv.grpo(torch.tensor([1.0, 0, 0, 0]), torch.zeros(4, dtype=torch.int64), deviation=deviation, epsilon=0.0)
    assert float(got[0]) == pytest.approx(winner, rel=1e-12)
    assert float(got.sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("deviation", ["sample", "population", "batch"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-4])
def test_groups_that_say_nothing_have_no_advantage(deviation: Any, epsilon: float) -> None:
    """One member, one scored member, or rewards all the same, whose mean may be rounded; unscored stays unscored."""
    rewards = torch.tensor([0.7, 0.1, 0.1, 0.1, np.nan, 0.3, np.nan], dtype=torch.float64)
    groups = torch.tensor([0, 1, 1, 1, 2, 2, 3])
    got = adv.grpo(rewards, groups, deviation=deviation, epsilon=epsilon)
    assert got[[0, 1, 2, 3, 5]].tolist() == [0.0] * 5
    assert got.isnan().tolist() == rewards.isnan().tolist()


@quick
@given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100))
def test_a_shift_of_a_groups_rewards_changes_nothing(seed: int, shift: float) -> None:
    rewards, groups = batch(seed)
    moved = torch.where(groups == 2, rewards + shift, rewards)
    torch.testing.assert_close(adv.grpo(moved, groups), adv.grpo(rewards, groups), rtol=1e-8, atol=1e-8, equal_nan=True)


@quick
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 100))
def test_advantages_in_deviations_do_not_see_the_unit_of_reward(seed: int, scale: float) -> None:
    rewards, groups = batch(seed)
    scaled = adv.grpo(scale * rewards, groups, epsilon=0.0)
    torch.testing.assert_close(scaled, adv.grpo(rewards, groups, epsilon=0.0), rtol=1e-9, atol=1e-9, equal_nan=True)


@quick
@given(seed=st.integers(0, 10**6), data=st.data())
def test_members_of_a_group_have_no_order(seed: int, data: st.DataObject) -> None:
    rewards, groups = batch(seed)
    order = torch.arange(len(groups))
    last = data.draw(st.permutations(range(10, 15)))
    order[10:15] = torch.tensor(last)
    torch.testing.assert_close(
        adv.grpo(rewards[order], groups), adv.grpo(rewards, groups)[order], rtol=1e-12, atol=1e-14, equal_nan=True
    )


def test_an_empty_batch_has_no_advantages() -> None:
    assert adv.grpo(torch.zeros(0), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def counts(seed: int = 0) -> torch.Tensor:
    """Sampled tokens of each response, one of them empty."""
    count = np.random.default_rng(seed).integers(1, 7, size=sum(SIZES))
    count[2] = 0
    return torch.from_numpy(count)


def whitened(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """To mean 0 and deviation 1, each value standing `weight` times."""
    every = np.repeat(x, weight)
    every = every[~np.isnan(every)]
    white: np.ndarray = (x - every.mean()) / np.sqrt(every.var(ddof=1) + 1e-8)
    return white


def left_out(r: np.ndarray) -> np.ndarray:
    """Each reward less the mean of the others."""
    if len(r) < 2 or np.ptp(r) == 0:
        return np.zeros(len(r))
    return np.array([r[i] - np.delete(r, i).mean() for i in range(len(r))])


@pytest.mark.parametrize("seed", range(5))
def test_baselines_of_a_group_are_what_they_say(seed: int) -> None:
    rewards, groups = batch(seed)
    plain = by_group(rewards, groups, lambda r: r - r.mean())
    np.testing.assert_allclose(adv.dr_grpo(rewards, groups), plain, rtol=1e-12, atol=1e-14)
    loo = by_group(rewards, groups, left_out)
    np.testing.assert_allclose(adv.rloo(rewards, groups), loo, rtol=1e-12, atol=1e-14)
    telling = by_group(rewards, groups, lambda r: np.full(len(r), float(np.ptp(r) > 0)))
    alpha = np.isfinite(telling).sum() / np.nansum(telling)
    np.testing.assert_allclose(adv.gpg(rewards, groups), alpha * plain, rtol=1e-12, atol=1e-14)
    right = torch.where(rewards.isnan(), rewards, (rewards > 0).double())
    expected = by_group(right, groups, lambda r: r / r.mean() - 1 if r.any() else 0 * r)
    np.testing.assert_allclose(adv.maxrl(right, groups), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["dr_grpo", "rloo", "gpg", "maxrl"])
def test_groups_that_say_nothing_have_no_advantage_by_any_baseline(name: str) -> None:
    rewards = torch.tensor([0.7, 0.1, 0.1, 0.1, np.nan, 0.3, np.nan, 0, 0], dtype=torch.float64)
    groups = torch.tensor([0, 1, 1, 1, 2, 2, 3, 4, 4])
    got = getattr(adv, name)(rewards, groups)
    assert got[[0, 1, 2, 3, 5, 7, 8]].tolist() == [0.0] * 7
    assert got.isnan().tolist() == rewards.isnan().tolist()


def test_maxrl_refuses_rewards_below_zero() -> None:
    with pytest.raises(ConfigError, match="below 0"):
        adv.maxrl(torch.tensor([1.0, -1.0]), torch.tensor([0, 0]))


def test_remax_and_reinforce_subtract_what_they_say() -> None:
    rewards, greedy = torch.tensor([1.0, 0.5, np.nan, 2.0]), torch.tensor([0.25, 0.25, 0.25, np.nan])
    np.testing.assert_equal(adv.remax(rewards, greedy).numpy(), [0.75, 0.25, np.nan, np.nan])
    np.testing.assert_equal(adv.reinforce(rewards).numpy(), [1.0, 0.5, np.nan, 2.0])


@pytest.mark.parametrize("seed", range(5))
def test_reinforce_pp_baseline_counts_a_response_as_often_as_it_has_tokens(seed: int) -> None:
    (rewards, groups), count = batch(seed), counts(seed)
    plain = by_group(rewards, groups, lambda r: r - r.mean())
    got = adv.reinforce_pp_baseline(rewards, groups, count)
    np.testing.assert_allclose(got, whitened(plain, count.numpy()), rtol=1e-12, atol=1e-14)


def responses(values: torch.Tensor, count: torch.Tensor) -> list[np.ndarray]:
    return [part.numpy() for part in torch.split(values, count.tolist())]


def tokens_of(seed: int, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rewards and values, float64."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, int(count.sum()), generator=generator, dtype=torch.float64)
    return first, second


@pytest.mark.parametrize("gamma", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("lam", [1.0, 0.95, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_gae_is_the_sum_it_is_defined_by(gamma: float, lam: float, seed: int) -> None:
    """Every term of sum over l of (gamma * lam)^l * delta, written out."""
    count = counts(seed)
    rewards, values = tokens_of(seed, count)
    got, returns = adv.gae(rewards, values, count, gamma=gamma, lam=lam, whiten=False)
    expected = []
    for r, v in zip(responses(rewards, count), responses(values, count), strict=True):
        delta = [r[t] + gamma * (v[t + 1] if t + 1 < len(v) else 0.0) - v[t] for t in range(len(r))]
        expected += [sum((gamma * lam) ** k * delta[t + k] for k in range(len(r) - t)) for t in range(len(r))]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(returns, expected + values.numpy(), rtol=1e-12, atol=1e-12)
    white, same = adv.gae(rewards, values, count, gamma=gamma, lam=lam)
    np.testing.assert_allclose(white, whitened(got.numpy(), np.ones(len(got), dtype=int)), rtol=1e-11, atol=1e-12)
    assert same.equal(returns)


@pytest.mark.parametrize("seed", range(3))
def test_without_discount_gae_is_the_return_less_the_value(seed: int) -> None:
    count = counts(seed)
    rewards, values = tokens_of(seed, count)
    got, returns = adv.gae(rewards, values, count, gamma=1.0, lam=1.0, whiten=False)
    to_come = np.concatenate([np.cumsum(r[::-1])[::-1] for r in responses(rewards, count)])
    np.testing.assert_allclose(got, to_come - values.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(returns, to_come, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_reinforce_pp_is_the_whitened_reward_to_come(gamma: float) -> None:
    count = counts(3)
    rewards, _ = tokens_of(3, count)
    got, returns = adv.reinforce_pp(rewards, count, gamma=gamma)
    to_come = [
        sum(gamma**k * r[t + k] for k in range(len(r) - t)) for r in responses(rewards, count) for t in range(len(r))
    ]
    np.testing.assert_allclose(returns, to_come, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got, whitened(np.array(to_come), np.ones(len(got), dtype=int)), rtol=1e-11, atol=1e-12)


def test_a_response_that_was_not_scored_spoils_no_other() -> None:
    count = torch.tensor([3, 2, 4])
    rewards, values = tokens_of(1, count)
    holed = rewards.clone()
    holed[4] = torch.nan
    kept = torch.tensor([0, 1, 2, 5, 6, 7, 8])
    each: list[tuple[Any, tuple[torch.Tensor, ...]]] = [(adv.gae, (values,)), (adv.reinforce_pp, ())]
    for fn, more in each:
        got, returns = fn(holed, *more, count)
        assert got[3:5].isnan().all()
        assert returns[3:5].isnan().all()
        alone, _ = fn(rewards[kept], *(v[kept] for v in more), torch.tensor([3, 4]))
        torch.testing.assert_close(got[kept], alone, rtol=1e-12, atol=1e-13)


def test_the_critic_explains_what_it_foresaw() -> None:
    returns = torch.tensor([1.0, 3.0, 2.0, torch.nan, 6.0])
    assert adv.explained_variance(returns.nan_to_num(9.0), returns) == 1.0
    assert adv.explained_variance(torch.full((5,), 7.0), returns) == pytest.approx(0.0, abs=1e-12)
    assert adv.explained_variance(-returns.nan_to_num(), returns) < 0
    assert np.isnan(adv.explained_variance(torch.zeros(3), torch.ones(3)))
