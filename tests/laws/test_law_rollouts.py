"""Laws of losses on rollouts: policy losses, the value loss, and what is added to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import Case, Table, value
from loss_laws import cases, law, one_a_response, quick, slopes

from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.registry import losses

POLICY = ("clip", "gspo", "gspo_token", "cispo", "reinforce")


def shifted(case: Case, by: float) -> Case:
    """The policy is the one that sampled, with every log-prob moved by the same amount."""
    return case.with_role("policy", [[t + by for t in group] for group in case.roles["old"]])


def flat(table: Table) -> torch.Tensor:
    return torch.cat([t for group in table for t in group])


@law(*POLICY)
@quick
@given(data=st.data())
def test_at_the_weights_that_sampled_the_slope_is_the_policy_gradient(name: str, data: st.DataObject) -> None:
    """d loss / d log pi(y_t) = -A_t / N: the ratio is 1, and no clip is felt."""
    loss = losses.get(name)
    case = shifted(one_a_response(data.draw(cases(loss))), 0.0)
    expected = -flat(case.roles["advantages"]) / len(flat(case.roles["advantages"]))
    torch.testing.assert_close(flat(slopes(loss, case)), expected, rtol=1e-12, atol=1e-14)


@law(*POLICY)
@quick
@given(data=st.data(), scale=st.floats(0.01, 100))
def test_the_loss_grows_with_the_scale_of_the_advantages(name: str, data: st.DataObject, scale: float) -> None:
    """Weights on tokens can be multiplied into the advantages."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    scaled = case.with_role("advantages", [[scale * t for t in group] for group in case.roles["advantages"]])
    torch.testing.assert_close(scaled.call(loss).loss, scale * case.call(loss).loss, rtol=1e-11, atol=1e-12)


