"""Laws that every registered loss keeps, and those that losses on pairs keep."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import Case, make_case, value

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.reduce import REDUCTIONS
from hizala.registry import Loss, losses

OURS = [loss for loss in losses if loss.fn.__module__.startswith("hizala.")]
PAIRWISE = [loss for loss in OURS if loss.unit == "pair"]
SEPARABLE = [loss for loss in OURS if loss.separable]
ALL = [(loss, how) for loss in SEPARABLE for how in REDUCTIONS[loss.unit]]
every_loss = pytest.mark.parametrize("loss", OURS, ids=lambda loss: loss.name)
every_pairwise = pytest.mark.parametrize("loss", PAIRWISE, ids=lambda loss: loss.name)
quick = settings(max_examples=25, deadline=None)


def width(loss: Loss) -> int:
    return 2 if loss.data == "pair" else 3


@st.composite
def shapes(draw: st.DrawFn, responses: int, least: int = 0) -> tuple[list[list[int]], int, list[float]]:
    sizes = draw(
        st.lists(st.lists(st.integers(least, 5), min_size=responses, max_size=responses), min_size=1, max_size=6)
    )
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(sizes), max_size=len(sizes)))
    return sizes, draw(st.integers(0, 10**6)), weights


def gradients(case: Case, loss: Loss, role: str, **options: object) -> list[list[torch.Tensor]]:
    leaves = [[t.clone().requires_grad_(True) for t in group] for group in case.roles[role]]
    watched = Case(case.groups, case.roles | {role: leaves})
    value(loss, watched, **options).backward()  # type: ignore[arg-type]
    return [[torch.zeros_like(t) if t.grad is None else t.grad for t in group] for group in leaves]


@every_loss
@quick
@given(data=st.data())
def test_terms_are_whole_finite_and_their_metrics_carry_no_gradient(loss: Loss, data: st.DataObject) -> None:
    sizes, seed, weights = data.draw(shapes(width(loss)))
    case = make_case(sizes, seed=seed, weights=weights)
    for group in case.roles["policy"]:
        for response in group:
            response.requires_grad_(True)
    terms = case.call(loss)
    assert terms.unit == loss.unit
    assert bool(torch.isfinite(terms.loss).all())
    assert terms.loss.ndim == 1
    for name, metric in terms.metrics.items():
        assert not metric.requires_grad, name
        assert metric.shape == terms.loss.shape, name


@pytest.mark.parametrize(("loss", "reduction"), ALL, ids=[f"{loss.name}-{how}" for loss, how in ALL])
@quick
@given(data=st.data())
def test_parts_of_a_batch_add_up_to_it_in_any_order(loss: Loss, reduction: str, data: st.DataObject) -> None:
    sizes, seed, weights = data.draw(shapes(width(loss)))
    case = make_case(sizes, seed=seed, weights=weights)
    order = data.draw(st.permutations(range(len(sizes))))
    cut = data.draw(st.integers(0, len(sizes)))
    parts = [case.take(part) for part in (order[:cut], order[cut:]) if part]
    whole = value(loss, case, reduction=reduction).item()
    summed = sum(value(loss, part, reduction=reduction, batch=case).item() for part in parts)
    assert summed == pytest.approx(whole, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("loss", "reduction"), ALL, ids=[f"{loss.name}-{how}" for loss, how in ALL])
@quick
@given(data=st.data())
def test_weight_two_counts_like_the_group_twice(loss: Loss, reduction: str, data: st.DataObject) -> None:
    sizes, seed, _ = data.draw(shapes(width(loss)))
    doubled = make_case(sizes, seed=seed, weights=[2.0] + [1.0] * (len(sizes) - 1))
    twice = make_case(sizes, seed=seed).take([0, *range(len(sizes))])
    assert value(loss, doubled, reduction=reduction).item() == pytest.approx(
        value(loss, twice, reduction=reduction).item(), rel=1e-12, abs=1e-13
    )


@pytest.mark.parametrize("loss", [loss for loss in OURS if loss.unit != "pair"], ids=lambda loss: loss.name)
def test_batch_without_counted_tokens_is_zero_and_adds_nothing(loss: Loss) -> None:
    empty = make_case([[0] * width(loss)] * 2)
    full = make_case([[2] * width(loss), [3] * width(loss)])
    assert value(loss, empty).item() == 0.0
    assert value(loss, empty, batch=full).item() == 0.0


@every_loss
def test_gradient_check(loss: Loss) -> None:
    case = make_case([[2, 3, 1][: width(loss)], [0, 2, 4][: width(loss)]], seed=4, weights=[1.0, 2.0])
    flat = [t for group in case.roles["policy"] for t in group]

    def of(*tokens: torch.Tensor) -> torch.Tensor:
        it = iter(tokens)
        return value(
            loss, Case(case.groups, case.roles | {"policy": [[next(it) for _ in g] for g in case.roles["policy"]]})
        )

    assert torch.autograd.gradcheck(of, [t.requires_grad_(True) for t in flat], eps=1e-6, atol=1e-8, rtol=1e-6)


@every_loss
def test_gradient_reaches_the_policy_alone(loss: Loss) -> None:
    case = make_case([[2, 3, 1][: width(loss)]] * 3)
    assert any(g.abs().sum() > 0 for group in gradients(case, loss, "policy") for g in group)
    for role in set(loss.measures) - {"policy"}:
        leaves = [[t.requires_grad_(True) for t in group] for group in case.roles[role]]
        watched = [[t.clone().requires_grad_(True) for t in group] for group in case.roles["policy"]]
        value(loss, Case(case.groups, case.roles | {"policy": watched, role: leaves})).backward()
        assert all(t.grad is None or not t.grad.any() for group in leaves for t in group), role


@every_pairwise
@quick
@given(data=st.data(), shift=st.floats(-50, 50))
def test_pairwise_loss_sees_only_differences_within_a_pair(loss: Loss, data: st.DataObject, shift: float) -> None:
    sizes, seed, weights = data.draw(shapes(2, least=1))
    case = make_case(sizes, seed=seed, weights=weights)
    for role in loss.measures:
        moved = [[torch.cat((t[:1] + shift, t[1:])) for t in group] for group in case.roles[role]]
        shifted = Case(case.groups, case.roles | {role: moved})
        assert value(loss, shifted).item() == pytest.approx(value(loss, case).item(), rel=1e-9, abs=1e-11)


@every_pairwise
@quick
@given(data=st.data())
def test_chosen_is_pushed_up_and_rejected_down(loss: Loss, data: st.DataObject) -> None:
    sizes, seed, _ = data.draw(shapes(2, least=1))
    for chosen, rejected in gradients(make_case(sizes, seed=seed), loss, "policy"):
        assert bool((chosen < 0).all())
        assert bool((rejected > 0).all())


@quick
@given(data=st.data())
def test_dpo_with_a_small_beta_is_log_two_with_slope_half_beta(data: st.DataObject) -> None:
    sizes, seed, _ = data.draw(shapes(2, least=1))
    case, dpo, beta = make_case(sizes, seed=seed), losses.get("dpo"), 1e-9
    assert value(dpo, case, beta=beta).item() == pytest.approx(math.log(2), abs=1e-7)
    for chosen, rejected in gradients(case, dpo, "policy", beta=beta):
        assert chosen.tolist() == pytest.approx([-beta / 2 / len(sizes)] * len(chosen), rel=1e-6)
        assert rejected.tolist() == pytest.approx([beta / 2 / len(sizes)] * len(rejected), rel=1e-6)


@quick
@given(data=st.data(), smoothing=st.floats(0, 0.49), beta=st.floats(0.01, 3))
def test_smoothing_mixes_the_loss_with_that_of_flipped_labels(
    data: st.DataObject, smoothing: float, beta: float
) -> None:
    sizes, seed, _ = data.draw(shapes(2))
    case, dpo = make_case(sizes, seed=seed), losses.get("dpo")
    swapped = {role: [[b, a] for a, b in tables] for role, tables in case.roles.items()}
    plain = value(dpo, case, beta=beta).item()
    flipped = value(dpo, Case(case.groups, swapped), beta=beta).item()
    mixed = value(dpo, case, beta=beta, label_smoothing=smoothing).item()
    assert mixed == pytest.approx((1 - smoothing) * plain + smoothing * flipped, rel=1e-12)
    assert value(dpo, case, beta=beta, label_smoothing=0.0).item() == plain


@quick
@given(data=st.data(), smoothing=st.floats(0.01, 0.49))
def test_smoothed_loss_has_its_minimum_at_the_margin_of_its_noise(data: st.DataObject, smoothing: float) -> None:
    """At h = log((1 - eps) / eps) the gradient of cDPO vanishes: the policy is not pushed further."""
    goal = math.log((1 - smoothing) / smoothing)
    case = make_case([[1, 1]])
    zero = torch.zeros(1, dtype=torch.float64)
    case.roles["reference"][0] = [zero, zero.clone()]
    case.roles["policy"][0] = [zero + goal, zero.clone()]
    chosen, rejected = gradients(case, losses.get("dpo"), "policy", beta=1.0, label_smoothing=smoothing)[0]
    assert chosen.item() == pytest.approx(0, abs=1e-12)
    assert rejected.item() == pytest.approx(0, abs=1e-12)


def test_all_separable_losses_are_covered() -> None:
    assert {loss.name for loss in SEPARABLE} >= {"nll", "chosen_nll", "dpo"}
