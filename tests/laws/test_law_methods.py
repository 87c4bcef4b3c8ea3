"""Laws of single losses and families: what shifts, which sign, which limit, where the slope is nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import Case, make_case, value, with_branches
from loss_laws import at_margins, cases, law, moved, quick, sided, slopes, swapped

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.registry import losses

TOTALS = ("dpo", "robust_dpo", "ipo", "hinge", "slic", "cpo", "exo", "discopop", "ld_dpo", "rdpo", "tdpo1", "tdpo2")
LOGISTIC = ("dpo", "cpo", "dpo_norm", "ld_dpo", "rdpo", "odpo", "tdpo1", "tdpo2", "fdpo", "aot")
# Settings under which a pair is never satisfied, so that every slope below is strict.
STRICT: dict[str, dict[str, Any]] = {
    "robust_dpo": {"label_smoothing": 0.0},
    "hinge": {"beta": 0.01},
    "slic": {"delta": 100.0},
    "fdpo": {"beta": 0.1},
}


def params(name: str) -> dict[str, Any]:
    return STRICT.get(name, {})


@law(*TOTALS, "odpo", "aot", "pl_dpo", "bradley_terry", "bradley_terry_margin", "plackett_luce")
@quick
@given(data=st.data(), shift=st.floats(-50, 50))
def test_only_differences_within_a_group_count(name: str, data: st.DataObject, shift: float) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    expected = value(loss, case).item()
    for role in set(loss.measures) & set(case.roles):
        assert value(loss, moved(case, role, shift)).item() == pytest.approx(expected, rel=1e-9, abs=1e-10)


@law("simpo", "dpo_norm")
@quick
@given(data=st.data(), shift=st.floats(-10, 0))
def test_only_differences_of_means_within_a_pair_count(name: str, data: st.DataObject, shift: float) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    for role in loss.measures:
        got = value(loss, moved(case, role, shift, every=True)).item()
        assert got == pytest.approx(value(loss, case).item(), rel=1e-9, abs=1e-10)


@law(
    *("apo_zero", "apo_down", "nca", "sppo", "sppo_soft", "kto", "bco", "orpo", "fdpo", "wpo", "aot_unpaired"),
    *("reward_centre", "grade_mse", "attribute_mse", "step_bce", "nll", "chosen_nll", "desirable_nll"),
)
def test_anchored_losses_see_where_the_whole_group_stands(name: str) -> None:
    """Unlike the losses above, these move when all responses of one group get likelier, or score higher, together."""
    loss = losses.get(name)
    case = make_case([[2, 3], [4, 1]], seed=2)
    case = with_branches(case, label=[[True, False], [True, True]])
    role = next(r for r in ("policy", "scores", "step_scores") if r in loss.measures)
    table = [[t - 0.5 for t in case.roles[role][0]], case.roles[role][1]]
    assert abs(value(loss, case.with_role(role, table)).item() - value(loss, case).item()) > 1e-4


@law(
    *("dpo", "robust_dpo", "hinge", "slic", "simpo", "cpo", "orpo", "apo_zero", "dpo_norm", "ld_dpo", "wpo", "rdpo"),
    *("tdpo1", "tdpo2", "fdpo", "odpo", "aot", "bradley_terry", "bradley_terry_margin"),
)
@quick
@given(data=st.data())
def test_chosen_is_pushed_up_and_rejected_down(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    for chosen, rejected in slopes(loss, data.draw(cases(loss)), **params(name)):
        pushed = slice(0, 1) if "scores" in loss.measures else slice(None)
        assert bool((chosen[pushed] < 0).all())
        assert bool((rejected[pushed] > 0).all())


@law(*LOGISTIC, "aot_unpaired", "bradley_terry", "step_bce")
@quick
@given(data=st.data())
def test_without_a_scale_the_loss_is_log_two(name: str, data: st.DataObject) -> None:
    """beta -> 0, or scores of zero: a coin flip, whatever the responses."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    if name == "aot_unpaired":
        case = with_branches(case, label=[[r == 0 for r in range(len(g.responses))] for g in case.groups])
    none = {"rdpo": {"alpha": 0.0}, "odpo": {"alpha": 0.0}}.get(name, {})
    given_beta = {} if "scores" in loss.measures or "step_scores" in loss.measures else {"beta": 1e-10}
    for role in ("scores", "step_scores"):
        case = case.with_role(role, [[t * 0 for t in group] for group in case.roles[role]])
    if name == "step_bce" and not any(b.marks for b in case.branches()):
        return
    assert value(loss, case, **given_beta, **none).item() == pytest.approx(math.log(2), abs=1e-7)


