"""Log-probs in blocks over the vocabulary equal the dense formula, and so does their gradient."""

from __future__ import annotations

import pytest
import torch

from hizala.core.ops.vocab import token_logps


def dense(hidden, weight, targets, temperature):
    logp = torch.log_softmax(hidden @ weight.T / temperature, dim=-1)
    return logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def inputs(m=7, v=23, h=5, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    hidden = (torch.randn(m, h, generator=generator, dtype=torch.float64) * scale).to(dtype).requires_grad_()
    weight = torch.randn(v, h, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, v, (m,), generator=generator)


BLOCKS = [{"block": 1}, {"block": 30}, {"block": 40, "keep": 0}, {"block": 1000}, {"block": 1000, "keep": 0}]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("settings", BLOCKS)
def test_values_and_gradients_equal_the_dense_formula(settings, temperature):
    hidden, weight, targets = inputs()
    logps, entropy = token_logps(hidden, weight, targets, temperature=temperature, entropy=True, **settings)
    expected = dense(hidden, weight, targets, temperature)
    assert torch.allclose(logps, expected[0], rtol=1e-12)
    assert torch.allclose(entropy, expected[1], rtol=1e-12)
    a, b = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((logps * a + entropy * b).sum(), (hidden, weight))
    theirs = torch.autograd.grad((expected[0] * a + expected[1] * b).sum(), (hidden, weight))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("settings", BLOCKS)
def test_gradient_check(settings, entropy):
    hidden, weight, targets = inputs(m=4, v=9, h=3)

    def run(h, w):
        logps, entropies = token_logps(h, w, targets, temperature=1.3, entropy=entropy, **settings)
        return (logps, entropies) if entropy else logps

    assert torch.autograd.gradcheck(run, (hidden, weight))


def test_only_what_needs_a_gradient_gets_one():
    hidden, weight, targets = inputs()
    logps, _ = token_logps(hidden, weight.detach(), targets)
    (got,) = torch.autograd.grad(logps.sum(), hidden)
    (expected,) = torch.autograd.grad(dense(hidden, weight, targets, 1.0)[0].sum(), hidden)
    assert torch.allclose(got, expected)


def test_large_logits_do_not_overflow():
    hidden, weight, targets = inputs(dtype=torch.float32, scale=1e3)
    logps, entropy = token_logps(hidden, weight, targets, entropy=True, block=30)
    expected = dense(hidden.double(), weight.double(), targets, 1.0)
    assert torch.isfinite(entropy).all()
    assert torch.allclose(logps.double(), expected[0], rtol=1e-5, atol=1e-2)


def test_bfloat16_states_give_a_float32_softmax():
    hidden, weight, targets = inputs(v=400)
    logps, entropy = token_logps(hidden.bfloat16(), weight.float(), targets, entropy=True, block=500)
    logits = hidden.bfloat16() @ weight.bfloat16().T
    expected = torch.log_softmax(logits.float(), dim=-1)
    assert logps.dtype == torch.float32
    assert torch.allclose(logps, expected.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropy, -(expected.exp() * expected).sum(-1), atol=1e-4)


def test_nothing_to_score_gives_nothing_and_keeps_the_graph():
    hidden, weight, _ = inputs(m=3)
    logps, entropy = token_logps(hidden[:0], weight, torch.empty(0, dtype=torch.long), entropy=True)
    assert logps.shape == (0,)
    assert entropy.shape == (0,)
    (got,) = torch.autograd.grad(logps.sum(), hidden)
    assert torch.equal(got, torch.zeros_like(hidden))
