"""Losses against float64 NumPy written from the papers, term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conformance import ODD_PAIRS, case_for
from conformance_entries import ENTRIES
from loss_cases import Case, make_case, value
from loss_laws import swapped
from oracle_view import log_ratio

from hizala.core.reduce import REDUCTIONS
from hizala.registry import Loss, losses

NO_MARGIN = ("chosen_nll", "reward_centre")
WEIGHTS = [1.0, 2.0, 0.5, 1.0, 3.0, 1.5]
SETTINGS = [(name, params) for name, entry in ENTRIES.items() for params in entry.settings]


@pytest.mark.parametrize(("name", "params"), SETTINGS, ids=[f"{n}-{list(p.values())}" for n, p in SETTINGS])
def test_every_term_is_the_papers(name: str, params: dict[str, object]) -> None:
    loss = losses.get(name)
    case = case_for(loss)
    got, expected = case.call(loss, **params).loss.numpy(), ENTRIES[name].oracle(case, **params)
    assert got.shape == expected.shape
    assert np.isfinite(expected).all()
    assert float(np.max(np.abs(got - expected) / np.maximum(1, np.abs(expected)))) <= 1e-12


def owners(loss: Loss, case: Case) -> list[tuple[int, int | None]]:
    """(group, response within the group) of every term a loss has, from the masks alone."""
    out: list[tuple[int, int | None]] = []
    for g, group in enumerate(case.groups):
        if loss.unit in ("pair", "group"):
            out.append((g, None))
            continue
        for r, branch in enumerate(group.responses):
            per = {
                "response": 1,
                "token": sum(branch.mask),
                "chosen_token": sum(branch.mask) if r == 0 else 0,
                "step": len(branch.marks),
                "grade": len(branch.attributes),
            }
            out += [(g, r)] * per[loss.unit]
    return out


REDUCED = [(name, how) for name in ENTRIES for how in REDUCTIONS[losses.get(name).unit]]


@pytest.mark.parametrize(("name", "reduction"), REDUCED, ids=[f"{n}-{how}" for n, how in REDUCED])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_is_the_weighted_mean_over_units(name: str, reduction: str, weights: list[float] | None) -> None:
    """By token every unit of a group has its weight; by response each response's tokens share it."""
    loss, entry = losses.get(name), ENTRIES[name]
    case, params = case_for(loss, weights), entry.settings[-1]
    belongs = owners(loss, case)
    weight = np.array([(weights or [1.0] * len(case.groups))[g] for g, _ in belongs])
    if reduction == "response" and loss.unit != "response":
        weight = weight / np.array([belongs.count(owner) for owner in belongs])
    expected = np.average(entry.oracle(case, **params), weights=weight)
    if reduction == "fixed":
        each = [
            (weights or [1.0] * len(case.groups))[g] for g, group in enumerate(case.groups) for _ in group.responses
        ]
        expected *= weight.sum() / sum(each)
    got = float(value(loss, case, reduction=reduction, **params))
    assert abs(got - expected) <= 1e-12 * max(1.0, abs(expected))


ENSEMBLES = [n for n in ENTRIES if losses.get(n).measures[0] == "scores" and n != "attribute_mse"]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_members_of_an_ensemble_learn_alone(name: str) -> None:
    """With several outputs a term is the mean of the members' own terms."""
    loss = losses.get(name)
    case = case_for(loss)
    given = [case.argument(measured, loss) for measured in loss.measures[1:]]
    wide = torch.stack([s for group in case.roles["scores"] for s in group])
    shaped = wide.reshape(-1, 2, wide.shape[1]) if loss.data == "pair" else wide
    alone = []
    for member in range(wide.shape[1]):
        column = [[torch.roll(s, -member) for s in group] for group in case.roles["scores"]]
        alone.append(ENTRIES[name].oracle(case.with_role("scores", column)))
    np.testing.assert_allclose(loss.fn(shaped, *given).loss, np.mean(alone, axis=0), rtol=1e-12, atol=1e-12)


