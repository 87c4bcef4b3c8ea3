"""Losses on thumbs, rankings, scores, whole batches and token distributions: worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from few_pairs import gaps, pairs, responses, slopes

from hizala.core.logps import Lists, SeqLogps
from hizala.core.losses.listwise import pl_dpo
from hizala.core.losses.pairwise import dpo
from hizala.core.losses.token_level import tdpo1, tdpo2, wpo
from hizala.core.losses.transport import aot, aot_unpaired
from hizala.core.losses.unpaired import bco, desirable_nll, kto, sppo_soft

UP_DOWN = torch.tensor([True, False])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def ratios(*nats: float, grad: bool = False) -> tuple[SeqLogps, SeqLogps]:
    """A policy and a reference with these log-ratios."""
    return responses(*(((-4.0 + s,)) for s in nats), grad=grad), responses(*(((-4.0,)) for _ in nats))


def number(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def lists(*ranks: list[int]) -> Lists:
    group = [i for i, ranking in enumerate(ranks) for _ in ranking]
    return Lists(torch.tensor([r for ranking in ranks for r in ranking]), torch.tensor(group))


def test_kto_weighs_gains_and_losses_against_the_mismatched_responses() -> None:
    policy, reference = ratios(2.0, -1.0)
    terms = kto(
        policy,
        reference,
        UP_DOWN,
        number(0.5),
        {"mismatch": 9.0},
        beta=0.4,
        desirable_weight=1.5,
        undesirable_weight=0.7,
    )
    assert terms.loss.tolist() == [pytest.approx(1.5 * sigmoid(-0.6)), pytest.approx(0.7 * sigmoid(-0.6))]
    assert terms.metrics["accuracy"].tolist() == [1.0, 1.0]
    assert terms.metrics["margin"].tolist() == pytest.approx([0.6, 0.6])


def test_kto_never_takes_a_reference_point_below_zero() -> None:
    policy, reference = ratios(2.0, -1.0)
    below = kto(policy, reference, UP_DOWN, number(-3.0), {"mismatch": 0.0})
    at_zero = kto(policy, reference, UP_DOWN, number(0.0), {"mismatch": 0.0})
    assert torch.equal(below.loss, at_zero.loss)
    assert below.metrics["mismatch"].tolist() == [-3.0, -3.0]
    assert below.metrics["z0"].tolist() == [0.0, 0.0]


def test_kto_keeps_what_decay_says_of_earlier_reference_points() -> None:
    policy, reference = ratios(2.0, -1.0)
    kept = kto(policy, reference, UP_DOWN, number(1.0), {"mismatch": 3.0}, decay=0.25)
    assert kept.metrics["z0"].tolist() == [1.5, 1.5]
    assert torch.equal(kept.loss, kto(policy, reference, UP_DOWN, number(1.5), {"mismatch": 0.0}).loss)


def test_kto_pushes_each_response_to_its_side_and_not_through_the_reference_point() -> None:
    policy, reference = ratios(0.0, 0.0, grad=True)
    mismatch = number(0.0).requires_grad_(True)
    kto(policy, reference, UP_DOWN, mismatch, {"mismatch": 0.0}, beta=0.4).loss.sum().backward()
    assert policy.tokens.grad is not None
    assert policy.tokens.grad.tolist() == pytest.approx([-0.1, 0.1])
    assert mismatch.grad is None


def test_bco_shifts_rewards_by_the_mean_of_both_kinds_whatever_their_shares() -> None:
    """Thumbs up are 80 % of the past with mean reward 2, thumbs down 20 % with mean -1: delta = (2 - 1) / 2."""
    policy, reference = ratios(2.0, -1.0)
    past = {"up": 0.8, "up_reward": 1.6, "down": 0.2, "down_reward": -0.2}
    terms = bco(policy, reference, UP_DOWN, past, beta=0.5, undesirable_weight=3.0)
    assert terms.loss.tolist() == [pytest.approx(softplus(-0.5)), pytest.approx(3 * softplus(-1.0))]
    assert terms.metrics["shift"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("past", "shift"),
    [({}, 0.0), ({"up": 0.5, "up_reward": 0.4}, 0.8), ({"down": 0.1, "down_reward": -0.2}, -2.0)],
)
def test_bco_takes_its_shift_from_what_it_has_met(past: dict[str, float], shift: float) -> None:
    policy, reference = ratios(2.0, -1.0)
    running = dict.fromkeys(("up", "down", "up_reward", "down_reward"), 0.0) | past
    assert bco(policy, reference, UP_DOWN, running).metrics["shift"].tolist() == pytest.approx([shift, shift])


def test_bco_reports_what_its_statistics_follow() -> None:
    policy, reference = ratios(2.0, -1.0)
    running = dict.fromkeys(("up", "down", "up_reward", "down_reward"), 0.0)
    metrics = bco(policy, reference, UP_DOWN, running, beta=0.5).metrics
    assert [metrics[k].tolist() for k in running] == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -0.5]]


def test_likelihood_on_thumbs_leaves_bad_responses_alone() -> None:
    policy = responses((-1.0, -2.0), (-3.0,), grad=True)
    terms = desirable_nll(policy, UP_DOWN)
    assert terms.loss.tolist() == [1.0, 2.0, 0.0]
    terms.loss.sum().backward()
    assert policy.tokens.grad is not None
    assert policy.tokens.grad.tolist() == [-1.0, -1.0, 0.0]


def test_soft_sppo_regresses_on_the_win_probability() -> None:
    policy, reference = ratios(2.0, -1.0, 0.5)
    terms = sppo_soft(policy, reference, torch.tensor([0.9, 0.1, 0.5], dtype=torch.float64), beta=0.2)
    assert terms.loss.tolist() == pytest.approx([0.0, 1.0, 0.25])
    assert terms.metrics["accuracy"].tolist() == [1.0, 1.0, 0.0]


def test_a_ranking_of_two_is_dpo() -> None:
    policy, reference = ratios(1.5, -0.5, -3.0, 1.0)
    two = pl_dpo(policy, reference, lists([0, 1], [1, 0]), beta=0.3).loss
    first, first_reference = gaps((1.5, -0.5), (1.0, -3.0))
    assert torch.allclose(two, dpo(first, first_reference, beta=0.3).loss, rtol=1e-14)


def test_a_ranking_of_three_is_two_draws() -> None:
    policy, reference = ratios(0.2, 1.0, -0.5)
    a, b, c = 0.2, 1.0, -0.5
    got = pl_dpo(policy, reference, lists([1, 0, 2]), beta=1.0)
    first = math.log(math.exp(a) + math.exp(b) + math.exp(c)) - b
    assert got.loss.item() == pytest.approx(first + math.log(math.exp(a) + math.exp(c)) - a)
    assert got.metrics["kendall"].item() == 1.0


def test_one_best_of_many_is_one_draw_and_ties_alone_say_nothing() -> None:
    policy, reference = ratios(0.2, 1.0, -0.5, 3.0, 4.0, 7.0)
    terms = pl_dpo(policy, reference, lists([1, 0, 1], [0, 0], [0]), beta=1.0).loss
    best = math.log(math.exp(0.2) + math.exp(1.0) + math.exp(-0.5)) - 1.0
    assert terms.tolist() == [pytest.approx(best), pytest.approx(0.0), pytest.approx(0.0)]


def test_aot_compares_sorted_margins_and_leaves_each_at_its_pair() -> None:
    """Policy margins 3, 1, 2 and reference margins 0, 5, -1: sorted, 1 meets -1, 2 meets 0 and 3 meets 5."""
    policy = pairs(((-1.0,), (-4.0,)), ((-1.0,), (-2.0,)), ((-1.0,), (-3.0,)), grad=True)
    reference = pairs(((-6.0,), (-6.0,)), ((-1.0,), (-6.0,)), ((-6.0,), (-5.0,)))
    terms = aot(policy, reference, beta=0.5, label_smoothing=0.1).loss
    expected = [0.9 * softplus(-0.5 * d) + 0.1 * softplus(0.5 * d) for d in (3 - 5, 1 + 1, 2 - 0)]
    assert terms.tolist() == pytest.approx(expected)


def test_aot_on_one_pair_is_dpo() -> None:
    policy, reference = gaps((1.5, -0.5))
    assert torch.allclose(aot(policy, reference).loss, dpo(policy, reference).loss, rtol=1e-14)


def test_aot_on_as_many_good_as_bad_pairs_the_sorted_rewards() -> None:
    policy, reference = ratios(3.0, 0.0, 1.0, -2.0)
    labels = torch.tensor([True, False, True, False])
    got = aot_unpaired(policy, reference, labels, beta=0.5).loss
    assert got.mean().item() == pytest.approx((softplus(-0.5 * (1 + 2)) + softplus(-0.5 * (3 - 0))) / 2)


def test_aot_on_unequal_counts_integrates_over_quantiles() -> None:
    """Two good (1, 4) against three bad (-1, 0, 2): thirds and halves cut (0, 1) into four stretches."""
    policy, reference = ratios(0.0, 4.0, 2.0, 1.0, -1.0)
    labels = torch.tensor([False, True, False, True, False])
    got = aot_unpaired(policy, reference, labels, beta=1.0).loss.mean().item()
    stretches = [(1 / 3, 1 - -1), (1 / 6, 1 - 0), (1 / 6, 4 - 0), (1 / 3, 4 - 2)]
    assert got == pytest.approx(sum(width * softplus(-d) for width, d in stretches))


@pytest.mark.parametrize(("ups", "downs"), [(1, 5), (4, 6), (7, 3), (5, 5)])
def test_aot_on_thumbs_repeated_is_the_same(ups: int, downs: int) -> None:
    """A batch and the batch in which every response stands three times have the same quantiles."""
    torch.manual_seed(ups * 10 + downs)
    values, labels = torch.randn(ups + downs).double().tolist(), torch.tensor([True] * ups + [False] * downs)
    once = aot_unpaired(*ratios(*values), labels, beta=0.7).loss.mean()
    thrice = aot_unpaired(*ratios(*(values * 3)), labels.repeat(3), beta=0.7).loss.mean()
    assert torch.allclose(once, thrice, rtol=1e-12)


def test_aot_pushes_good_up_and_bad_down_and_has_nothing_to_do_with_one_kind_alone() -> None:
    policy, reference = ratios(0.0, 4.0, 2.0, 1.0, -1.0, grad=True)
    labels = torch.tensor([False, True, False, True, False])
    aot_unpaired(policy, reference, labels).loss.mean().backward()
    assert policy.tokens.grad is not None
    assert bool(((policy.tokens.grad < 0) == labels).all())
    alone = aot_unpaired(policy, reference, torch.ones(5, dtype=torch.bool))
    assert alone.loss.tolist() == [0.0] * 5
    assert alone.metrics["compared"].tolist() == [0.0] * 5


def test_wpo_weighs_a_pair_by_how_likely_the_policy_is_to_write_it() -> None:
    policy, reference = pairs(((-1.0, -3.0), (-2.0,)), grad=True), pairs(((-1.5, -3.5), (-1.0,)))
    collision = pairs(((-0.5, -0.5), (-1.5,)))
    weight = math.exp(-2.0 + 0.5) * math.exp(-2.0 + 1.5)
    terms = wpo(policy, reference, collision, beta=0.5)
    assert terms.metrics["weight"].item() == pytest.approx(weight)
    assert terms.loss.item() == pytest.approx(weight * softplus(-0.5 * (1.0 + 1.0)))
    chosen, _ = slopes(policy, terms.loss.sum())
    assert chosen == pytest.approx([-weight * 0.5 * sigmoid(-1.0)] * 2), "the weight has no gradient"


def test_tdpo_takes_the_divergence_from_the_margin() -> None:
    policy, reference = gaps((1.0, -1.0))
    divergence = pairs(((0.2, 0.3), (1.5,)))
    assert tdpo1(policy, reference, divergence, beta=0.5).loss.item() == pytest.approx(softplus(-(1 - 0.5 * 1.0)))
    got = tdpo2(policy, reference, divergence, beta=0.5, alpha=0.4)
    assert got.loss.item() == pytest.approx(softplus(-(1 - 0.4 * 0.5 * 1.0)))
    assert got.metrics["chosen_divergence"].item() == 0.5


def test_tdpo1_trains_both_divergences_and_tdpo2_the_rejected_alone() -> None:
    for loss, chosen, rejected in ((tdpo1, -0.5, 0.5), (tdpo2, 0.0, 0.25)):
        policy, reference = gaps((0.0, 0.0))
        divergence = pairs(((0.3,), (0.3,)), grad=True)
        terms = loss(policy, reference, divergence, beta=1.0).loss
        assert slopes(divergence, terms.sum()) == ([pytest.approx(chosen)], [pytest.approx(rejected)])


def test_tdpo_without_weight_or_divergence_is_dpo() -> None:
    policy, reference = gaps((1.5, -0.5), (-3.0, 1.0))
    away, none = pairs(((0.2,), (1.5,)), ((0.4,), (0.1,))), pairs(((0.0,), (0.0,)), ((0.0,), (0.0,)))
    plain = dpo(policy, reference).loss
    assert torch.equal(tdpo2(policy, reference, away, alpha=0.0).loss, plain)
    assert torch.equal(tdpo1(policy, reference, none).loss, plain)
