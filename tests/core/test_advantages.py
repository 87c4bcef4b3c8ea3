"""Advantages against plain counting in NumPy, and the laws they keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.core import advantages as adv

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
