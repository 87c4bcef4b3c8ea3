"""Expected gradients by enumeration: every response, or every group, that a tabular policy can sample.

No sampling error stands between the two sides: an advantage, a loss and a reduction of the library run on each
possible outcome, weighed by its probability, against the gradient of the objective in closed form.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from hizala.core import advantages as adv
from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.logps import SeqLogps
from hizala.core.reduce import Layout, denominator, reduce
from hizala.registry import losses

LOGITS = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)
REWARDS = torch.tensor([1.0, 0.25, -0.5, 2.0], dtype=torch.float64)
RIGHT = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)


def layout(count: list[int]) -> Layout:
    none = np.zeros(len(count), dtype=np.int64)
    return Layout(np.array(count), np.ones(len(count), dtype=np.int64), np.ones(len(count)), none, none)


def reduced(name: str, logps: Tensor, count: list[int], advantages: Tensor, how: str, length: int = 1) -> Tensor:
    """The library's loss of these responses, at the weights that sampled."""
    segments = torch.repeat_interleave(torch.arange(len(count)), torch.tensor(count))
    policy = SeqLogps(logps, segments, torch.tensor(count))
    terms = losses.get(name).fn(policy, policy.detach(), advantages)
    where = layout(count)
    return reduce(terms, where, how, denominator(where, "token", how, length))


def bandit(advantage: Callable[[Tensor], Tensor], rewards: Tensor, size: int, loss: str = "clip") -> Tensor:
    """Expected gradient of minus the loss by the logits, over all groups of `size` actions."""
    theta = LOGITS.clone().requires_grad_(True)
    probability = LOGITS.softmax(0)
    total = torch.zeros_like(theta)
    for actions in itertools.product(range(len(LOGITS)), repeat=size):
        group = torch.tensor(actions)
        logps = theta.log_softmax(0)[group]
        value = -reduced(loss, logps, [1] * size, advantage(rewards[group]), "response")
        (slope,) = torch.autograd.grad(value, theta)
        total += probability[group].prod() * slope
    return total


def of_one_group(fn: Callable[..., Tensor], **params: Any) -> Callable[[Tensor], Tensor]:
    return lambda rewards: fn(rewards, torch.zeros(len(rewards), dtype=torch.int64), **params)


