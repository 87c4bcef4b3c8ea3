"""Minimising a loss ends where its paper says, on a small tabular policy with known reward."""

from __future__ import annotations

import pytest
import torch
from closed_forms import (
    NOISE,
    OPTIMA,
    ORDERED,
    REFERENCE,
    REWARD,
    K,
    Optimum,
    best,
    centred,
    distance,
    flipped,
    ipo_point,
    minimise,
    preferred,
    rankings,
    trained,
)
from torch import Tensor

from hizala.registry import losses


@pytest.mark.parametrize("optimum", OPTIMA, ids=[f"{o.loss}-{o.where}-{o.sample[:5]}" for o in OPTIMA])
def test_the_minimum_is_where_the_paper_says(optimum: Optimum) -> None:
    assert optimum.error() <= optimum.limit


def test_probabilities_of_rankings_add_up_and_the_optima_differ() -> None:
    """Else the tests above could agree by chance."""
    assert float(rankings(K)[1].sum()) == pytest.approx(1)
    assert float(rankings(3)[1].sum()) == pytest.approx(10)  # one for each choice of three
    assert distance(ipo_point(0.2, preferred()), best(0.2)) > 0.01
    assert distance(best(1.0), torch.softmax(REFERENCE, 0)) > 0.1


def test_ipo_stays_finite_where_dpo_runs_away() -> None:
    """Preferences without noise: IPO's gap is bounded by 1 / (2 tau) nats of log-ratio, DPO's by nothing."""
    sure = torch.tensor([1.0 if REWARD[i] > REWARD[j] else 0.0 for i, j in ORDERED], dtype=torch.float64)
    assert distance(trained("ipo", sure, tau=0.5), ipo_point(0.5, sure)) <= 1e-6
    assert float(trained("dpo", sure, beta=0.5).max()) > 1 - 1e-6


def test_without_the_robust_loss_flipped_labels_move_the_optimum() -> None:
    assert distance(trained("dpo", flipped(), beta=1.0), best(1.0)) > 0.02
    assert distance(trained("dpo", flipped(), beta=1.0, label_smoothing=NOISE), best(1.0)) > 0.02


def test_centring_fixes_the_constant_that_bradley_terry_leaves_open() -> None:
    """Started five too high, a little of the centring term brings the mean reward to zero and moves nothing else."""
    fit, centre, index = losses.get("bradley_terry"), losses.get("reward_centre"), torch.tensor(ORDERED)
    weight = preferred() / preferred().sum()

    def objective(rewards: Tensor) -> Tensor:
        scores = (rewards + 5)[index]
        total: Tensor = weight @ (fit.fn(scores).loss + 1e-5 * centre.fn(scores).loss)
        return total

    found = minimise(objective) + 5
    assert distance(found, REWARD - REWARD.mean()) <= 1e-3
    assert centred(found) <= 1e-3
