"""Losses on the margin of a pair: values and slopes worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from few_pairs import gaps, pairs, slopes

from hizala.core.losses.pairwise import discopop, dpo, exo, fdpo, hinge, ipo, odpo, robust_dpo
from hizala.errors import ConfigError

LOG2 = math.log(2)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_smoothing_adds_the_flipped_pair_and_robust_dpo_takes_it_away() -> None:
    policy, reference = gaps((1.5, -0.5))  # margin 2 nats, h = 1
    right, wrong = softplus(-1), softplus(1)
    assert dpo(policy, reference, beta=0.5, label_smoothing=0.2).loss.item() == pytest.approx(0.8 * right + 0.2 * wrong)
    robust = robust_dpo(policy, reference, beta=0.5, label_smoothing=0.2).loss.item()
    assert robust == pytest.approx((0.8 * right - 0.2 * wrong) / 0.6)


@pytest.mark.parametrize("loss", [dpo, robust_dpo])
def test_without_smoothing_both_are_dpo(loss: object) -> None:
    policy, reference = gaps((1.5, -0.5), (-3.0, 1.0))
    got = loss(policy, reference, beta=0.5, label_smoothing=0.0).loss  # type: ignore[operator]
    assert torch.allclose(got, torch.tensor([softplus(-1), softplus(2)], dtype=torch.float64), rtol=1e-12)


@pytest.mark.parametrize("flip_rate", [0.05, 0.3])
def test_robust_dpo_on_flipped_labels_is_on_average_dpo_on_true_ones(flip_rate: float) -> None:
    policy, reference = gaps((1.0, -0.7))
    turned, turned_reference = gaps((-0.7, 1.0))
    kept = robust_dpo(policy, reference, label_smoothing=flip_rate).loss
    flipped = robust_dpo(turned, turned_reference, label_smoothing=flip_rate).loss
    mean = (1 - flip_rate) * kept + flip_rate * flipped
    assert mean.item() == pytest.approx(dpo(policy, reference).loss.item(), rel=1e-12)


def test_ipo_is_zero_at_its_target_and_rests_there() -> None:
    policy, reference = gaps((3.0, -2.0), grad=True)  # 5 nats = 1 / (2 * 0.1)
    terms = ipo(policy, reference, tau=0.1).loss
    assert terms.item() == pytest.approx(0.0, abs=1e-20)
    assert slopes(policy, terms.sum()) == ([pytest.approx(0.0, abs=1e-12)], [pytest.approx(0.0, abs=1e-12)])


def test_ipo_past_its_target_pulls_the_margin_back() -> None:
    policy, reference = gaps((4.0, -2.0), grad=True)
    assert slopes(policy, ipo(policy, reference, tau=0.1).loss.sum()) == ([pytest.approx(2.0)], [pytest.approx(-2.0)])


def test_ipo_takes_whole_responses_unless_told_to_take_tokens() -> None:
    policy = pairs(((-1.0, -1.0, -1.0), (-2.0,)))
    reference = pairs(((-2.0, -2.0, -2.0), (-1.0,)))
    assert ipo(policy, reference, tau=0.25).loss.item() == pytest.approx((3 + 1 - 2) ** 2)
    assert ipo(policy, reference, tau=0.25, normalise="mean").loss.item() == pytest.approx((1 + 1 - 2) ** 2)


def test_hinge_falls_with_slope_beta_to_zero_and_stays_there() -> None:
    policy, reference = gaps((1.0, 0.0), (9.0, -9.0), grad=True)
    terms = hinge(policy, reference, beta=0.25, delta=1.0).loss
    assert terms.tolist() == [0.75, 0.0]
    assert slopes(policy, terms.sum()) == ([-0.25, 0.0], [0.25, 0.0])


@pytest.mark.parametrize("eps", [1e-3, 0.1, 0.4])
def test_exo_is_zero_where_the_policys_preference_is_the_label(eps: float) -> None:
    target = math.log((1 - eps) / eps)
    policy, reference = gaps((target / 0.5, 0.0), grad=True)
    terms = exo(policy, reference, beta=0.5, label_smoothing=eps).loss
    assert terms.item() == pytest.approx(0.0, abs=1e-14)
    assert slopes(policy, terms.sum())[0] == [pytest.approx(0.0, abs=1e-13)]


def test_exo_at_the_reference_is_the_reverse_divergence_from_a_fair_coin() -> None:
    policy, reference = gaps((0.0, 0.0))
    got = exo(policy, reference, label_smoothing=0.1).loss.item()
    assert got == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1))


def test_discopop_blends_the_logistic_and_the_exponential() -> None:
    policy, reference = gaps((2.0, 1.0))
    m = sigmoid(0.3 / 0.2)
    got = discopop(policy, reference, beta=0.3, tau=0.2).loss.item()
    assert got == pytest.approx((1 - m) * softplus(-0.3) + m * math.exp(-0.3))


@pytest.mark.parametrize("gap", [-1e4, -200.0, 200.0, 1e4])
def test_discopop_is_finite_far_out_in_float32(gap: float) -> None:
    policy, reference = gaps((gap, 0.0))
    for side in (policy.chosen, policy.rejected, reference.chosen, reference.rejected):
        object.__setattr__(side, "tokens", side.tokens.float())
    policy.chosen.tokens.requires_grad_(True)
    terms = discopop(policy, reference, beta=1.0, tau=0.05).loss
    assert terms.item() == pytest.approx(max(0.0, -gap), abs=1e-6)
    assert math.isfinite(slopes(policy, terms.sum())[0][0])


def test_f_dpo_under_the_reverse_divergence_is_dpo() -> None:
    policy, reference = gaps((1.5, -0.5), (-3.0, 1.0))
    got = fdpo(policy, reference, beta=0.4, divergence="reverse_kl").loss
    assert torch.allclose(got, dpo(policy, reference, beta=0.4).loss, rtol=1e-14)


@pytest.mark.parametrize(
    ("divergence", "alpha", "slope"),
    [
        ("forward_kl", None, lambda u: -1 / u),
        ("jensen_shannon", None, lambda u: math.log(2 * u / (1 + u))),
        ("alpha", 0.3, lambda u: (1 - u**-0.3) / 0.3),
    ],
)
def test_f_dpo_is_dpo_on_the_slope_of_f(divergence: str, alpha: float | None, slope: object) -> None:
    policy, reference = gaps((0.8, -1.2))
    got = fdpo(policy, reference, beta=0.4, divergence=divergence, alpha=alpha).loss.item()  # type: ignore[arg-type]
    h = 0.4 * (slope(math.exp(0.8)) - slope(math.exp(-1.2)))  # type: ignore[operator]
    assert got == pytest.approx(softplus(-h), rel=1e-13)


@pytest.mark.parametrize(("alpha", "other"), [(1e-6, "reverse_kl"), (1 - 1e-6, "forward_kl")])
def test_the_alpha_divergence_reaches_from_reverse_to_forward(alpha: float, other: str) -> None:
    policy, reference = gaps((0.8, -1.2))
    near = fdpo(policy, reference, divergence="alpha", alpha=alpha).loss.item()
    end = fdpo(policy, reference, divergence=other).loss.item()  # type: ignore[arg-type]
    assert near == pytest.approx(end, abs=1e-5)


@pytest.mark.parametrize("divergence", ["forward_kl", "alpha"])
def test_f_dpo_goes_on_as_a_tangent_where_the_exponential_would_overflow(divergence: str) -> None:
    alpha = 0.9 if divergence == "alpha" else None
    steep = 30 / (alpha or 1.0)
    values = []
    for gap in (steep - 1e-7, steep + 1e-7, 2000.0):
        policy, reference = gaps((-gap, 0.0), grad=True)
        terms = fdpo(policy, reference, beta=1.0, divergence=divergence, alpha=alpha).loss  # type: ignore[arg-type]
        slope = slopes(policy, terms.sum())[0][0]
        assert math.isfinite(slope)
        values.append((terms.item(), slope))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[2][1] == pytest.approx(-math.exp(30), rel=1e-9)


@pytest.mark.parametrize(("divergence", "alpha"), [("alpha", None), ("forward_kl", 0.5)])
def test_f_dpo_refuses_an_alpha_without_effect_and_asks_for_one_that_is_missing(
    divergence: str, alpha: float | None
) -> None:
    policy, reference = gaps((0.8, -1.2))
    with pytest.raises(ConfigError, match="alpha"):
        fdpo(policy, reference, divergence=divergence, alpha=alpha)  # type: ignore[arg-type]


def test_an_offset_moves_the_margin_that_a_pair_must_reach() -> None:
    policy, reference = gaps((1.0, -1.0), (1.0, -1.0))
    margins = torch.tensor([0.0, 3.0], dtype=torch.float64)
    terms = odpo(policy, reference, margins, beta=0.5, alpha=0.4)
    assert terms.loss.tolist() == [pytest.approx(softplus(-1)), pytest.approx(softplus(-(1 - 1.2)))]
    assert terms.metrics["margin"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("scale", ["identity", "log"])
def test_an_offset_without_weight_is_dpo(scale: str) -> None:
    policy, reference = gaps((1.5, -0.5), (-3.0, 1.0))
    margins = torch.tensor([0.0, 2.0], dtype=torch.float64)
    got = odpo(policy, reference, margins, alpha=0.0, scale=scale).loss  # type: ignore[arg-type]
    assert torch.equal(got, dpo(policy, reference).loss)


def test_an_offset_by_the_logarithm_leaves_pairs_without_a_margin_alone() -> None:
    policy, reference = gaps((1.0, -1.0), (1.0, -1.0), (1.0, -1.0), grad=True)
    margins = torch.tensor([math.e, 0.0, -2.0], dtype=torch.float64)
    terms = odpo(policy, reference, margins, beta=0.5, alpha=0.5, scale="log").loss
    assert terms.tolist() == [pytest.approx(softplus(-0.5)), 0.0, 0.0]
    chosen, rejected = slopes(policy, terms.sum())
    assert (chosen[1:], rejected[1:]) == ([0.0, 0.0], [0.0, 0.0])


@pytest.mark.parametrize("loss", [dpo, robust_dpo, ipo, hinge, exo, discopop, fdpo])
def test_losses_on_margins_report_margin_accuracy_and_both_log_ratios(loss: object) -> None:
    policy, reference = gaps((1.5, -0.5), (-3.0, 1.0))
    metrics = loss(policy, reference).metrics  # type: ignore[operator]
    assert set(metrics) == {"margin", "accuracy", "chosen_logratio", "rejected_logratio"}
    assert metrics["chosen_logratio"].tolist() == [1.5, -3.0]
    assert metrics["accuracy"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("loss", [dpo, robust_dpo, ipo, hinge, exo, discopop, fdpo])
def test_an_empty_response_has_log_ratio_zero(loss: object) -> None:
    policy, reference = pairs(((), (-1.0,))), pairs(((), (-1.0,)))
    here, there = gaps((0.0, 0.0))
    assert loss(policy, reference).loss.item() == pytest.approx(loss(here, there).loss.item())  # type: ignore[operator]
