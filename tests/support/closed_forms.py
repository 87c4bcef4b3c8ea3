"""Where minimising a loss must end, known in closed form, on a policy that is a table of logits in float64.

Five responses to one prompt with planted rewards; preferences follow Bradley-Terry, rankings Plackett-Luce.
Expectations are exact (an infinite sample: every pair or ranking weighted with its probability) unless a sample size
is given. The minimum is found by L-BFGS on the logits; an error is the largest difference of a probability, or of a
reward after both are centred.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.logps import Lists, Pairs, SeqLogps
from hizala.registry import losses

REWARD = torch.tensor([1.3, 0.4, -0.2, -1.1, 0.9], dtype=torch.float64)
REFERENCE = torch.log_softmax(torch.tensor([0.2, -0.7, 1.0, 0.3, -1.5], dtype=torch.float64), 0)
LENGTHS = torch.tensor([4, 2, 7, 1, 3])
K = len(REWARD)
ORDERED = [(i, j) for i in range(K) for j in range(K) if i != j]
DRAWS = 20_000_000  # comparisons of each of the ten pairs, in the tests on a finite sample


@dataclass(frozen=True)
class Optimum:
    """One claim: minimising `loss` ends at `where`; `error()` measures how far from it, `limit` is what is allowed."""

    loss: str
    where: str
    sample: str
    error: Callable[[], float]
    limit: float = 1e-6


def logps(log_policy: Tensor, responses: Sequence[int], *, sized: bool = False) -> SeqLogps:
    """Each response is one token of the table; `sized` gives it a length that only counts."""
    n = len(responses)
    count = LENGTHS[list(responses)] if sized else torch.ones(n, dtype=torch.int64)
    return SeqLogps(log_policy[list(responses)], torch.arange(n), count)


def pairs(log_policy: Tensor, *, sized: bool = False) -> Pairs:
    """All ordered pairs, chosen first."""
    return Pairs.of(logps(log_policy, [y for pair in ORDERED for y in pair], sized=sized))


def minimise(objective: Callable[[Tensor], Tensor], size: int = K) -> Tensor:
    """Where L-BFGS ends, from zero."""
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
    """(20,) Bradley-Terry probability of each ordered pair."""
    return torch.stack([torch.sigmoid(reward[i] - reward[j]) for i, j in ORDERED])


def counted(seed: int) -> Tensor:
    """(20,) how often each ordered pair was seen among `DRAWS` comparisons of each pair."""
    rng, seen = np.random.default_rng(seed), {}
    for i, j in itertools.combinations(range(K), 2):
        wins = int(rng.binomial(DRAWS, float(torch.sigmoid(REWARD[i] - REWARD[j]))))
        seen[i, j], seen[j, i] = wins, DRAWS - wins
    return torch.tensor([float(seen[pair]) for pair in ORDERED], dtype=torch.float64)


def best(beta: float) -> Tensor:
    """pi* ~ ref exp(r / beta), the solution of the KL-constrained reward maximisation."""
    return torch.softmax(REFERENCE + REWARD / beta, 0)


def trained(name: str, weight: Tensor, *, sized: bool = False, **params: object) -> Tensor:
    """The policy at the minimum of the weighted mean of a loss over all ordered pairs."""
    loss, weight = losses.get(name), weight / weight.sum()

    def objective(theta: Tensor) -> Tensor:
        policy = pairs(torch.log_softmax(theta, 0), sized=sized)
        terms: Tensor = loss.fn(policy, pairs(REFERENCE, sized=sized), **params).loss
        return weight @ terms

    return torch.softmax(minimise(objective), 0)


def rankings(length: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """All rankings of that many of the five responses, and the Plackett-Luce probability of each among its own."""
    orders = list(itertools.permutations(range(K), length))
    chances = [
        math.exp(sum(float(REWARD[y] - torch.logsumexp(REWARD[list(order[i:])], 0)) for i, y in enumerate(order)))
        for order in orders
    ]
    return orders, torch.tensor(chances, dtype=torch.float64)


def trained_on_rankings(name: str, length: int, *, scores: bool, **params: object) -> Tensor:
    """Logits, or rewards, at the minimum of a loss on lists over all rankings."""
    loss = losses.get(name)
    orders, chances = rankings(length)
    lists = Lists(torch.arange(length).repeat(len(orders)), torch.arange(len(orders)).repeat_interleave(length))
    every = [y for order in orders for y in order]

    def objective(theta: Tensor) -> Tensor:
        if scores:
            terms: Tensor = loss.fn(theta[every], lists, **params).loss
        else:
            policy = logps(torch.log_softmax(theta, 0), every)
            terms = loss.fn(policy, logps(REFERENCE, every), lists, **params).loss
        return chances @ terms / chances.sum()

    return minimise(objective)


def recovered(weight: Tensor) -> Tensor:
    """Rewards at the minimum of Bradley-Terry over all ordered pairs."""
    loss, index = losses.get("bradley_terry"), torch.tensor(ORDERED)

    def objective(rewards: Tensor) -> Tensor:
        terms: Tensor = loss.fn(rewards[index]).loss
        return (weight / weight.sum()) @ terms

    return minimise(objective)


def ipo_point(tau: float, chance: Tensor) -> Tensor:
    """The IPO paper's optimum: pi* ~ ref exp(E[p(y > y')] / tau), y' from the uniform policy pairs are drawn from."""
    p = torch.full((K, K), 0.5, dtype=torch.float64)
    for (i, j), probability in zip(ORDERED, chance, strict=True):
        p[i, j] = probability
    return torch.softmax(REFERENCE + p.mean(1) / tau, 0)