@law("dpo", "dpo_norm", "wpo", "bradley_terry", "bradley_terry_margin", "robust_dpo")
@quick
@given(data=st.data(), smoothing=st.floats(0, 0.49))
def test_smoothing_mixes_the_loss_with_that_of_flipped_labels(name: str, data: st.DataObject, smoothing: float) -> None:
    """(1 - eps) L(w, l) + eps L(l, w); the robust loss subtracts the flipped part and rescales."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    plain = value(loss, case, label_smoothing=0.0).item()
    flipped = value(loss, swapped(case), label_smoothing=0.0).item()
    mixed = value(loss, case, label_smoothing=smoothing).item()
    if name == "robust_dpo":
        expected = ((1 - smoothing) * plain - smoothing * flipped) / (1 - 2 * smoothing)
    else:
        expected = (1 - smoothing) * plain + smoothing * flipped
    assert mixed == pytest.approx(expected, rel=1e-9, abs=1e-10)


@law("robust_dpo")
@quick
@given(data=st.data(), noise=st.floats(0.01, 0.45))
def test_robust_loss_is_on_average_the_clean_one(name: str, data: st.DataObject, noise: float) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    kept, flipped = (value(loss, c, beta=0.3, label_smoothing=noise).item() for c in (case, swapped(case)))
    clean = value(losses.get("dpo"), case, beta=0.3).item()
    assert (1 - noise) * kept + noise * flipped == pytest.approx(clean, rel=1e-9)


Settings = dict[str, Any]
REDUCTIONS: dict[str, tuple[Settings, str, Settings]] = {
    "robust_dpo": ({"beta": 0.3, "label_smoothing": 0.0}, "dpo", {"beta": 0.3}),
    "ld_dpo": ({"beta": 0.3, "alpha": 1.0}, "dpo", {"beta": 0.3}),
    "rdpo": ({"beta": 0.3, "alpha": 0.0}, "dpo", {"beta": 0.3}),
    "tdpo2": ({"beta": 0.3, "alpha": 0.0}, "dpo", {"beta": 0.3}),
    "odpo": ({"beta": 0.3, "alpha": 0.0}, "dpo", {"beta": 0.3}),
    "fdpo": ({"beta": 0.3, "divergence": "reverse_kl"}, "dpo", {"beta": 0.3}),
    "bradley_terry_margin": ({"margin_scale": 1e-13}, "bradley_terry", {}),
}


@law(*REDUCTIONS)
@quick
@given(data=st.data())
def test_with_its_own_part_switched_off_it_is_the_plain_loss(name: str, data: st.DataObject) -> None:
    here, other, there = REDUCTIONS[name]
    case = data.draw(cases(losses.get(name)))
    got, expected = value(losses.get(name), case, **here).item(), value(losses.get(other), case, **there).item()
    assert got == pytest.approx(expected, rel=1e-11, abs=1e-12)


def nothing(case: Case, role: str) -> Case:
    return case.with_role(role, [[t * 0 for t in group] for group in case.roles[role]])


@law("cpo", "tdpo1", "wpo", "dpo_norm", "simpo", "slic", "aot", "pl_dpo", "plackett_luce", "aot_unpaired", "grade_mse")
@quick
@given(data=st.data())
def test_on_the_cases_they_share_two_losses_agree(name: str, data: st.DataObject) -> None:
    """A uniform reference, no divergence, equal weights, one token, one pair, a list of two, one attribute."""
    loss, beta = losses.get(name), {"beta": 0.3}
    case = make_case(
        [data.draw(st.lists(st.integers(1, 5), min_size=2, max_size=2))], seed=data.draw(st.integers(0, 99))
    )
    single = make_case([[1, 1], [1, 1]], seed=data.draw(st.integers(0, 99)))
    ordered = with_branches(case, rank=[[0, 1]], label=[[True, False]])
    pair = replace(case, roles={r: [list(g) for g in t] for r, t in case.roles.items()})
    known = with_branches(case, attributes=[[{"correctness": b.score or 0.0} for b in case.branches()]])
    same: dict[str, tuple[float, float]] = {
        "cpo": (_of("cpo", case, **beta), _of("dpo", nothing(case, "reference"), **beta)),
        "tdpo1": (_of("tdpo1", nothing(case, "divergence"), **beta), _of("dpo", case, **beta)),
        "wpo": (_of("wpo", case.with_role("collision", case.roles["policy"]), **beta), _of("dpo", case, **beta)),
        "dpo_norm": (_of("dpo_norm", single, **beta), _of("dpo", single, **beta)),
        "simpo": (_of("simpo", single, gamma=0.0, **beta), _of("cpo", single, **beta)),
        "slic": (_of("slic", case), _of("hinge", nothing(case, "reference"), beta=1.0)),
        "aot": (_of("aot", pair, **beta), _of("dpo", pair, **beta)),
        "pl_dpo": (_of("pl_dpo", ordered, **beta), _of("dpo", case, **beta)),
        "plackett_luce": (_of("plackett_luce", ordered), _of("bradley_terry", case)),
        "aot_unpaired": (_of("aot_unpaired", ordered, **beta), _of("dpo", case, **beta)),
        "grade_mse": (_of("grade_mse", known), _of("attribute_mse", known)),
    }
    assert loss.name == name
    assert same[name][0] == pytest.approx(same[name][1], rel=1e-11)


def _of(name: str, case: Case, **given_params: Any) -> float:
    return value(losses.get(name), case, **given_params).item()


@law("fdpo")
@quick
@given(data=st.data())
def test_alpha_divergence_runs_from_reverse_to_forward_kl(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    for alpha, end in ((1e-9, "reverse_kl"), (1 - 1e-12, "forward_kl")):
        near = value(loss, case, beta=0.1, divergence="alpha", alpha=alpha).item()
        assert near == pytest.approx(value(loss, case, beta=0.1, divergence=end).item(), rel=1e-5)


STILL: dict[str, tuple[Settings, float]] = {
    "dpo": ({"beta": 0.5, "label_smoothing": 0.2}, math.log(0.8 / 0.2) / 0.5),
    "exo": ({"beta": 0.5, "label_smoothing": 0.2}, math.log(0.8 / 0.2) / 0.5),
    "ipo": ({"tau": 0.4}, 1 / 0.8),
    "hinge": ({"beta": 0.5}, 2.5),
    "slic": ({"delta": 1.5}, 1.6),
    "sppo": ({"beta": 0.4}, 2 / 0.8),
}


@law(*STILL)
def test_at_its_own_target_the_slope_is_zero(name: str) -> None:
    """Smoothed losses stop at the log-odds of their noise, squared ones at 1 / (2 tau), hinges beyond their margin."""
    settings, margin = STILL[name]
    case = at_margins([margin, margin])
    at = max(abs(float(by)) for group in slopes(losses.get(name), case, **settings) for by in group)
    before = slopes(losses.get(name), at_margins([0.5 * margin] * 2), **settings)[0][0].item()
    assert at <= 1e-12
    assert before < -1e-3


@law("nca")
def test_nca_holds_the_chosen_response_at_two_thirds(name: str) -> None:
    at = slopes(losses.get(name), sided(math.log(2) / 0.5, -1.0), beta=0.5)[0]
    assert at[0].item() == pytest.approx(0, abs=1e-12)
    assert slopes(losses.get(name), sided(0.0, 0.0), beta=0.5)[0][0].item() < 0
    assert at[1].item() > 0


@law("apo_down")
def test_apo_down_pushes_the_chosen_response_down_once_it_leads(name: str) -> None:
    chosen, rejected = slopes(losses.get(name), sided(0.0, -6.0), beta=1.0)[0]
    assert chosen.item() > 0
    assert rejected.item() > 0
    chosen, rejected = slopes(losses.get(name), sided(2.0, 2.5), beta=1.0)[0]
    assert chosen.item() < 0 < rejected.item()


@law("apo_zero", "apo_down", "kto")
@quick
@given(data=st.data())
def test_value_losses_are_bounded(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    terms = data.draw(cases(loss)).call(loss, beta=5.0).loss
    assert bool((terms >= (0.0 if name == "kto" else -1.0)).all())
    assert bool((terms <= 1.0).all())


@law("discopop")
def test_discopop_is_logistic_for_losers_and_exponential_for_winners(name: str) -> None:
    loss = losses.get(name)
    terms = at_margins([-4.0, 0.0, 4.0]).call(loss, beta=1.0, tau=0.05).loss
    assert terms.tolist() == pytest.approx([math.log1p(math.exp(4)), (math.log(2) + 1) / 2, math.exp(-4)], rel=1e-9)


@law("simpo", "dpo_norm", "orpo")
@quick
@given(data=st.data())
def test_saying_everything_twice_changes_nothing(name: str, data: st.DataObject) -> None:
    """Length normalisation: a response of the same tokens twice over has the same mean."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    twice = {role: [[torch.cat((t, t)) for t in g] for g in case.roles[role]] for role in loss.measures}
    doubled = replace(case, roles=case.roles | twice)
    assert value(loss, doubled).item() == pytest.approx(value(loss, case).item(), rel=1e-11)


