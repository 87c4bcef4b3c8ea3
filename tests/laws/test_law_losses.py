"""Laws that every registered loss keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conformance_entries import ENTRIES
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_cases import PER_TOKEN, ROLES, TRAINED, Case, Table, make_case, value, with_branches
from loss_laws import trained_function

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.reduce import REDUCTIONS
from hizala.registry import Loss, losses

OURS = [loss for loss in losses if loss.fn.__module__.startswith("hizala.")]
SEPARABLE = [loss for loss in OURS if loss.separable]
COUPLED = [loss for loss in OURS if not loss.separable]
ALL = [(loss, how) for loss in SEPARABLE for how in REDUCTIONS[loss.unit]]
every_loss = pytest.mark.parametrize("loss", OURS, ids=lambda loss: loss.name)
quick = settings(max_examples=20, deadline=None)


def width(loss: Loss) -> int:
    return 2 if loss.data == "pair" else 3


@st.composite
def shapes(draw: st.DrawFn, responses: int, least: int = 0) -> tuple[list[list[int]], int, list[float]]:
    sizes = draw(
        st.lists(st.lists(st.integers(least, 5), min_size=responses, max_size=responses), min_size=1, max_size=6)
    )
    weights = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=len(sizes), max_size=len(sizes)))
    return sizes, draw(st.integers(0, 10**6)), weights


@every_loss
@quick
@given(data=st.data())
def test_terms_are_whole_finite_and_their_metrics_carry_no_gradient(loss: Loss, data: st.DataObject) -> None:
    sizes, seed, weights = data.draw(shapes(width(loss)))
    case = make_case(sizes, seed=seed, weights=weights)
    for role in TRAINED:
        case = case.with_role(role, [[t.requires_grad_(True) for t in group] for group in case.roles[role]])
    terms = case.call(loss)
    assert terms.unit == loss.unit
    assert terms.loss.ndim == 1
    assert bool(torch.isfinite(terms.loss).all())
    if loss.unit not in ("pair", "group", "response"):
        assert terms.segments is not None
        assert terms.segments.shape == terms.loss.shape
    assert set(loss.running.values()) <= set(terms.metrics)
    for name, metric in terms.metrics.items():
        assert not metric.requires_grad, name
        assert metric.ndim == 1, name
        assert metric.dtype == terms.loss.dtype, name
        assert bool(torch.isfinite(metric).all()), name


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
    assert summed == pytest.approx(whole, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("loss", COUPLED, ids=lambda loss: loss.name)
@quick
@given(data=st.data())
def test_a_loss_on_the_whole_batch_does_not_see_its_order(loss: Loss, data: st.DataObject) -> None:
    sizes, seed, weights = data.draw(shapes(width(loss), least=1))  # empty responses tie, and ties have no order
    case = make_case(sizes, seed=seed, weights=weights)
    order = data.draw(st.permutations(range(len(sizes))))
    assert value(loss, case.take(order)).item() == pytest.approx(value(loss, case).item(), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize(("loss", "reduction"), ALL, ids=[f"{loss.name}-{how}" for loss, how in ALL])
@quick
@given(data=st.data())
def test_weight_two_counts_like_the_group_twice(loss: Loss, reduction: str, data: st.DataObject) -> None:
    sizes, seed, _ = data.draw(shapes(width(loss)))
    doubled = make_case(sizes, seed=seed, weights=[2.0] + [1.0] * (len(sizes) - 1))
    twice = make_case(sizes, seed=seed).take([0, *range(len(sizes))])
    assert value(loss, doubled, reduction=reduction).item() == pytest.approx(
        value(loss, twice, reduction=reduction).item(), rel=1e-11, abs=1e-12
    )


def emptied(loss: Loss, case: Case) -> Case:
    """No counted tokens, no marked steps, no grades."""
    return (
        with_branches(case, attributes=[[{}] * len(g.responses) for g in case.groups]) if loss.unit == "grade" else case
    )


@every_loss
def test_a_batch_without_anything_that_counts_is_finite_and_without_gradient(loss: Loss) -> None:
    """Losses on tokens, steps and grades are 0 there; those on responses see responses of log-prob 0."""
    empty = emptied(loss, make_case([[0] * width(loss)] * 2, seed=1))
    full = make_case([[2] * width(loss), [3] * width(loss)], seed=1)
    got = value(loss, empty)
    assert bool(torch.isfinite(got))
    if loss.unit not in ("pair", "group", "response"):
        assert got.item() == 0.0
        assert value(loss, empty, batch=full).item() == 0.0


@every_loss
def test_an_empty_response_beside_full_ones_leaves_their_gradient_finite(loss: Loss) -> None:
    sizes = [[0, 3, 2][: width(loss)], [4, 0, 1][: width(loss)], [2, 2, 2][: width(loss)]]
    case = make_case(sizes, seed=2)
    for role in set(TRAINED) & set(loss.measures):
        assert all(bool(torch.isfinite(g).all()) for group in gradients(case, loss, role) for g in group)


def gradients(case: Case, loss: Loss, role: str) -> Table:
    leaves = [[t.detach().clone().requires_grad_(True) for t in group] for group in case.roles[role]]
    value(loss, case.with_role(role, leaves), **ENTRIES[loss.name].settings[-1]).backward()
    return [[torch.zeros_like(t) if t.grad is None else t.grad for t in group] for group in leaves]


@every_loss
@pytest.mark.parametrize("which", [0, -1])
def test_gradient_check(loss: Loss, which: int) -> None:
    """Through every value that is trained; what is held fixed by definition is held fixed here too."""
    of, leaves = trained_function(loss, ENTRIES[loss.name].settings[which])
    assert torch.autograd.gradcheck(of, leaves, eps=1e-6, atol=1e-7, rtol=1e-6)


@every_loss
def test_gradient_reaches_what_is_trained_and_nothing_else(loss: Loss) -> None:
    """Reference, weights, statistics, margins and grades stay data: a loss must not train through them."""
    case = make_case([[2, 3, 1][: width(loss)]] * 3, seed=3)
    case = with_branches(case, label=[[True, False, True][: width(loss)]] * 3)
    trained = set(TRAINED) & set(loss.measures)
    leaves: dict[str, Table] = {
        role: [[t.clone().requires_grad_(True) for t in group] for group in case.roles[role]] for role in ROLES
    }
    arguments = []
    data: dict[str, torch.Tensor] = {}
    watched = replace(case, roles=case.roles | leaves)
    for name in loss.measures:
        argument = watched.argument(name, loss)
        if isinstance(argument, torch.Tensor) and argument.is_floating_point() and name not in ROLES:
            data[name] = argument = argument.clone().requires_grad_(True)
        arguments.append(argument)
    loss.fn(*arguments, **ENTRIES[loss.name].settings[-1]).loss.sum().backward()
    for role in set(loss.measures) & set(ROLES):
        reached = any(t.grad is not None and bool(t.grad.any()) for group in leaves[role] for t in group)
        assert reached == (role in trained), role
    for name, argument in data.items():
        assert argument.grad is None or not argument.grad.nan_to_num().any(), name


@every_loss
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("side", [0, 1])
def test_far_out_the_loss_and_its_gradient_stay_finite(loss: Loss, dtype: torch.dtype, side: int) -> None:
    """One response ten thousand nats away from the rest: no overflow, no NaN, in either precision."""
    case = make_case([[2, 3, 1][: width(loss)]] * 3, seed=5)
    roles = {role: [[t.to(dtype) for t in group] for group in table] for role, table in case.roles.items()}
    far = -1e4
    for role in set(TRAINED) & set(loss.measures) - {"divergence"}:
        roles[role] = [[t + far if r == side else t for r, t in enumerate(group)] for group in roles[role]]
    tried = replace(case, roles=roles)
    terms = tried.call(loss)
    assert terms.loss.dtype == dtype
    assert bool(torch.isfinite(terms.loss).all())
    for role in set(TRAINED) & set(loss.measures):
        assert all(bool(torch.isfinite(g).all()) for group in gradients(tried, loss, role) for g in group), role


@every_loss
@quick
@given(data=st.data())
def test_a_token_that_no_mask_counts_does_not_exist(loss: Loss, data: st.DataObject) -> None:
    """Only counted tokens have a value, so a longer tail of uncounted ones leaves the reduced loss to the bit."""
    sizes, seed, weights = data.draw(shapes(width(loss)))
    case = make_case(sizes, seed=seed, weights=weights)
    ids = [[[*b.ids, 5, 5] for b in g.responses] for g in case.groups]
    mask = [[[*b.mask, False, False] for b in g.responses] for g in case.groups]
    assert value(loss, with_branches(case, ids=ids, mask=mask)).item() == value(loss, case).item()


def test_every_loss_of_the_package_is_covered() -> None:
    assert {loss.name for loss in OURS} == set(ENTRIES)
    assert all(set(loss.measures) & set(TRAINED) for loss in OURS)
    assert set(PER_TOKEN) <= set(ROLES)
