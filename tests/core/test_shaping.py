"""Shaping of rewards, and which tokens are trained on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.core.shaping import cosine_length, soft_overlong, token_rewards, uncertain, whiten

quick = settings(max_examples=40, deadline=None)


def test_the_overlong_penalty_is_the_papers_three_pieces() -> None:
    """arXiv:2503.14476 eq. 13 with L_max 20 and L_cache 8."""
    length = np.array([1, 12, 13, 16, 20, 21, 500])
    expected = [0, 0, (12 - 13) / 8, (12 - 16) / 8, -1, -1, -1]
    np.testing.assert_array_equal(soft_overlong(length, limit=20, buffer=8), expected)


@quick
@given(st.integers(2, 500), st.data())
def test_the_overlong_penalty_falls_without_a_jump(limit: int, data: st.DataObject) -> None:
    buffer = data.draw(st.integers(1, limit - 1))
    penalty = soft_overlong(np.arange(2 * limit), limit=limit, buffer=buffer)
    assert (np.diff(penalty) <= 0).all()
    assert (np.abs(np.diff(penalty)) <= 1 / buffer + 1e-12).all()
    assert penalty[0] == 0
    assert penalty[limit] == -1


def test_the_cosine_reward_goes_from_short_to_long_and_drops_beyond() -> None:
    length, right = np.array([0, 50, 100, 0, 50, 99]), np.array([1, 1, 1, 0, 0, 0], dtype=bool)
    got = cosine_length(length, right, limit=100)
    late = -10 * (1 + math.cos(math.pi * 0.99)) / 2
    np.testing.assert_allclose(got, [2.0, 1.5, -10.0, -10.0, -5.0, late], rtol=1e-12)


@quick
@given(st.integers(2, 300))
def test_right_answers_lose_and_wrong_ones_gain_by_length(limit: int) -> None:
    length = np.arange(limit)
    assert (np.diff(cosine_length(length, np.ones(limit), limit=limit)) < 0).all()
    assert (np.diff(cosine_length(length, np.zeros(limit), limit=limit)) > 0).all()


@quick
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(0.1, 10), st.floats(-10, 10))
def test_whitening_undoes_scale_and_shift(values: list[float], scale: float, shift: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    if float(x.std()) < 1e-2:
        return
    torch.testing.assert_close(whiten(scale * x + shift), whiten(x), rtol=1e-4, atol=1e-4)
    white = whiten(x)
    assert float(white.mean()) == pytest.approx(0, abs=1e-9)
    assert float(white.std()) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(whiten(x, centre=False), white + x.mean(), rtol=1e-9, atol=1e-9)


def test_whitening_leaves_out_what_is_not_known_and_counts_by_weight() -> None:
    x = torch.tensor([1.0, torch.nan, 4.0, 2.0])
    white = whiten(x, weight=torch.tensor([2, 5, 1, 0]))
    mean, var = (1 + 1 + 4) / 3, ((1 - 2) ** 2 * 2 + (4 - 2) ** 2) / 2
    assert white[[0, 2]].tolist() == pytest.approx([(v - mean) / math.sqrt(var + 1e-8) for v in (1.0, 4.0)], rel=1e-12)
    assert bool(white[1].isnan())
    assert float(white[3]) == pytest.approx((2 - mean) / math.sqrt(var + 1e-8), rel=1e-12)


@pytest.mark.parametrize("values", [[0.1, 0.1, 0.1], [5.0], [], [torch.nan], [torch.nan, 0.3]])
def test_values_that_do_not_differ_become_zero(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    white = whiten(x)
    assert white.isnan().equal(x.isnan())
    assert not white.nan_to_num().any()


def test_a_response_is_rewarded_at_its_last_token_and_pays_for_kl_at_each() -> None:
    count = torch.tensor([2, 0, 3, 1])
    segments = torch.tensor([0, 0, 2, 2, 2, 3])
    kl = torch.tensor([1.0, 2.0, 0.0, -1.0, 3.0, 4.0], dtype=torch.float64)
    got = token_rewards(torch.tensor([10.0, 20.0, 30.0, torch.nan]), segments, count, kl=kl, beta=0.5)
    np.testing.assert_equal(got.numpy(), [-0.5, 9.0, 0.0, 0.5, 28.5, np.nan])
    plain = token_rewards(torch.tensor([10.0, 20.0, 30.0, 40.0]), segments, count)
    assert plain.tolist() == [0.0, 10.0, 0.0, 0.0, 30.0, 40.0]


@quick
@given(st.integers(1, 200), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_the_share_of_uncertain_tokens_is_the_share_asked_for(n: int, share: float, seed: int) -> None:
    entropy = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = uncertain(entropy, share)
    assert int(kept.sum()) == max(1, round(share * n))
    if not kept.all():
        assert float(entropy[kept].min()) > float(entropy[~kept].max())


def test_no_tokens_and_equal_tokens() -> None:
    assert uncertain(torch.zeros(0), 0.5).shape == (0,)
    assert uncertain(torch.ones(4), 0.25).all()
