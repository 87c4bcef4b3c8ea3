"""Log-probs of truncated, tempered distributions equal their definition, and so does their gradient."""

from __future__ import annotations

import pytest
import torch

from hizala.core.distribution import Distribution
from hizala.core.ops.truncated import logps_of, truncated_logps

SETTINGS = [
    Distribution(temperature=0.7),
    Distribution(top_k=5),
    Distribution(top_p=0.6),
    Distribution(temperature=1.4, min_p=0.2),
    Distribution(temperature=0.8, top_k=9, top_p=0.9, min_p=0.05),
]


def inputs(m=70, v=23, h=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(m, h, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    weight = torch.randn(v, h, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, v, (m,), generator=generator)


def dense(hidden, weight, targets, distribution):
    """The definition, with the kept set from the sampler's own log-probs."""
    logits = hidden @ weight.T
    kept = distribution.logps(logits.detach()) > -torch.inf
    rows = torch.arange(len(targets))
    outside = ~kept[rows, targets]
    kept[rows, targets] = True
    logq = torch.log_softmax((logits / distribution.temperature).masked_fill(~kept, -torch.inf), -1)
    entropy = -(logq.exp() * logq.masked_fill(~kept, 0)).sum(-1)
    return logq[rows, targets], entropy, outside


@pytest.mark.parametrize("block", [1, 10_000])
@pytest.mark.parametrize("distribution", SETTINGS)
def test_values_and_gradients_equal_the_definition(distribution, block):
    hidden, weight, targets = inputs()
    got = truncated_logps(hidden, weight, targets, distribution, entropy=True, block=block)
    logps, entropy, outside = dense(hidden, weight, targets, distribution)
    assert torch.allclose(got.logps, logps, rtol=1e-12)
    assert torch.allclose(got.entropy, entropy, rtol=1e-10, atol=1e-12)
    assert torch.equal(got.outside, outside)
    assert outside.any() == distribution.truncates
    a, b = torch.randn(2, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((got.logps * a + got.entropy * b).sum(), (hidden, weight))
    theirs = torch.autograd.grad((logps * a + entropy * b).sum(), (hidden, weight))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("distribution", SETTINGS)
def test_gradient_check(distribution, entropy):
    hidden, weight, targets = inputs(m=4, v=9, h=3)

    def run(h, w):
        read = truncated_logps(h, w, targets, distribution, entropy=entropy)
        return (read.logps, read.entropy) if entropy else read.logps

    assert torch.autograd.gradcheck(run, (hidden, weight))


@pytest.mark.parametrize("distribution", SETTINGS)
def test_kept_tokens_have_the_log_prob_that_the_sampler_reports(distribution):
    hidden, weight, _ = inputs(m=64, v=200, dtype=torch.float32)
    tokens, reported = distribution.draw((hidden @ weight.T).detach(), torch.rand(64, dtype=torch.float64))
    got = truncated_logps(hidden, weight, tokens, distribution)
    assert not got.outside.any()
    assert torch.allclose(got.logps, reported, atol=1e-5)


def test_without_truncation_it_is_the_plain_log_softmax():
    hidden, weight, targets = inputs()
    got = truncated_logps(hidden, weight, targets, Distribution(), entropy=True)
    logp = torch.log_softmax(hidden @ weight.T, -1)
    assert torch.allclose(got.logps, logp.gather(1, targets[:, None])[:, 0])
    assert torch.allclose(got.entropy, -(logp.exp() * logp).sum(-1))


def test_what_is_cut_off_has_no_influence_and_what_is_kept_has():
    hidden, weight, targets = inputs(m=1)
    targets = (hidden @ weight.T).argmax(-1)
    (d_weight,) = torch.autograd.grad(truncated_logps(hidden, weight, targets, Distribution(top_k=4)).logps, weight)
    kept = (hidden @ weight.T)[0].topk(4).indices
    moved = d_weight.abs().sum(-1) > 0
    assert set(moved.nonzero()[:, 0].tolist()) == set(kept.tolist())


def test_a_token_that_was_cut_off_is_kept_all_the_same_and_is_counted():
    hidden, weight, _ = inputs(m=1)
    targets = (hidden @ weight.T).argmin(-1)
    got = truncated_logps(hidden, weight, targets, Distribution(top_k=2), entropy=True)
    logits = (hidden @ weight.T)[0]
    three = torch.cat((logits.topk(2).values, logits.min()[None])).log_softmax(-1)
    assert got.outside.all()
    assert torch.allclose(got.logps, three[-1])
    assert torch.allclose(got.entropy, -(three.exp() * three).sum())


def test_equal_logits_are_cut_as_the_sampler_cuts_them():
    hidden, weight = torch.ones(6, 1), torch.tensor([[2.0], [1.0], [1.0], [1.0], [1.0], [0.0]])
    distribution = Distribution(top_p=0.6)
    kept = distribution.logps(hidden @ weight.T)[0] > -torch.inf
    assert kept.tolist() == [True, True, True, False, False, False]
    got = truncated_logps(hidden, weight, torch.arange(6), distribution)
    assert got.outside.tolist() == (~kept).tolist()


def test_a_row_does_not_depend_on_the_rows_beside_it():
    hidden, weight, targets = inputs(m=150, v=300, dtype=torch.float32)
    distribution = Distribution(temperature=0.9, top_p=0.8)
    whole = truncated_logps(hidden, weight, targets, distribution, entropy=True)
    for first, stop in ((0, 1), (3, 50), (50, 150)):
        part = truncated_logps(hidden[first:stop], weight, targets[first:stop], distribution, entropy=True, block=1)
        assert torch.allclose(part.logps, whole.logps[first:stop], atol=1e-5)
        assert torch.allclose(part.entropy, whole.entropy[first:stop], atol=1e-5)


def test_bfloat16_states_are_cut_on_float32_logits():
    hidden, weight, targets = inputs(m=40, v=4000, h=16)
    read = truncated_logps(hidden.bfloat16(), weight.float(), targets, Distribution(top_k=50))
    logits = hidden.bfloat16().float() @ weight.bfloat16().float().T
    expected = dense(logits, torch.eye(4000), targets, Distribution(top_k=50))
    assert read.logps.dtype == torch.float32
    assert torch.allclose(read.logps, expected[0], atol=1e-4)


def test_nothing_to_score_gives_nothing_and_keeps_the_graph():
    hidden, weight, _ = inputs(m=3)
    read = truncated_logps(hidden[:0], weight, torch.empty(0, dtype=torch.long), Distribution(top_p=0.5), entropy=True)
    assert read.logps.shape == read.outside.shape == (0,)
    (grad,) = torch.autograd.grad(read.logps.sum() + read.entropy.sum(), hidden)
    assert torch.equal(grad, torch.zeros_like(hidden))


@pytest.mark.parametrize("distribution", [*SETTINGS, None])
def test_logits_that_stand_in_memory_are_read_alike(distribution):
    hidden, weight, targets = inputs()
    logits = (hidden @ weight.T).detach().requires_grad_()
    read = logps_of(logits, targets, distribution, entropy=True)
    expected = dense(logits, torch.eye(23, dtype=torch.float64), targets, distribution or Distribution())
    for mine, other in zip(read, expected, strict=True):
        assert torch.allclose(mine.double(), other.double())
    ours, theirs = (torch.autograd.grad(x[0].sum() + x[1].sum(), logits)[0] for x in (read, expected))
    assert torch.allclose(ours, theirs)
