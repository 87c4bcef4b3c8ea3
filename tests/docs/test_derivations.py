"""Every step of the derivations in docs/methods that can be computed, in float64 on small tables."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

Numbers = NDArray[np.float64]
RNG = np.random.default_rng(20)
REWARD = RNG.normal(size=6)
BETA = 0.7


def softmax(x: Numbers) -> Numbers:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


REFERENCE = softmax(RNG.normal(size=6))
WINS = 1 / (1 + np.exp(-RNG.normal(size=(6, 6))))
WINS = np.triu(WINS, 1) + np.tril(1 - WINS.T, -1) + 0.5 * np.eye(6)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def loss(h: float) -> float:
    """-log sigmoid(h)."""
    return float(np.logaddexp(0.0, -h))


def kl(p: Numbers, q: Numbers) -> float:
    return float(p @ np.log(p / q))


def slope(f: Callable[[float], float], x: float, step: float = 1e-5) -> float:
    return (f(x + step) - f(x - step)) / (2 * step)


def best(beta: float) -> Numbers:
    return softmax(np.log(REFERENCE) + REWARD / beta)


def log_z(beta: float) -> float:
    return math.log(float(REFERENCE @ np.exp(REWARD / beta)))


def variance(beta: float) -> float:
    p = best(beta)
    return float(p @ REWARD**2 - (p @ REWARD) ** 2)


def test_dpo_objective_is_a_divergence_from_its_optimum() -> None:
    for _ in range(20):
        pi = softmax(RNG.normal(size=6))
        objective = float(pi @ REWARD) - BETA * kl(pi, REFERENCE)
        assert objective == pytest.approx(-BETA * kl(pi, best(BETA)) + BETA * log_z(BETA), abs=1e-12)


def test_beta_is_the_dual_of_the_kl_constraint() -> None:
    bound = 0.3

    def dual(beta: float) -> float:
        return beta * log_z(beta) + beta * bound

    assert slope(dual, BETA) == pytest.approx(bound - kl(best(BETA), REFERENCE), abs=1e-8)
    assert slope(lambda b: slope(dual, b, 1e-3), BETA, 1e-3) == pytest.approx(variance(BETA) / BETA**3, rel=1e-4)
    least = minimize_scalar(dual, bounds=(0.01, 50), method="bounded", options={"xatol": 1e-10}).x
    assert kl(best(least), REFERENCE) == pytest.approx(bound, abs=1e-6)


def test_beta_is_the_slope_of_the_frontier() -> None:
    d_kl = slope(lambda b: kl(best(b), REFERENCE), BETA)
    d_reward = slope(lambda b: float(best(b) @ REWARD), BETA)
    assert d_kl == pytest.approx(-variance(BETA) / BETA**3, rel=1e-6)
    assert d_reward / d_kl == pytest.approx(BETA, rel=1e-6)


def test_ipo_may_regress_on_single_verdicts() -> None:
    mu, s = softmax(RNG.normal(size=6)), RNG.normal(size=6)
    p, weight, gap = WINS @ mu, np.outer(mu, mu), s[:, None] - s[None, :]
    assert mu @ p == pytest.approx(0.5)
    on_wins = (weight * gap * WINS).sum()
    assert on_wins == pytest.approx((weight * gap * (p[:, None] - p[None, :])).sum())
    assert on_wins == pytest.approx(2 * (mu * s) @ p - mu @ s)


def test_smoothed_and_robust_losses() -> None:
    eps, h = 0.2, 1.3

    def robust(h: float) -> float:
        return ((1 - eps) * loss(h) - eps * loss(-h)) / (1 - 2 * eps)

    assert (1 - eps) * robust(h) + eps * robust(-h) == pytest.approx(loss(h))
    assert robust(h) == pytest.approx(loss(h) - eps / (1 - 2 * eps) * h)
    assert slope(robust, h) == pytest.approx(-sigmoid(-h) - eps / (1 - 2 * eps), abs=1e-8)
    assert slope(lambda h: (1 - eps) * loss(h) + eps * loss(-h), math.log((1 - eps) / eps)) == pytest.approx(
        0, abs=1e-9
    )


def test_exo_gradient() -> None:
    eps = 1e-3
    target = math.log((1 - eps) / eps)

    def exo(h: float) -> float:
        return sigmoid(h) * (-loss(h) - math.log(1 - eps)) + sigmoid(-h) * (-loss(-h) - math.log(eps))

    for h in (-3.0, 0.0, 0.4, target):
        assert slope(exo, h) == pytest.approx(sigmoid(h) * sigmoid(-h) * (h - target), abs=1e-8)
    assert target == pytest.approx(6.9, abs=0.01)


def test_orpo_odds() -> None:
    def log_odds(mean: float) -> float:
        return mean - math.log(-math.expm1(mean))

    assert slope(log_odds, -0.4) == pytest.approx(1 / (1 - math.exp(-0.4)), rel=1e-6)


def test_bco_and_cpo_bounds() -> None:
    for u, v in RNG.normal(size=(50, 2), scale=3):
        assert sigmoid(u) * sigmoid(v) < sigmoid(u + v)
    for pw, pl, qw, ql in RNG.uniform(0.01, 1, size=(50, 4)):
        dpo = -math.log(pw**BETA * ql**BETA / (pw**BETA * ql**BETA + pl**BETA * qw**BETA))
        assert dpo <= -math.log(pw**BETA / (pw**BETA + pl**BETA)) - BETA * math.log(ql) + 1e-12


def test_nca_holds_the_chosen_response_at_twice_the_reference() -> None:
    assert slope(lambda r: loss(r) + 0.5 * loss(-r), math.log(2)) == pytest.approx(0, abs=1e-9)


def test_tdpo_advantage() -> None:
    optimum = best(BETA)  # of one context, with REWARD for Q
    advantage = REWARD - REFERENCE @ REWARD
    told = BETA * np.log(optimum / REFERENCE) + BETA * kl(REFERENCE, optimum)
    np.testing.assert_allclose(advantage, told, atol=1e-12)


@pytest.mark.parametrize(
    ("f", "derivative", "of_s"),
    [
        (lambda u: u * math.log(u), lambda u: math.log(u) + 1, lambda s: s + 1),
        (lambda u: -math.log(u), lambda u: -1 / u, lambda s: -math.exp(-s)),
        (
            lambda u: u * math.log(u) - (u + 1) * math.log((u + 1) / 2),
            lambda u: math.log(2 * u / (1 + u)),
            lambda s: -loss(s) + math.log(2),
        ),
        (
            lambda u: (u**0.7 - 0.7 * u - 0.3) / (0.3 * -0.7),
            lambda u: (1 - u**-0.3) / 0.3,
            lambda s: (1 - math.exp(-0.3 * s)) / 0.3,
        ),
    ],
    ids=["reverse_kl", "forward_kl", "jensen_shannon", "alpha"],
)
def test_f_divergences(
    f: Callable[[float], float], derivative: Callable[[float], float], of_s: Callable[[float], float]
) -> None:
    assert f(1.0) == pytest.approx(0)
    for u in (0.2, 1.0, 3.0):
        assert slope(f, u) == pytest.approx(derivative(u), rel=1e-6, abs=1e-8)
        assert derivative(u) == pytest.approx(of_s(math.log(u)))


def test_sppo_normaliser_is_half_of_eta() -> None:
    eta, pi = 0.05, softmax(RNG.normal(size=6))
    p = WINS @ pi
    spread = float(pi @ p**2) - 0.25
    exact = math.log(float(pi @ np.exp(eta * p)))
    assert exact == pytest.approx(eta / 2 + eta**2 * spread / 2, abs=1e-6)


def test_gumbel_noise_gives_bradley_terry_and_plackett_luce() -> None:
    def density(g: float) -> float:
        return math.exp(-g - math.exp(-g))

    two = quad(lambda g: density(g) * math.exp(-math.exp(-(g + 0.8))), -5, 60)[0]
    assert two == pytest.approx(sigmoid(0.8), abs=1e-8)
    total = float(np.exp(REWARD).sum())
    first = quad(lambda t: math.exp(REWARD[0] - t - total * math.exp(-t)), -5, 60)[0]
    assert first == pytest.approx(math.exp(REWARD[0]) / total, abs=1e-8)


def test_online_dpo_starts_as_a_policy_gradient_of_the_win_rate() -> None:
    pi = REFERENCE
    score = np.eye(6) - pi  # gradient of log pi in the logits
    verdict = 2 * WINS - 1
    pairs = np.einsum("i,j,ij,ijk->k", pi, pi, verdict, score[:, None, :] - score[None, :, :])
    np.testing.assert_allclose(-BETA / 2 * pairs, -BETA * np.einsum("i,i,ik->k", pi, verdict @ pi, score), atol=1e-12)


def test_discopop_rises_where_pairs_begin() -> None:
    def value(x: float, tau: float = 0.05) -> float:
        m = sigmoid(x / tau)
        return (1 - m) * loss(x) + m * math.exp(-x)

    assert slope(value, 0.0) == pytest.approx(0.78, abs=0.005)
    low = minimize_scalar(value, bounds=(-0.5, 0), method="bounded")
    high = minimize_scalar(lambda x: -value(x), bounds=(0, 0.5), method="bounded")
    assert (low.x, low.fun) == pytest.approx((-0.119, 0.786), abs=1e-3)
    assert (high.x, -high.fun) == pytest.approx((0.072, 0.878), abs=1e-3)
    assert slope(lambda x: value(x, (1 - math.log(2)) / 3), 0.0) == pytest.approx(0, abs=1e-8)
    grid = [value(x, 0.111) for x in np.linspace(-3, 3, 3001)]
    assert max(np.diff(grid)) < 0