def sums(case: Case, role: str) -> list[tuple[float, float]]:
    """(log pi(y_w | x), log pi(y_l | x)) of each pair: sums over tokens, in extended precision."""
    return [tuple(math.fsum(response.tolist()) for response in group) for group in case.roles[role]]  # type: ignore[misc]


def test_dpo_gradient_is_the_papers() -> None:
    """Sec. 4: -beta * sigma(r_l - r_w) on every chosen token's log-prob, + on every rejected one's."""
    beta, case = 0.7, make_case(ODD_PAIRS)
    for group in case.roles["policy"]:
        for response in group:
            response.requires_grad_(True)
    value(losses.get("dpo"), case, beta=beta).backward()
    for index, ((cw, cl), (rw, rl)) in enumerate(zip(sums(case, "policy"), sums(case, "reference"), strict=True)):
        slope = beta / (1 + math.exp(beta * ((cw - rw) - (cl - rl)))) / len(ODD_PAIRS)
        for response, sign in zip(case.roles["policy"][index], (-1, 1), strict=True):
            if len(response):
                np.testing.assert_allclose(response.grad, sign * slope, rtol=1e-12)


# Losses whose `margin` is beta times the difference of two log-ratios, and whose log-ratios are of whole responses.
PLAIN_MARGIN = (
    *("dpo", "robust_dpo", "hinge", "exo", "discopop", "odpo", "rdpo", "tdpo1", "tdpo2", "wpo"),
    *("apo_zero", "apo_down", "nca", "sppo", "aot"),
)


@pytest.mark.parametrize("name", PLAIN_MARGIN)
def test_metrics_of_pairs_are_log_ratios_and_their_margin(name: str) -> None:
    loss = losses.get(name)
    case = case_for(loss)
    metrics = case.call(loss, beta=0.3).metrics
    win, lose = log_ratio(case)
    np.testing.assert_allclose(metrics["chosen_logratio"], win, rtol=1e-12)
    np.testing.assert_allclose(metrics["rejected_logratio"], lose, rtol=1e-12)
    np.testing.assert_allclose(metrics["margin"], 0.3 * (win - lose), rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in ENTRIES if losses.get(n).data == "pair" and n not in NO_MARGIN])
def test_accuracy_is_where_the_margin_is_positive_and_the_margin_changes_sign_with_the_label(name: str) -> None:
    """The margin is the model's opinion of a pair: what is asked of it (gamma, offset, noise) is no part of it."""
    loss = losses.get(name)
    case = make_case([(3, 5), (1, 1), (7, 2), (2, 2)], seed=11)
    metrics, other = case.call(loss).metrics, swapped(case).call(loss).metrics
    assert metrics["accuracy"].tolist() == [float(m > 0) for m in metrics["margin"]]
    np.testing.assert_allclose(other["margin"], -metrics["margin"], rtol=1e-12)
    for what in ("logratio", "logp", "score", "divergence"):
        if f"chosen_{what}" in metrics:
            np.testing.assert_allclose(other[f"chosen_{what}"], metrics[f"rejected_{what}"], rtol=1e-12)


def test_dpo_is_finite_and_exact_far_out() -> None:
    """log sigmoid must not overflow: at a margin of -1e4 nats the loss is 1e4 and the slope is beta."""
    case = make_case([(1, 1)])
    case.roles["policy"][0][0] = torch.tensor([-10000.0], dtype=torch.float64, requires_grad=True)
    for role, index in (("policy", 1), ("reference", 0), ("reference", 1)):
        case.roles[role][0][index] = torch.zeros(1, dtype=torch.float64)
    got = value(losses.get("dpo"), case, beta=1.0)
    got.backward()
    assert got.item() == 10000.0
    assert float(case.roles["policy"][0][0].grad) == -1.0
