"""The likelihood of rankings: against sums over all orders, its limits, its ties."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.core.logps import Lists
from hizala.core.plackett import kendall, ranking_nll

worths = st.lists(st.floats(-5, 5), min_size=1, max_size=5)


def lists(*ranks: list[int]) -> Lists:
    flat = [rank for group in ranks for rank in group]
    owner = [index for index, group in enumerate(ranks) for _ in group]
    return Lists(torch.tensor(flat), torch.tensor(owner))


def of(worth: list[float], ranks: list[int]) -> float:
    return ranking_nll(torch.tensor(worth, dtype=torch.float64), lists(ranks)).item()


@given(worths)
def test_probabilities_of_all_orders_add_up_to_one(worth: list[float]) -> None:
    total = 0.0
    for order in itertools.permutations(range(len(worth))):
        ranks = [order.index(i) for i in range(len(worth))]
        total += math.exp(-of(worth, ranks))
    assert total == pytest.approx(1, abs=1e-12)


@given(worths)
def test_one_best_and_the_rest_tied_is_the_sum_over_the_orders_of_the_rest(worth: list[float]) -> None:
    k = len(worth)
    total = sum(
        math.exp(-of(worth, [0, *(1 + order.index(i) for i in range(k - 1))]))
        for order in itertools.permutations(range(k - 1))
    )
    assert of(worth, [0] + [1] * (k - 1)) == pytest.approx(-math.log(total), abs=1e-10)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_two_responses_are_bradley_terry(a: float, b: float) -> None:
    expected = -torch.nn.functional.logsigmoid(torch.tensor(a - b, dtype=torch.float64)).item()
    assert of([a, b], [0, 1]) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert of([a, b], [4, 4]) == 0.0


@settings(max_examples=50)
@given(worths, st.data(), st.floats(-50, 50))
def test_a_shift_of_a_list_and_its_order_in_the_data_change_nothing(
    worth: list[float], data: st.DataObject, shift: float
) -> None:
    ranks = data.draw(st.lists(st.integers(0, 3), min_size=len(worth), max_size=len(worth)))
    order = data.draw(st.permutations(range(len(worth))))
    value = of(worth, ranks)
    assert of([w + shift for w in worth], ranks) == pytest.approx(value, abs=1e-9)
    assert of([worth[i] for i in order], [ranks[i] for i in order]) == pytest.approx(value, abs=1e-9)
    assert of(worth, [3 * r + 2 for r in ranks]) == value


def test_lists_of_all_lengths_stand_side_by_side() -> None:
    together = ranking_nll(
        torch.tensor([0.3, 2.0, -1.0, 0.5, 1.5, 0.0], dtype=torch.float64), lists([0], [1, 0], [0, 1, 2])
    )
    assert together.tolist() == pytest.approx([of([0.3], [0]), of([2.0, -1.0], [1, 0]), of([0.5, 1.5, 0.0], [0, 1, 2])])
    assert together[0] == 0


def test_far_out_it_is_finite_and_its_slope_exact() -> None:
    worth = torch.tensor([-10000.0, 0.0, 10000.0], dtype=torch.float64, requires_grad=True)
    value = ranking_nll(worth, lists([0, 1, 2])).sum()
    value.backward()
    assert value.item() == 30000.0
    assert worth.grad.tolist() == [-1.0, -1.0, 2.0]


def test_tied_responses_are_pulled_neither_together_nor_apart() -> None:
    worth = torch.tensor([1.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)
    ranking_nll(worth, lists([0, 0, 1])).sum().backward()
    apart = torch.tensor([1.0, 4.0, 0.0], dtype=torch.float64, requires_grad=True)
    gaps = torch.stack((apart[0] - apart[2], apart[1] - apart[2]))
    (-torch.nn.functional.logsigmoid(gaps)).sum().backward()
    assert worth.grad.tolist() == pytest.approx(apart.grad.tolist(), rel=1e-12)


def test_kendall_counts_ranked_pairs_alone() -> None:
    worth = torch.tensor([3.0, 2.0, 1.0, 1.0, 2.0, 3.0, 0.0, 0.0, 7.0])
    found = kendall(worth, lists([0, 1, 2], [0, 1, 2], [0, 1], [0]))
    assert found.tolist() == [1.0, -1.0, 0.0, 0.0]
    mixed = kendall(torch.tensor([3.0, 1.0, 2.0]), lists([0, 0, 1]))
    assert mixed.tolist() == [0.0]