@law(*POLICY)
@quick
@given(data=st.data())
def test_without_an_advantage_nothing_is_learnt(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    case = case.with_role("advantages", [[0 * t for t in group] for group in case.roles["advantages"]])
    assert not flat(slopes(loss, case)).any()
    assert value(loss, case).item() == 0.0


@law("clip")
@quick
@given(data=st.data(), by=st.floats(-0.2, 0.15))
def test_inside_its_range_the_clip_is_not_felt(name: str, data: st.DataObject, by: float) -> None:
    loss = losses.get(name)
    case = shifted(data.draw(cases(loss)), by)
    terms = case.call(loss)
    expected = -torch.exp(torch.tensor(by, dtype=torch.float64)) * flat(case.roles["advantages"])
    torch.testing.assert_close(terms.loss, expected, rtol=1e-12, atol=1e-13)
    assert not any(bool(terms.metrics[which].any()) for which in ("low", "high", "dual"))


@law("clip", "gspo", "gspo_token")
@quick
@given(data=st.data(), by=st.floats(0.3, 3))
def test_beyond_its_range_only_the_way_back_is_taught(name: str, data: st.DataObject, by: float) -> None:
    """Above the range good tokens have no slope and bad ones do; below it the other way round."""
    loss = losses.get(name)
    drawn = one_a_response(data.draw(cases(loss)))
    good = flat(drawn.roles["advantages"]) > 0
    for sign, still, which in ((1, good, "high"), (-1, ~good, "low")):
        case = shifted(drawn, sign * by)
        slope = flat(slopes(loss, case))
        assert not slope[still].any()
        assert bool((slope[~still] != 0).all())
        assert case.call(loss).metrics[which].bool().tolist() == still.tolist()


@law("clip")
@quick
@given(data=st.data(), by=st.floats(1.2, 3))
def test_a_dual_clip_stops_bad_tokens_that_have_become_much_likelier(name: str, data: st.DataObject, by: float) -> None:
    loss = losses.get(name)
    case = shifted(data.draw(cases(loss)), by)
    bad = flat(case.roles["advantages"]) < 0
    terms = case.call(loss, dual_clip=3.0)
    assert not flat(slopes(loss, case, dual_clip=3.0)).any()
    torch.testing.assert_close(terms.loss[bad], -3 * flat(case.roles["advantages"])[bad])
    assert terms.metrics["dual"].bool().tolist() == bad.tolist()


@law("gspo_token")
@quick
@given(data=st.data())
def test_a_token_of_a_response_has_a_slope_of_its_own_advantage_alone(name: str, data: st.DataObject) -> None:
    """The slope by log pi(y_t) is -s * A_t / N: another token's advantage has no part in it."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    wide: dict[str, Any] = {"clip_low": 1.0, "clip_high": 1e3}
    s = case.call(loss, **wide).metrics["ratio"]
    expected = -s * flat(case.roles["advantages"]) / len(s)
    torch.testing.assert_close(flat(slopes(loss, case, **wide)), expected, rtol=1e-11, atol=1e-14)


@law("gspo", "gspo_token")
@quick
@given(data=st.data())
def test_with_one_advantage_a_response_both_forms_are_the_same(name: str, data: st.DataObject) -> None:
    case = one_a_response(data.draw(cases(losses.get(name))))
    mine, other = losses.get(name), losses.get("gspo_token" if name == "gspo" else "gspo")
    torch.testing.assert_close(flat(slopes(mine, case)), flat(slopes(other, case)), rtol=1e-11, atol=1e-14)
    assert mine.fn(*(case.argument(n, mine) for n in mine.measures)).loss.equal(case.call(other).loss)


@law("cispo")
@quick
@given(data=st.data(), by=st.floats(-3, 3))
def test_every_token_keeps_a_slope_and_only_its_weight_is_bounded(name: str, data: st.DataObject, by: float) -> None:
    loss = losses.get(name)
    case = shifted(data.draw(cases(loss)), by)
    a = flat(case.roles["advantages"])
    weight = min(max(float(torch.tensor(by, dtype=torch.float64).exp()), 0.5), 3.0)
    got = flat(slopes(loss, case, clip_low=0.5, clip_high=2.0))
    torch.testing.assert_close(got, -weight * a / len(a), rtol=1e-11, atol=1e-14)


@law("reinforce")
@quick
@given(data=st.data(), by=st.floats(-2, 2))
def test_weighted_the_slope_is_the_importance_weighted_policy_gradient(
    name: str, data: st.DataObject, by: float
) -> None:
    loss = losses.get(name)
    case = shifted(data.draw(cases(loss)), by)
    a = flat(case.roles["advantages"])
    torch.testing.assert_close(flat(slopes(loss, case)), -a / len(a), rtol=1e-11, atol=1e-14)
    ratio = torch.tensor(by, dtype=torch.float64).exp()
    torch.testing.assert_close(flat(slopes(loss, case, weighted=True)), -ratio * a / len(a), rtol=1e-11, atol=1e-14)


@law("value")
@quick
@given(data=st.data(), clip=st.sampled_from([None, 0.2, 100.0]))
def test_the_critic_is_pulled_to_the_return_or_left_where_it_is(
    name: str, data: st.DataObject, clip: float | None
) -> None:
    """Against the sign of its error; with a range it stops only where it has gone that far from where it was."""
    loss = losses.get(name)
    case = data.draw(cases(loss))
    error = flat(case.roles["values"]) - flat(case.roles["returns"])
    gone = (flat(case.roles["values"]) - flat(case.roles["old_values"])).abs()
    slope = flat(slopes(loss, case, value_clip=clip))
    still = slope == 0
    torch.testing.assert_close(slope[~still], (error / len(error))[~still], rtol=1e-11, atol=1e-14)
    assert clip is not None or not still.any()
    assert bool((gone[still] > (clip or 0.0)).all())


@law("value")
@quick
@given(data=st.data(), shift=st.floats(-10, 10))
def test_rewards_of_another_zero_are_the_same_regression(name: str, data: st.DataObject, shift: float) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    other = case
    for role in ("values", "old_values", "returns"):
        other = other.with_role(role, [[t + shift for t in group] for group in other.roles[role]])
    torch.testing.assert_close(
        other.call(loss, value_clip=0.3).loss, case.call(loss, value_clip=0.3).loss, rtol=1e-9, atol=1e-9
    )


ESTIMATORS = ("k1", "k2", "k3", "k1_plus", "k3_plus")


@law("kl")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@quick
@given(data=st.data())
def test_where_policy_and_reference_agree_there_is_no_divergence(
    name: str, data: st.DataObject, estimator: str
) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    case = case.with_role("policy", case.roles["reference"])
    assert not case.call(loss, estimator=estimator).loss.any()
    if estimator != "k1":
        assert not flat(slopes(loss, case, estimator=estimator)).any()


@law("kl")
@quick
@given(data=st.data())
def test_plus_forms_have_the_value_of_one_estimator_and_the_slope_of_k2(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    for plain in ("k1", "k3"):
        plus = f"{plain}_plus"
        torch.testing.assert_close(case.call(loss, estimator=plus).loss, case.call(loss, estimator=plain).loss)
        torch.testing.assert_close(
            flat(slopes(loss, case, estimator=plus)), flat(slopes(loss, case, estimator="k2")), rtol=1e-12, atol=0
        )


@law("entropy")
@quick
@given(data=st.data())
def test_entropy_is_raised_alike_at_every_token(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    slope = flat(slopes(loss, case))
    assert slope.tolist() == pytest.approx([-1 / len(slope)] * len(slope))


@law("entropy", "kl")
@quick
@given(data=st.data())
def test_what_regularises_does_not_see_the_reward(name: str, data: st.DataObject) -> None:
    loss = losses.get(name)
    case = data.draw(cases(loss))
    other = case.with_role("advantages", [[1 - t for t in group] for group in case.roles["advantages"]])
    assert other.call(loss).loss.equal(case.call(loss).loss)
