"""Metrics of losses on single responses, lists, steps and scores against plain counting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conformance import case_for
from conformance_entries import ENTRIES
from loss_cases import Case
from oracle_view import Numbers, attributes, flat, labels, sigmoid, totals

from hizala.registry import losses


def metrics_of(name: str, **params: object) -> tuple[Case, dict[str, Numbers]]:
    loss = losses.get(name)
    case = case_for(loss)
    return case, {key: metric.numpy() for key, metric in case.call(loss, **params).metrics.items()}


def log_ratios(case: Case) -> Numbers:
    return flat(totals(case, "policy")) - flat(totals(case, "reference"))


def check(got: dict[str, Numbers], **expected: Numbers) -> None:
    for key, value in expected.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-12, atol=1e-12, err_msg=key)


def test_kto_tells_margins_towards_the_right_side_and_its_reference_point() -> None:
    case, got = metrics_of("kto", beta=0.3, decay=0.5)
    s, side = log_ratios(case), np.where(labels(case), 1.0, -1.0)
    z0 = max(0.0, 0.5 * case.state["mismatch"] + 0.5 * case.mismatch)
    margin = side * 0.3 * (s - z0)
    check(got, logratio=s, margin=margin, accuracy=margin > 0, z0=0 * s + z0, mismatch=0 * s + case.mismatch)


def test_bco_tells_what_its_shift_is_made_of() -> None:
    case, got = metrics_of("bco", beta=0.3)
    s, up = log_ratios(case), labels(case)
    state = case.state
    shift = (state["up_reward"] / state["up"] + state["down_reward"] / state["down"]) / 2
    margin = np.where(up, 1, -1) * (0.3 * s - shift)
    check(got, logratio=s, margin=margin, accuracy=margin > 0, shift=0 * s + shift)
    check(got, up=up, down=~up, up_reward=up * 0.3 * s, down_reward=~up * 0.3 * s)


def test_sppo_soft_counts_log_ratios_of_the_right_sign() -> None:
    case, got = metrics_of("sppo_soft", beta=0.3)
    s = log_ratios(case)
    margin = 0.3 * s * np.sign([float(b.score or 0.0) - 0.5 for b in case.branches()])
    check(got, logratio=s, margin=margin, accuracy=margin > 0)


def test_transport_of_thumbs_tells_log_ratios_and_that_both_kinds_were_there() -> None:
    case, got = metrics_of("aot_unpaired")
    check(got, logratio=log_ratios(case), compared=np.ones(len(case.branches())))


@pytest.mark.parametrize("name", ["nll", "chosen_nll", "desirable_nll"])
def test_likelihoods_tell_their_own_terms(name: str) -> None:
    case, got = metrics_of(name)
    check(got, nll=ENTRIES[name].oracle(case))


@pytest.mark.parametrize(("name", "metric"), [("pl_dpo", "kendall"), ("plackett_luce", "tau")])
def test_lists_tell_how_many_ranked_pairs_are_ordered_right(name: str, metric: str) -> None:
    case, got = metrics_of(name)
    values = [[float(s[0]) for s in group] for group in case.roles["scores"]]
    if name == "pl_dpo":
        both = zip(totals(case, "policy"), totals(case, "reference"), strict=True)
        values = [[p - r for p, r in zip(*group, strict=True)] for group in both]
        check(got, logratio=log_ratios(case))
    expected = []
    for group, worth in zip(case.groups, values, strict=True):
        ranks = [b.rank or 0 for b in group.responses]
        ranked = [(i, j) for i, j in itertools.permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]
        agree = sum(float(np.sign(worth[i] - worth[j])) for i, j in ranked)
        expected.append(agree / len(ranked) if ranked else 0.0)
    check(got, **{metric: np.array(expected)})


def test_steps_tell_accuracy_at_one_half_and_the_probability_of_being_right() -> None:
    case, got = metrics_of("step_bce")
    scores = np.concatenate([s.numpy() for group in case.roles["step_scores"] for s in group])
    right = np.array([mark for b in case.branches() for _, mark in b.marks])
    check(got, accuracy=(scores > 0) == right, probability=sigmoid(scores))


def test_regressions_tell_the_absolute_error() -> None:
    case, got = metrics_of("grade_mse")
    scores = [float(s[0]) for group in case.roles["scores"] for s in group]
    check(got, error=np.abs(np.array(scores) - [float(b.score or 0.0) for b in case.branches()]))
    case, got = metrics_of("attribute_mse")
    table = [s.tolist() for group in case.roles["scores"] for s in group]
    check(got, error=np.array([abs(table[i][k] - grade) for i, k, grade in attributes(case)]))


def test_centring_tells_the_mean_score_of_a_pair() -> None:
    case, got = metrics_of("reward_centre")
    check(got, centre=np.array([float(a[0] + b[0]) / 2 for a, b in case.roles["scores"]]))


@pytest.mark.parametrize("name", ["bradley_terry", "bradley_terry_margin", "reward_centre"])
def test_metrics_of_an_ensemble_are_of_its_mean_and_carry_no_gradient(name: str) -> None:
    loss = losses.get(name)
    case = case_for(loss)
    wide = torch.stack([s for group in case.roles["scores"] for s in group]).reshape(len(case.groups), 2, -1)
    given = [case.argument(measured, loss) for measured in loss.measures[1:]]
    got = loss.fn(wide.requires_grad_(True), *given).metrics
    of_mean = loss.fn(wide.detach().mean(-1), *given).metrics
    for key, metric in got.items():
        assert not metric.requires_grad
        np.testing.assert_allclose(metric, of_mean[key], rtol=1e-12, atol=1e-12)
