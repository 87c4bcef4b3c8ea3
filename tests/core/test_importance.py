"""Mismatch of sampler and trainer: its figures, and the weights that correct for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hizala.core.importance import mismatch, weights
from hizala.core.logps import SeqLogps

COUNT = torch.tensor([2, 0, 3, 1])
SEGMENTS = torch.repeat_interleave(torch.arange(4), COUNT)


def logps(values: list[float]) -> SeqLogps:
    return SeqLogps(torch.tensor(values, dtype=torch.float64), SEGMENTS, COUNT)


SAMPLER = logps([-1.0, -2.0, -0.5, -3.0, -1.0, -0.1])
DELTA = np.array([0.2, -0.1, 0.0, 1.0, -2.0, 0.5])
OLD = logps((SAMPLER.tokens.numpy() + DELTA).tolist())
RATIO = np.exp(DELTA)
PRODUCT = np.exp([0.1, 0.1, -1.0, -1.0, -1.0, 0.5])
GEOMETRIC = np.exp([0.05, 0.05, -1 / 3, -1 / 3, -1 / 3, 0.5])


def test_figures_are_what_they_say() -> None:
    got = mismatch(OLD, SAMPLER)
    assert got.mean == pytest.approx(np.abs(DELTA).mean(), rel=1e-12)
    assert got.largest == pytest.approx(2.0, rel=1e-12)
    assert got.kl == pytest.approx(float((RATIO - 1 - DELTA).mean()), rel=1e-12)
    assert got.ess == pytest.approx(RATIO.sum() ** 2 / (6 * (RATIO**2).sum()), rel=1e-12)
    whole = np.exp([0.1, -1.0, 0.5])  # the response without tokens is none
    assert got.ess_response == pytest.approx(whole.sum() ** 2 / (3 * (whole**2).sum()), rel=1e-12)


def test_agreement_has_nothing_to_correct() -> None:
    got = mismatch(OLD, OLD)
    assert (got.mean, got.largest, got.kl) == (0.0, 0.0, 0.0)
    assert got.ess == pytest.approx(1.0, rel=1e-12)
    assert got.ess_response == pytest.approx(1.0, rel=1e-12)
    for level in ("token", "sequence", "geometric"):
        for beyond in ("truncate", "mask"):
            assert weights(OLD, OLD, level=level, beyond=beyond).equal(torch.ones(6, dtype=torch.float64))


def test_no_tokens_have_no_mismatch() -> None:
    none = SeqLogps(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert mismatch(none, none).ess == 1.0
    assert weights(none, none).shape == (0,)


def test_the_estimate_of_kl_has_the_divergence_as_its_mean() -> None:
    """Over all tokens the sampler can give, each as often as it gives it."""
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(7)), generator.dirichlet(np.ones(7))
    mean = 0.0
    for token in range(7):
        one = (torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64))
        old, sampler = (SeqLogps(torch.tensor([math.log(t[token])], dtype=torch.float64), *one) for t in (q, p))
        mean += p[token] * mismatch(old, sampler).kl
    assert mean == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-12)


@pytest.mark.parametrize(("level", "expected"), [("token", RATIO), ("sequence", PRODUCT), ("geometric", GEOMETRIC)])
def test_weights_are_ratios_in_their_bounds(level: str, expected: np.ndarray) -> None:
    cut = weights(OLD, SAMPLER, level=level, beyond="truncate", low=0.5, high=1.2)  # type: ignore[arg-type]
    np.testing.assert_allclose(cut, expected.clip(0.5, 1.2), rtol=1e-12)
    masked = weights(OLD, SAMPLER, level=level, beyond="mask", low=0.5, high=1.2)  # type: ignore[arg-type]
    inside = (expected >= 0.5) & (expected <= 1.2)
    np.testing.assert_allclose(masked, np.where(inside, expected, 0.0), rtol=1e-12)
    assert not masked.requires_grad


def test_unbounded_token_weights_turn_the_samplers_mean_into_the_trainers() -> None:
    """Importance sampling, exactly: sum over tokens of sampler * weight * f is the trainer's mean of f."""
    generator = np.random.default_rng(1)
    p, q, f = generator.dirichlet(np.ones(6)), generator.dirichlet(np.ones(6)), generator.normal(size=6)
    rows, one = torch.arange(6), torch.ones(6, dtype=torch.int64)
    old, sampler = (SeqLogps(torch.from_numpy(np.log(t)), rows, one) for t in (q, p))
    w = weights(old, sampler, high=math.inf).numpy()
    assert float((p * w * f).sum()) == pytest.approx(float((q * f).sum()), rel=1e-12)


def test_far_apart_weights_stay_finite() -> None:
    near, far = logps([-1.0] * 6), logps([-500.0] * 6)
    for level in ("token", "sequence", "geometric"):
        assert bool(torch.isfinite(weights(near, far, level=level, high=math.inf)).all())
        assert float(weights(near, far, level=level).max()) == 2.0
        assert float(weights(far, near, level=level, beyond="mask", low=0.1).max()) == 0.0
    assert 0 < mismatch(near, far).ess <= 1
