"""Where minimising a loss must end, known in closed form, on a policy that is a table of logits in float64.

Expectations are exact (an infinite sample: every pair or ranking with its probability as weight) unless a test
names its sample size. The minimum is found by L-BFGS on the logits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.logps import Lists, Pairs, SeqLogps
from hizala.registry import losses

REWARD = torch.tensor([1.3, 0.4, -0.2, -1.1, 0.9], dtype=torch.float64)
REFERENCE = torch.log_softmax(torch.tensor([0.2, -0.7, 1.0, 0.3, -1.5], dtype=torch.float64), 0)
K = len(REWARD)
ORDERED = [(i, j) for i in range(K) for j in range(K) if i != j]


def logps(log_policy: Tensor, responses: Sequence[int]) -> SeqLogps:
    """Each response is one token of the table."""
    n = len(responses)
    return SeqLogps(log_policy[list(responses)], torch.arange(n), torch.ones(n, dtype=torch.int64))


def pairs(log_policy: Tensor, chosen: Sequence[tuple[int, int]] = ORDERED) -> Pairs:
    return Pairs.of(logps(log_policy, [y for pair in chosen for y in pair]))


def minimise(objective: Callable[[Tensor], Tensor], size: int = K) -> Tensor:
    theta = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [theta], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = objective(theta)
        loss.backward()
        return loss

    optimiser.step(closure)
    return theta.detach()


def preferred(reward: Tensor = REWARD) -> Tensor:
    """Bradley-Terry probability of each ordered pair."""
    return torch.stack([torch.sigmoid(reward[i] - reward[j]) for i, j in ORDERED])


def optimum(beta: float) -> Tensor:
    """pi* ~ ref exp(r / beta), the solution of the KL-constrained reward maximisation."""
    return torch.softmax(REFERENCE + REWARD / beta, 0)


def trained_on_pairs(name: str, weight: Tensor, **params: object) -> Tensor:
    """The policy at the minimum of the weighted mean of a loss over all ordered pairs."""
    loss, weight = losses.get(name), weight / weight.sum()

    def objective(theta: Tensor) -> Tensor:
        terms: Tensor = loss.fn(pairs(torch.log_softmax(theta, 0)), pairs(REFERENCE), **params).loss
        return weight @ terms

    return torch.softmax(minimise(objective), 0)


def error(policy: Tensor, expected: Tensor) -> float:
    return float((policy - expected).abs().max())


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_dpo_reaches_the_optimum_of_the_constrained_reward(beta: float) -> None:
    assert error(trained_on_pairs("dpo", preferred(), beta=beta), optimum(beta)) <= 1e-6


def test_dpo_reaches_it_from_a_finite_sample() -> None:
    """2e7 comparisons of each of the 10 pairs: the error left is the sample's."""
    rng, n = np.random.default_rng(0), 20_000_000
    counts = {}
    for i, j in itertools.combinations(range(K), 2):
        wins = rng.binomial(n, float(torch.sigmoid(REWARD[i] - REWARD[j])))
        counts[i, j], counts[j, i] = wins, n - wins
    weight = torch.tensor([float(counts[pair]) for pair in ORDERED], dtype=torch.float64)
    assert 0 < error(trained_on_pairs("dpo", weight, beta=1.0), optimum(1.0)) <= 1e-3


def test_plackett_luce_reaches_the_same_optimum() -> None:
    """Exact expectation over all 120 rankings of the five responses."""
    loss, beta = losses.get("pl_dpo"), 0.7
    orders = list(itertools.permutations(range(K)))
    chances = [
        math.exp(sum(float(REWARD[y] - torch.logsumexp(REWARD[list(order[i:])], 0)) for i, y in enumerate(order)))
        for order in orders
    ]
    assert math.fsum(chances) == pytest.approx(1)
    weight = torch.tensor(chances, dtype=torch.float64)
    ranks = torch.tensor([order.index(y) for order in orders for y in range(K)])
    lists = Lists(ranks, torch.arange(len(orders)).repeat_interleave(K))
    every = list(range(K)) * len(orders)

    def objective(theta: Tensor) -> Tensor:
        policy = logps(torch.log_softmax(theta, 0), every)
        given = {"policy": policy, "reference": logps(REFERENCE, every), "ranks": lists}
        terms: Tensor = loss.fn(*(given[name] for name in loss.measures), beta=beta).loss
        return weight @ terms

    assert error(torch.softmax(minimise(objective), 0), optimum(beta)) <= 1e-6


