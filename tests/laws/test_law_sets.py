"""Laws of losses on responses judged alone, on lists, on steps and on scores."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import Case, make_case, value, with_branches
from loss_laws import cases, law, quick, slopes

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.registry import losses


@law("kto", "bco", "aot_unpaired", "desirable_nll", "step_bce")
@quick
@given(data=st.data())
def test_good_is_pushed_up_and_bad_is_not(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    labels = [[r == 0 for r in range(len(g.responses))] for g in case.groups]
    case = with_branches(case, label=labels)
    for group, slope in zip(case.groups, slopes(loss, case), strict=True):
        for branch, by in zip(group.responses, slope, strict=True):
            if name == "step_bce":
                right = torch.tensor([mark for _, mark in branch.marks], dtype=torch.bool)
                assert bool((by[right] < 0).all())
                assert bool((by[~right] > 0).all())
            else:
                assert bool((by < 0).all() if branch.label else (by >= 0).all())


@law("nll", "chosen_nll")
@quick
@given(data=st.data())
def test_likelihood_rises_where_it_is_trained_alone(name: str, data: st.DataObject) -> None:
    """The slope of every trained token is the same, and the rejected side of a pair has none."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    tokens = sum(len(t) for g in case.roles["policy"] for t in (g[:1] if name == "chosen_nll" else g))
    for group in slopes(loss, case):
        for place, by in enumerate(group):
            trained = name == "nll" or place == 0
            assert by.tolist() == pytest.approx([-1 / tokens if trained else 0.0] * len(by))


