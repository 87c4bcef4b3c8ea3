"""Reductions: numerators of parts add up over one declared denominator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hizala.core.logps import Terms
from hizala.core.reduce import REDUCTIONS, Layout, check_reduction, denominator, reduce
from hizala.errors import ConfigError
from hizala.records import TokenBranch, TokenGroup


def group(*counts: int, weight: float = 1.0) -> TokenGroup:
    # Each response has as many marked steps as counted tokens, and one graded attribute less, at least none.
    branches = tuple(
        TokenBranch(
            [7] * (n + 2),
            [False, *[True] * n, False],
            marks=tuple((i, True) for i in range(n)),
            attributes={str(i): 1.0 for i in range(1, n)},
        )
        for n in counts
    )
    return TokenGroup([1, 2], branches, "g", weight)


LAYOUT = Layout.of([group(3, 1), group(0, 4, weight=2.0), group(2, 0, weight=0.5)])


def test_layout_counts_true_of_each_mask() -> None:
    assert LAYOUT.count.tolist() == [3, 1, 0, 4, 2, 0]
    assert LAYOUT.size.tolist() == [2, 2, 2]
    assert LAYOUT.response_weight.tolist() == [1, 1, 2, 2, 0.5, 0.5]
    assert not LAYOUT.uniform
    assert Layout.of([group(1)]).uniform


@pytest.mark.parametrize(
    ("unit", "reduction", "expected"),
    [
        ("token", "token", 3 + 1 + 2 * 4 + 0.5 * 2),
        ("token", "response", 1 + 1 + 2 + 0.5),
        ("token", "fixed", 2 + 2 * 2 + 2 * 0.5),
        ("chosen_token", "token", 3 + 0.5 * 2),
        ("chosen_token", "response", 1 + 0.5),
        ("response", "response", 2 * 3.5),
        ("pair", "pair", 3.5),
        ("group", "group", 3.5),
        ("step", "step", 3 + 1 + 2 * 4 + 0.5 * 2),
        ("grade", "grade", 2 + 2 * 3 + 0.5),
    ],
)
def test_denominator_is_the_weighted_number_of_units(unit: str, reduction: str, expected: float) -> None:
    assert denominator(LAYOUT, unit, reduction) == expected


def terms(unit: str) -> Terms:
    torch.manual_seed(0)
    segments = {
        "token": torch.repeat_interleave(torch.arange(6), torch.tensor(LAYOUT.count)),
        "chosen_token": torch.repeat_interleave(torch.arange(3), torch.tensor(LAYOUT.count[0::2])),
        "step": torch.repeat_interleave(torch.arange(6), torch.tensor(LAYOUT.steps)),
        "grade": torch.repeat_interleave(torch.arange(6), torch.tensor(LAYOUT.grades)),
    }.get(unit)
    size = len(segments) if segments is not None else {"response": 6, "pair": 3, "group": 3}[unit]
    return Terms(torch.randn(size, dtype=torch.float64), unit, {}, segments)


@pytest.mark.parametrize(("unit", "reduction"), [(u, r) for u, rs in REDUCTIONS.items() for r in rs])
def test_reduction_is_the_weighted_mean_written_out(unit: str, reduction: str) -> None:
    of = terms(unit)
    top = bottom = 0.0
    weights = LAYOUT.weight if unit in ("pair", "group", "chosen_token") else LAYOUT.response_weight
    for index, weight in enumerate(weights):
        if of.segments is None:
            parts = of.loss[index : index + 1]
        else:
            parts = of.loss[of.segments == index]
        if reduction == "fixed":
            top, bottom = top + weight * float(parts.sum()), bottom + weight
        elif reduction in ("token", "step", "grade"):
            top, bottom = top + weight * float(parts.sum()), bottom + weight * len(parts)
        elif len(parts):
            top, bottom = top + weight * float(parts.mean()), bottom + weight
    got = reduce(of, LAYOUT, reduction, denominator(LAYOUT, unit, reduction))
    assert float(got) == pytest.approx(top / bottom, rel=1e-14)


@pytest.mark.parametrize("reduction", ["token", "response"])
def test_nothing_to_count_gives_zero_and_a_zero_gradient(reduction: str) -> None:
    layout = Layout.of([group(0, 0)])
    loss = torch.zeros(0, requires_grad=True)
    of = Terms(loss * 2, "token", {}, torch.zeros(0, dtype=torch.long))
    assert denominator(layout, "token", reduction) == 0
    got = reduce(of, layout, reduction, 0.0)
    got.backward()
    assert got.item() == 0.0
    assert loss.grad is not None
    assert loss.grad.numel() == 0


def test_mask_of_integers_counts_like_booleans() -> None:
    layout = Layout.of([TokenGroup([1], (TokenBranch([1, 2, 3], np.array([0, 1, 1])),))])  # type: ignore[arg-type]
    assert layout.count.tolist() == [2]


def test_unknown_units_and_reductions_are_refused_with_what_is_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'token'"):
        check_reduction("tokens", "token")
    with pytest.raises(ConfigError, match="choose: pair"):
        check_reduction("pair", "token")
