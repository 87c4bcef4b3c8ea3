"""What a whole distribution says: against the formula over all logits, in blocks of any size, with its gradient."""

from __future__ import annotations

import math

import pytest
import torch

from hizala.core.ops.distributions import Unembedding, divergence, log_collision


def sides(m: int = 7, v: int = 23) -> tuple[Unembedding, Unembedding]:
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    policy = Unembedding(draw(m, 5).requires_grad_(), draw(v, 5).requires_grad_())
    return policy, Unembedding(draw(m, 6), draw(v, 6))


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_collision_is_the_log_of_the_sum_of_squared_probabilities(block: int) -> None:
    policy, _ = sides()
    p = torch.softmax(policy.hidden @ policy.weight.T, -1)
    got = log_collision(policy, block=block)
    torch.testing.assert_close(got, p.square().sum(-1).log().detach(), rtol=0, atol=1e-13)
    assert not got.requires_grad


def test_collision_of_an_even_distribution_is_minus_log_of_its_size() -> None:
    flat = Unembedding(torch.zeros(3, 2, dtype=torch.float64), torch.ones(8, 2, dtype=torch.float64))
    torch.testing.assert_close(log_collision(flat), torch.full((3,), -math.log(8), dtype=torch.float64))


@pytest.mark.parametrize("block", [1, 40, 10_000])
def test_divergence_and_its_gradient_equal_the_formula_over_all_logits(block: int) -> None:
    policy, reference = sides()
    got = divergence(policy, reference, block=block)
    log_pi = torch.log_softmax(policy.hidden @ policy.weight.T, -1)
    log_ref = torch.log_softmax(reference.hidden @ reference.weight.T, -1)
    expected = (log_ref.exp() * (log_ref - log_pi)).sum(-1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-13)
    weights = torch.arange(1.0, 8.0, dtype=torch.float64)
    mine = torch.autograd.grad((got * weights).sum(), list(policy))
    other = torch.autograd.grad((expected * weights).sum(), list(policy))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_divergence_from_itself_is_zero_with_zero_gradient() -> None:
    policy, _ = sides()
    got = divergence(policy, Unembedding(policy.hidden.detach(), policy.weight.detach()))
    assert float(got.detach().abs().max()) < 1e-14
    gradients = torch.autograd.grad(got.sum(), list(policy))
    assert max(float(g.abs().max()) for g in gradients) < 1e-14


def test_no_state_gives_no_value() -> None:
    policy, reference = sides(m=0)
    assert divergence(policy, reference).shape == log_collision(policy).shape == (0,)