@law("simpo", "odpo", "bradley_terry_margin", "hinge", "slic")
@quick
@given(data=st.data())
def test_a_larger_margin_costs_more(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    key = {"simpo": "gamma", "odpo": "alpha", "bradley_terry_margin": "margin_scale"}.get(name, "delta")
    small, large = (value(loss, case, **{key: size}).item() for size in (0.5, 2.0))
    assert large > small if name not in ("hinge", "slic") else large >= small
    if name == "simpo":
        assert value(loss, case, gamma=0.0).item() < small


@law("rdpo")
def test_a_longer_chosen_response_is_pushed_up_less(name: str) -> None:
    loss = losses.get(name)
    case = make_case([[4, 2]], seed=1)
    plain, priced = (slopes(loss, case, alpha=a)[0][0][0].item() for a in (0.0, 0.5))
    assert plain < priced < 0


@law("ld_dpo")
def test_tokens_beyond_the_shared_length_count_by_alpha(name: str) -> None:
    loss = losses.get(name)
    long = slopes(loss, make_case([[5, 2]], seed=1), alpha=0.25)[0][0]
    assert long[2:].tolist() == pytest.approx([0.25 * float(long[0])] * 3)
    assert slopes(loss, make_case([[5, 2]], seed=1), alpha=0.0)[0][0][2:].tolist() == [0.0] * 3


@law("tdpo1", "tdpo2")
def test_divergence_is_held_down_on_the_rejected_side(name: str) -> None:
    """TDPO1 trains both sides' divergence, TDPO2 stops the chosen one's."""
    loss = losses.get(name)
    chosen, rejected = slopes(loss, make_case([[3, 3]], seed=1), "divergence")[0]
    assert bool((rejected > 0).all())
    assert bool((chosen < 0).all() if name == "tdpo1" else (chosen == 0).all())


@law("wpo")
def test_weights_scale_a_pair_and_are_not_trained(name: str) -> None:
    loss, case = losses.get(name), make_case([[2, 2]], seed=1)
    lighter = moved(case, "collision", 0.7, every=True)
    ratio = value(loss, lighter).item() / value(loss, case).item()
    assert ratio == pytest.approx(math.exp(-1.4), rel=1e-12)
    there, here = slopes(loss, lighter)[0][0], slopes(loss, case)[0][0]
    assert there.tolist() == pytest.approx((here * ratio).tolist())


@law("sppo", "sppo_soft", "ipo")
def test_a_large_beta_holds_the_policy_at_the_reference(name: str) -> None:
    """1 / beta -> 0: the target log-ratio is nothing."""
    loss = losses.get(name)
    key = "tau" if name == "ipo" else "beta"
    case = make_case([[2, 2]], seed=1).with_role("policy", make_case([[2, 2]], seed=1).roles["reference"])
    assert value(loss, case, **{key: 1e9}).item() == pytest.approx(0, abs=1e-15)