def slope_of(objective: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient by the logits of a function of the action probabilities."""
    theta = LOGITS.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(objective(theta.softmax(0)), theta)
    return slope


def close(got: Tensor, expected: Tensor) -> None:
    assert float((got - expected).abs().max()) <= 1e-12


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("loss", ["clip", "reinforce", "cispo", "gspo", "gspo_token"])
def test_leave_one_out_has_the_gradient_of_the_expected_reward(size: int, loss: str) -> None:
    close(bandit(of_one_group(adv.rloo), REWARDS, size, loss), slope_of(lambda p: p @ REWARDS))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_groups_mean_as_baseline_shrinks_that_gradient_by_one_member(size: int) -> None:
    expected = (1 - 1 / size) * slope_of(lambda p: p @ REWARDS)
    close(bandit(of_one_group(adv.dr_grpo), REWARDS, size), expected)


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_a_fixed_baseline_leaves_the_gradient_as_it_is(baseline: float) -> None:
    greedy = torch.full((2,), baseline, dtype=torch.float64)
    expected = slope_of(lambda p: p @ REWARDS)
    close(bandit(lambda r: adv.remax(r, greedy), REWARDS, 2), expected)
    close(bandit(adv.reinforce, REWARDS, 2), expected)


def grpo_objective(size: int, ddof: int) -> Polynomial:
    """What GRPO maximises on a bandit of right and wrong answers, as a polynomial of the probability p of a right one.

    With k right ones among G the group adds sqrt(m (1 - m)), m = k / G, over the deviation's correction, so the slope
    is sum_k C(G, k) p^(k-1) (1 - p)^(G-k-1) * sqrt(m (1 - m)); its limit for large G is 1 / sqrt(p (1 - p)), the slope
    of 2 arcsin sqrt(p).
    """
    p, slope = Polynomial([0.0, 1.0]), Polynomial([0.0])
    for k in range(1, size):
        m = k / size
        weight = math.comb(size, k) * math.sqrt(m * (1 - m)) * math.sqrt((size - ddof) / size)
        slope = slope + weight * p ** (k - 1) * (1 - p) ** (size - k - 1)
    return slope.integ()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize(("deviation", "ddof"), [("sample", 1), ("population", 0)])
@pytest.mark.parametrize("loss", ["clip", "gspo"])
def test_grpo_has_the_gradient_of_its_objective(size: int, deviation: str, ddof: int, loss: str) -> None:
    objective = grpo_objective(size, ddof)

    def of(p: Tensor) -> Tensor:
        right = p @ RIGHT
        return sum(float(c) * right**i for i, c in enumerate(objective.coef))  # type: ignore[return-value]

    got = bandit(of_one_group(adv.grpo, deviation=deviation, epsilon=0.0), RIGHT, size, loss)
    close(got, slope_of(of))


def test_for_large_groups_that_objective_is_the_arcsine() -> None:
    steps = np.linspace(0.2, 0.8, 7)
    limit = 2 * (np.arcsin(np.sqrt(steps)) - np.arcsin(np.sqrt(0.2)))
    away = []
    for size in (4, 8, 16):
        objective = grpo_objective(size, 0)
        away.append(float(np.max(np.abs(objective(steps) - objective(0.2) - limit))))
    assert away[1] < 0.6 * away[0]
    assert away[2] < 0.6 * away[1]
    assert away[2] < 0.06


@pytest.mark.parametrize("size", [2, 3, 5])
def test_maxrl_has_the_gradient_of_the_log_likelihood_cut_off_at_its_group(size: int) -> None:
    """log p = -sum_k (1 - p)^k / k, of which the group of G gives the first G - 1 terms."""
    expected = slope_of(lambda p: -sum((1 - p @ RIGHT) ** k / k for k in range(1, size)))  # type: ignore[arg-type, return-value]
    close(bandit(of_one_group(adv.maxrl), RIGHT, size), expected)


# A policy over texts of at most three tokens from {stop, go}: one logit for each text so far.
TEXTS = ((0,), (1, 0), (1, 1, 0), (1, 1, 1))
THETA = torch.tensor([0.4, -0.7, 0.2], dtype=torch.float64)


def logps_of(theta: Tensor, text: tuple[int, ...]) -> Tensor:
    """log pi of each token of a text."""
    logit = theta[: len(text)]
    sign = torch.tensor([1.0 if token else -1.0 for token in text], dtype=torch.float64)
    return torch.nn.functional.logsigmoid(sign * logit)


def chance(theta: Tensor) -> Tensor:
    return torch.stack([logps_of(theta, text).sum().exp() for text in TEXTS])


def expected_values() -> Tensor:
    """The reward to be expected before each token: of all texts, of those that go on once, twice."""
    probability = chance(THETA)
    return torch.stack([(probability[k:] @ REWARDS[k:]) / probability[k:].sum() for k in range(3)])


def texts_gradient(advantages: Callable[[tuple[int, ...], float], Tensor], how: str, length: int) -> Tensor:
    """Expected gradient of minus the policy loss by THETA, over all texts."""
    theta, total = THETA.clone().requires_grad_(True), torch.zeros(3, dtype=torch.float64)
    for text, probability, reward in zip(TEXTS, chance(THETA), REWARDS, strict=True):
        loss = reduced("clip", logps_of(theta, text), [len(text)], advantages(text, float(reward)), how, length)
        (slope,) = torch.autograd.grad(-loss, theta)
        total += probability * slope
    return total


def exact_texts_gradient() -> Tensor:
    theta = THETA.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(chance(theta) @ REWARDS, theta)
    return slope


def last(text: tuple[int, ...], reward: float) -> Tensor:
    out = torch.zeros(len(text), dtype=torch.float64)
    out[-1] = reward
    return out


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_gae_with_a_perfect_critic_has_the_gradient_of_the_expected_reward(lam: float) -> None:
    values = expected_values()

    def advantages(text: tuple[int, ...], reward: float) -> Tensor:
        count = torch.tensor([len(text)])
        got, _ = adv.gae(last(text, reward), values[: len(text)], count, lam=lam, whiten=False)
        return got

    close(7 * texts_gradient(advantages, "fixed", 7), exact_texts_gradient())


@pytest.mark.parametrize(("lam", "exact"), [(1.0, True), (0.5, False)])
def test_gae_with_a_wrong_critic_is_unbiased_only_where_lambda_is_1(lam: float, exact: bool) -> None:
    values = torch.tensor([0.9, -0.4, 1.3], dtype=torch.float64)

    def advantages(text: tuple[int, ...], reward: float) -> Tensor:
        count = torch.tensor([len(text)])
        got, _ = adv.gae(last(text, reward), values[: len(text)], count, lam=lam, whiten=False)
        return got

    away = float((texts_gradient(advantages, "fixed", 1) - exact_texts_gradient()).abs().max())
    assert away <= 1e-12 if exact else away > 1e-2


def test_dividing_by_each_responses_length_bends_the_gradient_and_a_fixed_length_does_not() -> None:
    """Dr. GRPO's observation, exactly: reduction "response" weighs the same token by how long its text became."""

    def advantages(text: tuple[int, ...], reward: float) -> Tensor:
        return torch.full((len(text),), reward, dtype=torch.float64)

    exact = exact_texts_gradient()
    close(5 * texts_gradient(advantages, "fixed", 5), exact)
    bent = texts_gradient(advantages, "response", 1)
    cosine = float(torch.nn.functional.cosine_similarity(bent, exact, dim=0))
    assert cosine < 0.999