@law("pl_dpo", "plackett_luce")
@quick
@given(data=st.data())
def test_best_of_a_list_is_pushed_up_and_the_worst_down(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    for group, slope in zip(case.groups, slopes(loss, case), strict=True):
        ranks = [b.rank or 0 for b in group.responses]
        assert slope[ranks.index(0)][0] < 0
        assert slope[ranks.index(max(ranks))][0] > 0
        assert float(sum(by[0] for by in slope)) == pytest.approx(0, abs=1e-12)


@law("grade_mse", "attribute_mse", "reward_centre")
@quick
@given(data=st.data())
def test_scores_are_pulled_to_where_they_belong(name: str, data: st.DataObject) -> None:
    """Against the sign of the error; what is not known pulls nothing."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    for group, scores, slope in zip(case.groups, case.roles["scores"], slopes(loss, case), strict=True):
        for branch, score, by in zip(group.responses, scores, slope, strict=True):
            if name == "grade_mse":
                assert math.copysign(1, by[0]) == math.copysign(1, score[0] - (branch.score or 0.0))
            elif name == "reward_centre":
                assert math.copysign(1, by[0]) == math.copysign(1, scores[0][0] + scores[1][0])
            else:
                wanted = [branch.attributes.get(a) for a in ("correctness", "helpfulness", "verbosity")]
                for s, grade, push in zip(score, wanted, by, strict=True):
                    assert float(push) == 0 if grade is None else float(push * (s - grade)) > 0


@law("pl_dpo", "plackett_luce")
@quick
@given(data=st.data())
def test_without_a_scale_every_order_is_as_likely(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    case = case.with_role("scores", [[t * 0 for t in group] for group in case.roles["scores"]])
    terms = case.call(loss, **({"beta": 1e-10} if name == "pl_dpo" else {})).loss
    expected = [math.log(math.factorial(len(g.responses))) for g in case.groups]
    assert terms.tolist() == pytest.approx(expected, abs=1e-7)


@law("kto", "bco", "sppo_soft", "desirable_nll", "grade_mse", "attribute_mse", "nll", "step_bce")
@quick
@given(data=st.data())
def test_responses_judged_alone_have_no_order(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss, least=0))
    assert value(loss, reordered(case)).item() == pytest.approx(value(loss, case).item(), rel=1e-11, abs=1e-12)


def reordered(case: Case) -> Case:
    """The responses of each group the other way round, with all that is known of them."""
    groups = tuple(replace(g, responses=g.responses[::-1]) for g in case.groups)
    return replace(case, groups=groups, roles={role: [g[::-1] for g in t] for role, t in case.roles.items()})


@law("pl_dpo", "plackett_luce")
@quick
@given(data=st.data())
def test_a_list_written_in_another_order_is_the_same_ranking(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss, least=0))
    assert reordered(case).call(loss).loss.tolist() == pytest.approx(case.call(loss).loss.tolist(), rel=1e-11)


@law("pl_dpo", "plackett_luce")
@quick
@given(data=st.data())
def test_of_ranks_only_their_order_counts(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    other = with_branches(case, rank=[[3 * (b.rank or 0) ** 2 + 5 for b in g.responses] for g in case.groups])
    assert other.call(loss).loss.tolist() == case.call(loss).loss.tolist()


@law("pl_dpo", "plackett_luce")
def test_ties_say_nothing_and_a_list_of_one_costs_nothing(name: str) -> None:
    loss = losses.get(name)
    case = with_branches(make_case([[2, 3, 1], [4], [2, 2, 2]], seed=4), rank=[[1, 1, 1], [0], [0, 1, 1]])
    terms = case.call(loss).loss
    assert terms[:2].tolist() == [0.0, 0.0]
    by = slopes(loss, case)
    assert all(float(t.abs().sum()) == 0 for group in by[:2] for t in group)
    assert by[2][0][0] < 0 < min(by[2][1][0], by[2][2][0])


@law("kto", "bco")
def test_a_thumbs_weight_scales_its_own_kind_alone(name: str) -> None:
    loss = losses.get(name)
    case = with_branches(make_case([[2], [3], [1]], seed=4), label=[[True], [False], [True]])
    plain = case.call(loss).loss
    assert case.call(loss, desirable_weight=3.0).loss.tolist() == pytest.approx(
        (plain * torch.tensor([3, 1, 3])).tolist()
    )
    assert case.call(loss, undesirable_weight=2.0).loss.tolist() == pytest.approx(
        (plain * torch.tensor([1, 2, 1])).tolist()
    )


@law("kto")
def test_reference_point_is_never_below_zero_and_is_remembered_by_decay(name: str) -> None:
    loss = losses.get(name)
    case = make_case([[2], [3]], seed=4)
    below, zero = replace(case, mismatch=-2.0), replace(case, mismatch=0.0)
    assert below.call(loss).loss.tolist() == zero.call(loss).loss.tolist()
    old = replace(case, mismatch=1.0, state={"mismatch": 3.0})
    half = replace(case, mismatch=2.0, state={})
    assert old.call(loss, decay=0.5).loss.tolist() == pytest.approx(half.call(loss, decay=0.0).loss.tolist())


@law("bco")
def test_shift_starts_at_zero_and_follows_both_kinds_alike(name: str) -> None:
    """Nine thumbs up for one down must not move it to the thumbs up."""
    loss = losses.get(name)
    case = make_case([[2], [3]], seed=4)
    first = replace(case, state={}).call(loss)
    assert first.metrics["shift"].tolist() == [0.0, 0.0]
    uneven = {"up": 0.9, "down": 0.1, "up_reward": 0.9 * 2.0, "down_reward": 0.1 * -1.0}
    assert replace(case, state=uneven).call(loss).metrics["shift"].tolist() == pytest.approx([0.5, 0.5])


@law("aot", "aot_unpaired")
def test_transport_compares_distributions_not_pairs(name: str) -> None:
    """Exchanging rejected responses between pairs leaves the unpaired loss; the paired one sees sorted margins."""
    loss = losses.get(name)
    case = with_branches(make_case([[2, 2], [2, 2], [2, 2]], seed=4), label=[[True, False]] * 3)
    a, b, c = ({role: table[i] for role, table in case.roles.items()} for i in range(3))
    mixed = {role: [[a[role][0], b[role][1]], [b[role][0], a[role][1]], c[role]] for role in case.roles}
    got, plain = value(loss, replace(case, roles=mixed)).item(), value(loss, case).item()
    assert (got == pytest.approx(plain, rel=1e-12)) == (name == "aot_unpaired")
    other = case.with_role("reference", [case.roles["reference"][i] for i in (1, 2, 0)])
    assert (value(loss, other).item() == pytest.approx(plain, rel=1e-12)) == (name == "aot")


@law("aot_unpaired")
def test_one_kind_of_thumb_has_nothing_to_be_compared_with(name: str) -> None:
    case = with_branches(make_case([[2], [3]], seed=4), label=[[True], [True]])
    assert value(losses.get(name), case).item() == 0.0


@law("reward_centre")
def test_centring_leaves_the_difference_free(name: str) -> None:
    loss, case = losses.get(name), make_case([[1, 1]], seed=1)
    lead = torch.full((3,), 0.8, dtype=torch.float64)
    apart = case.with_role(
        "scores", [[s + lead if r == 0 else s - lead for r, s in enumerate(g)] for g in case.roles["scores"]]
    )
    assert value(loss, apart).item() == pytest.approx(value(loss, case).item(), rel=1e-12)