@pytest.mark.parametrize("tau", [0.2, 1.0])
def test_ipo_reaches_its_own_fixed_point(tau: float) -> None:
    """Theorem of the IPO paper: pi* ~ ref exp(p(y > mu) / tau), mu the uniform policy the pairs are drawn from."""
    p = torch.full((K, K), 0.5, dtype=torch.float64)
    for (i, j), chance in zip(ORDERED, preferred(), strict=True):
        p[i, j] = chance
    expected = torch.softmax(REFERENCE + p.mean(1) / tau, 0)
    assert error(trained_on_pairs("ipo", preferred(), tau=tau), expected) <= 1e-6
    assert error(expected, optimum(tau)) > 0.01


def test_ipo_stays_finite_where_dpo_runs_away() -> None:
    """A deterministic preference: IPO's gap is 1 / (2 tau) nats of log-ratio, DPO's grows without bound."""
    sure = torch.tensor([1.0 if REWARD[i] > REWARD[j] else 0.0 for i, j in ORDERED], dtype=torch.float64)
    rank = torch.argsort(torch.argsort(REWARD)).to(torch.float64)
    expected = torch.softmax(REFERENCE + rank / K / 0.5, 0)
    assert error(trained_on_pairs("ipo", sure, tau=0.5), expected) <= 1e-6
    assert float(trained_on_pairs("dpo", sure, beta=0.5).max()) > 1 - 1e-6


def test_robust_dpo_undoes_label_flips_and_cdpo_does_not() -> None:
    """With a fifth of all labels flipped, the unbiased loss still has its minimum at pi*."""
    noise, clean = 0.2, preferred()
    noisy = (1 - noise) * clean + noise * (1 - clean)
    robust = trained_on_pairs("robust_dpo", noisy, beta=1.0, label_smoothing=noise)
    assert error(robust, optimum(1.0)) <= 1e-6
    assert error(trained_on_pairs("dpo", noisy, beta=1.0), optimum(1.0)) > 0.02
    assert error(trained_on_pairs("dpo", noisy, beta=1.0, label_smoothing=noise), optimum(1.0)) > 0.02


def recovered_rewards(weight: Tensor) -> Tensor:
    """Rewards at the minimum of Bradley-Terry over all ordered pairs, less their mean."""
    loss, index = losses.get("bradley_terry"), torch.tensor(ORDERED)

    def objective(rewards: Tensor) -> Tensor:
        terms: Tensor = loss.fn(rewards[index]).loss
        return (weight / weight.sum()) @ terms

    found = minimise(objective)
    return found - found.mean()


def test_bradley_terry_recovers_the_planted_rewards_up_to_a_constant() -> None:
    found = recovered_rewards(preferred())
    assert error(found, REWARD - REWARD.mean()) <= 1e-6


def test_bradley_terry_recovers_them_from_a_finite_sample() -> None:
    """2e7 comparisons of each of the 10 pairs, counted exactly."""
    rng, n = np.random.default_rng(1), 20_000_000
    wins = {
        (i, j): float(rng.binomial(n, float(torch.sigmoid(REWARD[i] - REWARD[j]))))
        for i, j in itertools.combinations(range(K), 2)
    }
    weight = torch.tensor([wins.get((i, j), n - wins.get((j, i), 0.0)) for i, j in ORDERED], dtype=torch.float64)
    assert 0 < error(recovered_rewards(weight), REWARD - REWARD.mean()) <= 1e-3


def test_centring_fixes_the_constant_that_bradley_terry_leaves_open() -> None:
    """Started five too high, a little of the centring term brings the mean reward to zero and moves nothing else."""
    fit, centre, index = losses.get("bradley_terry"), losses.get("reward_centre"), torch.tensor(ORDERED)
    weight = preferred() / preferred().sum()

    def objective(rewards: Tensor) -> Tensor:
        scores = (rewards + 5)[index]
        total: Tensor = weight @ (fit.fn(scores).loss + 1e-5 * centre.fn(scores).loss)
        return total

    assert error(minimise(objective) + 5, REWARD - REWARD.mean()) <= 1e-3


def test_plackett_luce_recovers_the_planted_rewards_from_lists_of_three() -> None:
    """Exact expectation over all ordered triples of the five responses."""
    loss = losses.get("plackett_luce")
    triples = list(itertools.permutations(range(K), 3))
    chances = [
        math.exp(sum(float(REWARD[y] - torch.logsumexp(REWARD[list(t[i:])], 0)) for i, y in enumerate(t)))
        for t in triples
    ]
    weight = torch.tensor(chances, dtype=torch.float64)
    lists = Lists(torch.tensor([0, 1, 2] * len(triples)), torch.arange(len(triples)).repeat_interleave(3))
    index = torch.tensor(triples).reshape(-1)

    def objective(rewards: Tensor) -> Tensor:
        given = {"scores": rewards[index], "ranks": lists}
        terms: Tensor = loss.fn(*(given[name] for name in loss.measures)).loss
        return weight @ terms

    found = minimise(objective)
    assert error(found - found.mean(), REWARD - REWARD.mean()) <= 1e-6
