"""Schedules: what the factor is at each step."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.core.schedule import SCHEDULES, factor


@given(
    kind=st.sampled_from(SCHEDULES),
    total=st.integers(1, 200),
    warm=st.floats(0, 0.5),
    tail=st.floats(0, 0.5),
    floor=st.floats(0, 1),
)
def test_factor_rises_through_the_warm_up_then_never_rises_and_stays_in_bounds(
    kind: str, total: int, warm: float, tail: float, floor: float
) -> None:
    warmup, decay = int(warm * total), int(tail * total)
    seen = [factor(s, total, kind=kind, warmup=warmup, decay=decay, floor=floor) for s in range(total + 3)]
    assert all(0 <= f <= 1 for f in seen)
    assert seen[:warmup] == pytest.approx([(s + 1) / warmup for s in range(warmup)])
    after = seen[warmup:]
    assert all(a >= b - 1e-12 for a, b in pairwise(after))
    assert after[0] == pytest.approx(1.0) or (kind == "wsd" and warmup == total - decay)
    assert all(f >= floor - 1e-12 for f in after)
    if kind != "constant":
        assert seen[total] == pytest.approx(floor, abs=1e-12) or (kind == "wsd" and decay == 0)


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("constant", 99, 1.0),
        ("linear", 10, 1.0),
        ("linear", 55, 0.5),
        ("linear", 99, 1 / 90),
        ("cosine", 10, 1.0),
        ("cosine", 40, (1 + math.cos(math.pi / 3)) / 2),
        ("cosine", 55, 0.5),
        ("wsd", 79, 1.0),
        ("wsd", 80, 1.0),
        ("wsd", 90, 0.5),
        ("wsd", 99, 0.05),
    ],
)
def test_factor_is_the_formula(kind: str, step: int, expected: float) -> None:
    assert factor(step, 100, kind=kind, warmup=10, decay=20) == pytest.approx(expected, rel=1e-12)


def test_floor_is_where_the_run_ends() -> None:
    for kind in ("linear", "cosine", "wsd"):
        assert factor(100, 100, kind=kind, decay=10, floor=0.1) == pytest.approx(0.1)
    assert factor(50, 100, kind="linear", floor=0.2) == pytest.approx(0.6)
