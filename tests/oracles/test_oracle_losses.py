"""Losses against float64 NumPy written from the papers, response by response."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from loss_cases import Case, make_case, value

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.registry import losses

SIZES = [(3, 5), (1, 1), (7, 2), (4, 0), (0, 6), (2, 2)]
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 3.0, 1.5]


def sums(case: Case, role: str) -> list[tuple[float, float]]:
    """(log pi(y_w | x), log pi(y_l | x)) of each pair: sums over tokens, in extended precision."""
    return [tuple(math.fsum(response.tolist()) for response in group) for group in case.roles[role]]  # type: ignore[misc]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def dpo_terms(case: Case, beta: float, smoothing: float) -> np.ndarray:
    """Eq. 7 of the DPO paper for each pair; with smoothing, eq. 3 of the cDPO note."""
    out = []
    for (chosen, rejected), (ref_chosen, ref_rejected) in zip(
        sums(case, "policy"), sums(case, "reference"), strict=True
    ):
        reward_chosen, reward_rejected = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
        right, wrong = log_sigmoid(reward_chosen - reward_rejected), log_sigmoid(reward_rejected - reward_chosen)
        out.append(-(1 - smoothing) * right - smoothing * wrong)
    return np.array(out)


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.49])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_dpo_is_the_papers_formula(beta: float, smoothing: float, weights: list[float] | None) -> None:
    case = make_case(SIZES, weights=weights)
    got = value(losses.get("dpo"), case, beta=beta, label_smoothing=smoothing)
    expected = np.average(dpo_terms(case, beta, smoothing), weights=weights)
    assert abs(got.item() - expected) <= 1e-12 * max(1.0, abs(expected))


def test_dpo_gradient_is_the_papers() -> None:
    """Sec. 4: -beta * sigma(r_l - r_w) on every chosen token's log-prob, + on every rejected one's."""
    beta, case = 0.7, make_case(SIZES)
    for group in case.roles["policy"]:
        for response in group:
            response.requires_grad_(True)
    value(losses.get("dpo"), case, beta=beta).backward()
    for index, ((cw, cl), (rw, rl)) in enumerate(zip(sums(case, "policy"), sums(case, "reference"), strict=True)):
        slope = beta / (1 + math.exp(beta * ((cw - rw) - (cl - rl)))) / len(SIZES)
        for response, sign in zip(case.roles["policy"][index], (-1, 1), strict=True):
            if len(response):
                np.testing.assert_allclose(response.grad, sign * slope, rtol=1e-12)


def test_dpo_metrics_are_implicit_rewards_and_ratios() -> None:
    case = make_case(SIZES)
    metrics = case.call(losses.get("dpo"), beta=0.3).metrics
    policy, reference = np.array(sums(case, "policy")), np.array(sums(case, "reference"))
    ratio = policy - reference
    np.testing.assert_allclose(metrics["chosen_logratio"], ratio[:, 0], rtol=1e-12)
    np.testing.assert_allclose(metrics["rejected_logratio"], ratio[:, 1], rtol=1e-12)
    np.testing.assert_allclose(metrics["margin"], 0.3 * (ratio[:, 0] - ratio[:, 1]), rtol=1e-12)
    np.testing.assert_array_equal(metrics["accuracy"], (ratio[:, 0] > ratio[:, 1]).astype(float))


@pytest.mark.parametrize("name", ["nll", "chosen_nll"])
@pytest.mark.parametrize("reduction", ["token", "response"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_likelihood_is_the_mean_over_tokens_or_over_responses(
    name: str, reduction: str, weights: list[float] | None
) -> None:
    case = make_case(SIZES, weights=weights)
    top = bottom = 0.0
    for group, weight in zip(case.roles["policy"], weights or [1.0] * len(SIZES), strict=True):
        for response in group[:1] if name == "chosen_nll" else group:
            tokens = [-x for x in response.tolist()]
            if reduction == "token":
                top, bottom = top + weight * math.fsum(tokens), bottom + weight * len(tokens)
            elif tokens:
                top, bottom = top + weight * math.fsum(tokens) / len(tokens), bottom + weight
    got = float(value(losses.get(name), case, reduction=reduction))
    assert abs(got - top / bottom) <= 1e-12


def test_dpo_is_finite_and_exact_far_out() -> None:
    """log sigmoid must not overflow: at a margin of -1e4 nats the loss is 1e4 and the slope is beta."""
    case = make_case([(1, 1)])
    case.roles["policy"][0][0] = torch.tensor([-10000.0], dtype=torch.float64, requires_grad=True)
    for role, index in (("policy", 1), ("reference", 0), ("reference", 1)):
        case.roles[role][0][index] = torch.zeros(1, dtype=torch.float64)
    got = value(losses.get("dpo"), case, beta=1.0)
    got.backward()
    assert got.item() == 10000.0
    assert float(case.roles["policy"][0][0].grad) == -1.0
