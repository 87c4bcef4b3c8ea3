"""Log-probs as values: sums, means, pairs."""

from __future__ import annotations

import torch

from hizala.core.logps import Pairs, SeqLogps


def example(requires_grad: bool = False) -> SeqLogps:
    tokens = torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], dtype=torch.float64, requires_grad=requires_grad)
    return SeqLogps(tokens, torch.tensor([0, 0, 2, 3, 3, 3]), torch.tensor([2, 0, 1, 3]), tokens.detach() * -0.5)


def test_total_and_mean_are_per_response_and_zero_where_it_is_empty() -> None:
    logps = example()
    assert logps.total.tolist() == [-3.0, 0.0, -3.0, -15.0]
    assert logps.mean.tolist() == [-1.5, 0.0, -3.0, -5.0]


def test_gradient_of_a_total_is_one_on_its_own_tokens() -> None:
    logps = example(requires_grad=True)
    logps.total[3].backward()
    assert logps.tokens.grad is not None
    assert logps.tokens.grad.tolist() == [0, 0, 0, 1, 1, 1]


def test_pairs_take_alternate_responses_with_their_entropies() -> None:
    pairs = Pairs.of(example())
    assert pairs.chosen.total.tolist() == [-3.0, -3.0]
    assert pairs.rejected.total.tolist() == [0.0, -15.0]
    assert pairs.chosen.count.tolist() == [2, 1]
    assert pairs.rejected.segments.tolist() == [1, 1, 1]
    assert pairs.rejected.entropy is not None
    assert pairs.rejected.entropy.tolist() == [2.0, 2.5, 3.0]


def test_detached_values_carry_no_gradient() -> None:
    detached = Pairs.of(example(requires_grad=True)).detach()
    assert not detached.chosen.tokens.requires_grad
    assert not detached.rejected.total.requires_grad
