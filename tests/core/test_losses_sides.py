"""Losses that read each response alone, without a reference, or by its length: worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from few_pairs import gaps, pairs, slopes

from hizala.core.losses.lengths import dpo_norm, ld_dpo, rdpo
from hizala.core.losses.pairwise import dpo
from hizala.core.losses.pairwise_sides import apo_down, apo_zero, nca, sppo
from hizala.core.losses.reference_free import cpo, orpo, simpo, slic


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_anchored_losses_are_bounded_sums_of_sigmoids() -> None:
    policy, reference = gaps((1.0, -2.0))
    assert apo_zero(policy, reference, beta=0.5).loss.item() == pytest.approx(sigmoid(-1) - sigmoid(0.5))
    assert apo_down(policy, reference, beta=0.5).loss.item() == pytest.approx(sigmoid(0.5) - sigmoid(1.5))


def test_apo_zero_raises_the_chosen_and_apo_down_lowers_it() -> None:
    """At the reference: d apo_zero = (-beta/4, +beta/4); d apo_down = (beta/4 - beta/4, +beta/4)."""
    policy, reference = gaps((0.0, 0.0), grad=True)
    assert slopes(policy, apo_zero(policy, reference, beta=0.4).loss.sum()) == ([-0.1], [0.1])
    policy, reference = gaps((0.0, 0.0), grad=True)
    assert slopes(policy, apo_down(policy, reference, beta=0.4).loss.sum()) == ([pytest.approx(0.0)], [0.1])
    policy, reference = gaps((0.0, -3.0), grad=True)
    assert slopes(policy, apo_down(policy, reference, beta=0.4).loss.sum())[0][0] > 0


def test_nca_holds_the_chosen_reward_at_log_two() -> None:
    """-log s(r) - 1/2 log s(-r) is least where s(r) = 2/3."""
    policy, reference = gaps((math.log(2) / 0.5, -1.0), grad=True)
    terms = nca(policy, reference, beta=0.5).loss
    assert terms.item() == pytest.approx(-math.log(2 / 3) - 0.5 * math.log(1 / 3) + 0.5 * softplus(-0.5))
    assert slopes(policy, terms.sum())[0] == [pytest.approx(0.0, abs=1e-15)]


def test_sppo_is_zero_where_both_log_ratios_are_at_half_the_inverse_of_beta() -> None:
    policy, reference = gaps((5.0, -5.0), (0.0, 1.0))
    assert sppo(policy, reference, beta=0.1).loss.tolist() == [0.0, pytest.approx(25 + 36)]


def test_simpo_compares_mean_log_probs_and_asks_for_its_margin() -> None:
    policy = pairs(((-1.0, -2.0, -3.0), (-4.0,)))
    assert simpo(policy, beta=2.0, gamma=0.0).loss.item() == pytest.approx(softplus(-4))
    terms = simpo(policy, beta=2.0, gamma=1.5)
    assert terms.loss.item() == pytest.approx(softplus(-2.5))
    assert terms.metrics["margin"].item() == pytest.approx(4.0)
    assert (terms.metrics["chosen_logp"].item(), terms.metrics["rejected_logp"].item()) == (-2.0, -4.0)


def test_simpo_shares_its_slope_among_the_tokens_of_a_response() -> None:
    policy = pairs(((-1.0, -1.0), (-1.0, -1.0, -1.0, -1.0)), grad=True)
    chosen, rejected = slopes(policy, simpo(policy, beta=2.0, gamma=0.0).loss.sum())
    assert (chosen, rejected) == ([-0.5] * 2, [0.25] * 4)


def test_cpo_is_dpo_with_a_reference_that_likes_all_responses_alike() -> None:
    policy = pairs(((-1.0, -2.0, -3.0), (-4.0,)), ((-1.0,), (-2.0, -0.5)))
    uniform = pairs(((-1.0, -1.0, -1.0), (-3.0,)), ((-2.0,), (-1.0, -1.0)))
    assert torch.allclose(cpo(policy, beta=0.3).loss, dpo(policy, uniform, beta=0.3).loss, rtol=1e-14)


def test_slic_stops_where_the_chosen_leads_by_delta() -> None:
    policy = pairs(((-1.0, -2.0), (-2.5,)), ((-1.0,), (-3.0,)), grad=True)
    terms = slic(policy, delta=1.0).loss
    assert terms.tolist() == [1.5, 0.0]
    assert slopes(policy, terms.sum()) == ([-1.0, -1.0, 0.0], [1.0, 0.0])


def test_orpo_is_the_odds_ratio_of_mean_likelihoods() -> None:
    policy = pairs(((math.log(0.9), math.log(0.4)), (math.log(0.2),)))
    p = math.sqrt(0.9 * 0.4)
    odds = (p / (1 - p)) / (0.2 / 0.8)
    terms = orpo(policy)
    assert terms.loss.item() == pytest.approx(math.log1p(1 / odds))
    assert terms.metrics["margin"].item() == pytest.approx(math.log(odds))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chosen", [0.0, -1e-12, -1e-3, -0.69, -0.7, -50.0, -1000.0])
def test_orpo_is_finite_from_certainty_to_impossibility(chosen: float, dtype: torch.dtype) -> None:
    policy = pairs(((chosen,), (-0.5,)), ((-0.5,), (chosen,)))
    for side in (policy.chosen, policy.rejected):
        object.__setattr__(side, "tokens", side.tokens.to(dtype).requires_grad_(True))
    terms = orpo(policy).loss
    chosen_slope, rejected_slope = slopes(policy, terms.sum())
    assert all(map(math.isfinite, [*terms.tolist(), *chosen_slope, *rejected_slope]))


def test_log_odds_are_exact_where_one_form_alone_would_round() -> None:
    from hizala.core.losses.reference_free import _log_odds

    for logp, expected in ((-1e-10, 10 * math.log(10)), (-40.0, -40.0), (-math.log(2), 0.0)):
        got = _log_odds(torch.tensor(logp, dtype=torch.float64)).item()
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_an_empty_response_leaves_reference_free_losses_finite() -> None:
    policy = pairs(((), (-1.0,)), ((-1.0,), ()), ((), ()))
    for terms in (simpo(policy), cpo(policy), slic(policy), orpo(policy)):
        assert bool(torch.isfinite(terms.loss).all())
        assert all(bool(torch.isfinite(m).all()) for m in terms.metrics.values())
    assert cpo(policy).loss[2].item() == pytest.approx(math.log(2))


def test_length_normalised_dpo_divides_each_log_ratio_by_its_length() -> None:
    policy, reference = pairs(((-1.0, -1.0), (-1.0,))), pairs(((-2.0, -2.0), (-0.5,)))
    assert dpo_norm(policy, reference, beta=2.0).loss.item() == pytest.approx(softplus(-2 * (1.0 + 0.5)))


def test_ld_dpo_weighs_the_tokens_that_one_response_has_alone() -> None:
    policy = pairs(((-1.0, -1.0, -5.0, -6.0), (-2.0, -2.0)))
    reference = pairs(((-1.5, -1.5, -7.0, -7.0), (-1.0, -1.0)))
    for alpha in (0.0, 0.3, 1.0):
        h = 0.5 * ((1.0 + alpha * 3.0) - -2.0)
        assert ld_dpo(policy, reference, beta=0.5, alpha=alpha).loss.item() == pytest.approx(softplus(-h))
        h = 0.5 * ((-2.0 - alpha * 11.0 + 17.0) - -2.0)
        got = ld_dpo(policy, reference, beta=0.5, alpha=alpha, applies_to="policy").loss.item()
        assert got == pytest.approx(softplus(-h))


def test_ld_dpo_gives_the_tail_its_share_of_the_slope() -> None:
    policy = pairs(((-1.0, -1.0), (-1.0,)), ((-1.0,), (-1.0, -1.0, -1.0)), ((), (-1.0,)), grad=True)
    terms = ld_dpo(policy, policy.detach(), beta=0.4, alpha=0.25).loss
    assert terms.tolist() == [pytest.approx(math.log(2))] * 3
    chosen, rejected = slopes(policy, terms.sum())
    assert chosen == pytest.approx([-0.2, -0.05, -0.2])
    assert rejected == pytest.approx([0.2, 0.2, 0.05, 0.05, 0.05])


def test_rdpo_expects_less_of_a_chosen_response_that_is_longer() -> None:
    policy = pairs(((-1.0, -1.0, -1.0), (-1.0,)), ((-1.0,), (-1.0, -1.0)), grad=True)
    terms = rdpo(policy, policy.detach(), beta=0.5, alpha=0.2)
    assert terms.loss.tolist() == [pytest.approx(softplus(-0.4)), pytest.approx(softplus(0.2))]
    chosen, _ = slopes(policy, terms.loss.sum())
    assert chosen == pytest.approx([-0.5 * sigmoid(-0.4)] * 3 + [-0.5 * sigmoid(0.2)])


@pytest.mark.parametrize(
    "loss",
    [
        lambda p, r: rdpo(p, r, alpha=0.0),
        lambda p, r: ld_dpo(p, r, alpha=1.0),
        lambda p, r: ld_dpo(p, r, alpha=1.0, applies_to="policy"),
    ],
)
def test_a_length_correction_of_nothing_is_dpo(loss: object) -> None:
    policy = pairs(((-1.0, -2.0, -3.0), (-4.0,)), ((), (-2.0, -0.5)))
    reference = pairs(((-1.5, -2.5, -1.0), (-2.0,)), ((), (-1.0, -1.0)))
    assert torch.allclose(loss(policy, reference).loss, dpo(policy, reference).loss, rtol=1e-14)  # type: ignore[operator]
