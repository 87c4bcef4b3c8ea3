"""The estimators of KL on tabular policies: mean, variance and expected gradient by enumeration, no sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hizala.core.kl import ESTIMATORS, STEEPEST, adapted, k1, k2, k3, steep_exp
from hizala.core.logps import SeqLogps
from hizala.core.losses.regularisers import kl

SEEDS = range(5)
PLUS = ("k1_plus", "k3_plus")


def tables(seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of a policy, of its reference, and of the weights that sampled: nine tokens each."""
    generator = torch.Generator().manual_seed(seed)
    first, second, third = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    return first, first + spread * second, first + 0.3 * third


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of two tables of log-probs."""
    return (p.exp() * (p - q)).sum()


def moments(estimator: Callable[[Tensor, Tensor], Tensor], p: Tensor, q: Tensor) -> tuple[float, float]:
    """Exact mean and variance of a single-sample estimate, over the policy's own tokens."""
    found, chance = estimator(p, q), p.exp()
    mean = (chance * found).sum()
    return float(mean), float((chance * (found - mean).square()).sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0, 3.0])
def test_k1_and_k3_have_the_divergence_as_their_mean(seed: int, spread: float) -> None:
    p, q = (t.log_softmax(0) for t in tables(seed, spread)[:2])
    exact = float(divergence(p, q))
    assert moments(k1, p, q)[0] == pytest.approx(exact, rel=1e-12, abs=1e-13)
    assert moments(k3, p, q)[0] == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bias_of_k2_is_of_third_order(seed: int) -> None:
    """E k2 - KL = -sum over n >= 3 of E d^n / n!, d = log ref - log pi: half the distance leaves an eighth."""
    bias = []
    for spread in (0.1, 0.05):
        p, q = (t.log_softmax(0) for t in tables(seed, spread)[:2])
        d, chance = q - p, p.exp()
        bias.append(moments(k2, p, q)[0] - float(divergence(p, q)))
        series = -sum(float((chance * d**n).sum()) / np.prod(np.arange(1.0, n + 1)) for n in range(3, 12))
        assert bias[-1] == pytest.approx(series, rel=1e-6, abs=1e-14)
    assert abs(bias[1]) < abs(bias[0]) / 5


@pytest.mark.parametrize("seed", SEEDS)
def test_near_agreement_k1_has_by_far_the_largest_variance(seed: int) -> None:
    """Var k1 is of second order in the distance, those of k2 and k3 of fourth."""
    p, q = (t.log_softmax(0) for t in tables(seed, 0.05)[:2])
    noisy = moments(k1, p, q)[1]
    assert moments(k2, p, q)[1] < noisy / 50
    assert moments(k3, p, q)[1] < noisy / 50


def expected_slope(seed: int, estimator: Any, *, unbiased: bool, on_policy: bool) -> Tensor:
    """Gradient of the loss by the policy's logits, each token weighed by how often it is sampled."""
    logits, reference, sampling = tables(seed)
    theta = logits.clone().requires_grad_(True)
    rows, one = torch.arange(9), torch.ones(9, dtype=torch.int64)
    old = (logits if on_policy else sampling).log_softmax(0)
    policy = SeqLogps(theta.log_softmax(0), rows, one)
    terms = kl(
        policy,
        SeqLogps(reference.log_softmax(0), rows, one),
        SeqLogps(old, rows, one),
        estimator=estimator,
        unbiased=unbiased,
    )
    (slope,) = torch.autograd.grad((old.exp() * terms.loss).sum(), theta)
    return slope


def exact_slope(seed: int, *, turned: bool = False) -> Tensor:
    """Gradient of KL(pi || ref) by the policy's logits; turned: of KL(ref || pi)."""
    logits, reference, _ = tables(seed)
    theta = logits.clone().requires_grad_(True)
    p, q = theta.log_softmax(0), reference.log_softmax(0)
    (slope,) = torch.autograd.grad(divergence(q, p) if turned else divergence(p, q), theta)
    return slope


def close(got: Tensor, expected: Tensor) -> None:
    assert float((got - expected).abs().max()) <= 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_as_a_loss_only_k2_has_the_gradient_of_the_divergence(seed: int) -> None:
    """k1 teaches nothing, k3 pulls as the divergence the other way round does; the plus forms have k2's gradient."""
    close(expected_slope(seed, "k2", unbiased=False, on_policy=True), exact_slope(seed))
    close(expected_slope(seed, "k1", unbiased=False, on_policy=True), torch.zeros(9, dtype=torch.float64))
    close(expected_slope(seed, "k3", unbiased=False, on_policy=True), exact_slope(seed, turned=True))
    for plus in PLUS:
        close(expected_slope(seed, plus, unbiased=False, on_policy=True), exact_slope(seed))
    assert float((exact_slope(seed) - exact_slope(seed, turned=True)).abs().max()) > 1e-2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["k1", "k3"])
@pytest.mark.parametrize("on_policy", [True, False])
def test_weighed_by_the_ratio_k1_and_k3_have_it_on_samples_of_other_weights_too(
    seed: int, estimator: str, on_policy: bool
) -> None:
    close(expected_slope(seed, estimator, unbiased=True, on_policy=on_policy), exact_slope(seed))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k1_plus", "k3_plus"])
def test_unweighed_none_has_it_on_samples_of_other_weights(seed: int, estimator: str) -> None:
    got = expected_slope(seed, estimator, unbiased=False, on_policy=False)
    assert float((got - exact_slope(seed)).abs().max()) > 1e-3


def test_far_away_the_exponential_goes_on_as_its_tangent() -> None:
    x = torch.tensor([STEEPEST - 1, STEEPEST + 2, 1e4], dtype=torch.float64, requires_grad=True)
    value = steep_exp(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    top = np.exp(STEEPEST)
    np.testing.assert_allclose(value.detach(), [top / np.e, 3 * top, (1e4 - STEEPEST + 1) * top], rtol=1e-12)
    np.testing.assert_allclose(slope, [top / np.e, top, top], rtol=1e-12)
    far = k3(torch.tensor([-1e4]), torch.tensor([0.0]))
    assert bool(torch.isfinite(far).all())


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_estimators_are_found_by_name(name: str) -> None:
    p, q = (t.log_softmax(0) for t in tables(0)[:2])
    assert moments(ESTIMATORS[name], p, q)[0] > 0


def test_the_price_of_divergence_follows_its_target_within_a_fifth() -> None:
    assert adapted(0.2, 6.0, target=6.0) == 0.2
    assert adapted(0.2, 6.6, target=6.0) == pytest.approx(0.2 * (1 + 0.1 * 0.1))
    assert adapted(0.2, 600.0, target=6.0) == pytest.approx(0.2 * 1.02)
    assert adapted(0.2, 0.0, target=6.0) == pytest.approx(0.2 * 0.98)
    assert adapted(0.2, 600.0, target=6.0, rate=0.5) == pytest.approx(0.2 * 1.1)
    beta, history = 0.2, []
    for _ in range(300):  # a policy whose divergence is inversely proportional to its price settles on the target
        divergence_now = 3.0 / beta
        beta = adapted(beta, divergence_now, target=6.0)
        history.append(beta)
    assert history[-1] == pytest.approx(0.5, rel=1e-3)