def f_point(slope: Callable[[float], float], beta: float) -> Tensor:
    """The f-divergence optimum: beta f'(pi / ref) = r - lambda for the lambda at which pi sums to 1, by bisection."""

    def solve(y: int, lam: float) -> float:
        low, high = -60.0, 60.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if beta * slope(middle) < float(REWARD[y]) - lam else (low, middle)
        return math.exp(low + float(REFERENCE[y]))

    low, high = -60.0, 60.0
    for _ in range(200):
        lam = (low + high) / 2
        low, high = (lam, high) if sum(solve(y, lam) for y in range(K)) > 1 else (low, lam)
    return torch.tensor([solve(y, low) for y in range(K)], dtype=torch.float64)


def distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference."""
    return float((found - expected).abs().max())


def centred(found: Tensor) -> float:
    """Distance from the planted rewards, both centred."""
    return distance(found - found.mean(), REWARD - REWARD.mean())


def js_slope(s: float) -> float:
    """f' of Jensen-Shannon at u = exp(s)."""
    return math.log(2) + s - float(np.logaddexp(0.0, s))


ALL_PAIRS, NOISE = "exact expectation over the 20 ordered pairs", 0.2
OPTIMA: tuple[Optimum, ...] = (
    *(
        Optimum(
            "dpo",
            f"ref exp(r / beta), beta {beta}",
            ALL_PAIRS,
            lambda beta=beta: distance(trained("dpo", preferred(), beta=beta), best(beta)),  # type: ignore[misc]
        )
        for beta in (0.3, 1.0)
    ),
    Optimum(
        "dpo",
        "ref exp(r / beta), beta 1.0",
        "2e7 comparisons of each of the 10 pairs",
        lambda: distance(trained("dpo", counted(0), beta=1.0), best(1.0)),
        1e-3,
    ),
    Optimum(
        "pl_dpo",
        "ref exp(r / beta), beta 0.7",
        "exact expectation over the 120 rankings of five",
        lambda: distance(torch.softmax(trained_on_rankings("pl_dpo", K, scores=False, beta=0.7), 0), best(0.7)),
    ),
    *(
        Optimum(
            "ipo",
            f"ref exp(p(y > uniform) / tau), tau {tau}",
            ALL_PAIRS,
            lambda tau=tau: distance(trained("ipo", preferred(), tau=tau), ipo_point(tau, preferred())),  # type: ignore[misc]
        )
        for tau in (0.2, 1.0)
    ),
    Optimum(
        "robust_dpo",
        "ref exp(r / beta), beta 1.0, from labels of which a fifth is flipped",
        ALL_PAIRS,
        lambda: distance(
            trained("robust_dpo", flipped(), beta=1.0, label_smoothing=NOISE),
            best(1.0),
        ),
    ),
    Optimum(
        "rdpo",
        "ref exp((r - alpha length) / beta), alpha 0.1, beta 0.7",
        ALL_PAIRS,
        lambda: distance(
            trained("rdpo", preferred(), sized=True, beta=0.7, alpha=0.1),
            torch.softmax(REFERENCE + (REWARD - 0.1 * LENGTHS) / 0.7, 0),
        ),
    ),
    Optimum(
        "fdpo",
        "beta f'(pi / ref) = r - lambda, forward KL, beta 0.7",
        ALL_PAIRS,
        lambda: distance(
            trained("fdpo", preferred(), beta=0.7, divergence="forward_kl"),
            f_point(lambda s: -math.exp(-s), 0.7),
        ),
    ),
    Optimum(
        "fdpo",
        "beta f'(pi / ref) = r - lambda, Jensen-Shannon, beta 2.0",
        ALL_PAIRS,
        lambda: distance(
            trained("fdpo", preferred(), beta=2.0, divergence="jensen_shannon"),
            f_point(js_slope, 2.0),
        ),
    ),
    Optimum("bradley_terry", "the planted rewards", ALL_PAIRS, lambda: centred(recovered(preferred()))),
    Optimum(
        "bradley_terry",
        "the planted rewards",
        "2e7 comparisons of each of the 10 pairs",
        lambda: centred(recovered(counted(1))),
        1e-3,
    ),
    Optimum(
        "plackett_luce",
        "the planted rewards",
        "exact expectation over the 60 rankings of three",
        lambda: centred(trained_on_rankings("plackett_luce", 3, scores=True)),
    ),
)


def flipped() -> Tensor:
    """Probability of each ordered pair when `NOISE` of all labels are flipped."""
    return (1 - NOISE) * preferred() + NOISE * (1 - preferred())
