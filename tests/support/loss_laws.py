"""Which loss must keep which law: `@law(...)` puts a test on some losses and remembers it for the table in docs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from loss_cases import PER_TOKEN, TRAINED, Case, Table, make_case, value, with_branches
from torch import Tensor

from hizala.registry import Loss

# test function -> losses it is on
LAWS: dict[str, tuple[str, ...]] = {}
quick = settings(max_examples=20, deadline=None)


def law(*names: str) -> Callable[[Callable[..., Any]], Any]:
    """Run a test once for each of these losses, as its argument `name`."""

    def mark(test: Callable[..., Any]) -> Any:
        LAWS[test.__name__] = names
        return pytest.mark.parametrize("name", names)(test)

    return mark


@st.composite
def cases(draw: st.DrawFn, loss: Loss, *, least: int = 1, most: int = 4, same: bool = False) -> Case:
    """A random case of the loss's shape; `same` gives all responses of a group one length."""
    width = 2 if loss.data == "pair" else draw(st.integers(2, most))
    sizes = draw(st.lists(st.lists(st.integers(least, 5), min_size=width, max_size=width), min_size=1, max_size=5))
    if same:
        sizes = [[group[0]] * width for group in sizes]
    return make_case(sizes, seed=draw(st.integers(0, 10**6)))


def moved(case: Case, role: str, by: float, *, every: bool = False) -> Case:
    """Each response's total of a role (each of its values, with `every`) moved by the same amount."""

    def move(values: Tensor) -> Tensor:
        if every or role not in PER_TOKEN:
            return values + by
        return torch.cat((values[:1] + by, values[1:])) if len(values) else values

    return case.with_role(role, [[move(values) for values in group] for group in case.roles[role]])


def one_a_response(case: Case) -> Case:
    """Every token of a response has the advantage of its first."""
    table = [[t[:1].expand(len(t)).clone() for t in group] for group in case.roles["advantages"]]
    return case.with_role("advantages", table)


def slopes(loss: Loss, case: Case, role: str | None = None, **params: object) -> Table:
    """Gradient of the reduced loss by every value of a role (the first trained one by default)."""
    name = role or next(r for r in TRAINED if r in loss.measures)
    leaves = [[t.clone().requires_grad_(True) for t in group] for group in case.roles[name]]
    value(loss, case.with_role(name, leaves), **params).backward()
    return [[torch.zeros_like(t) if t.grad is None else t.grad for t in group] for group in leaves]


def trained_function(loss: Loss, params: Mapping[str, Any]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """The reduced loss as a function of every value it trains, and those values.

    What is held fixed by definition is held fixed here too: WPO's weight is no function of the policy, nor is CISPO's,
    and TDPO2 stops the gradient of the chosen response's divergence. The slope of "gspo_token" is that of its value
    where a response has one advantage.
    """
    width = 2 if loss.data == "pair" else 3
    case = make_case([[2, 3, 1][:width], [1, 2, 4][:width]], seed=4, weights=[1.0, 2.0])
    case = with_branches(case, label=[[True, False, True][:width], [False, True, False][:width]])
    if loss.name == "gspo_token":
        case = one_a_response(case)
    roles = [role for role in TRAINED if role in loss.measures]
    leaves = [t.clone().requires_grad_(True) for role in roles for group in case.roles[role] for t in group]

    def of(*values: Tensor) -> Tensor:
        given, tried = iter(values), case
        for role in roles:
            table = [[next(given) for _ in group] for group in case.roles[role]]
            if loss.name == "tdpo2" and role == "divergence":
                table = [[old[0], new[1]] for old, new in zip(case.roles[role], table, strict=True)]
            tried = tried.with_role(role, table)
        if loss.name in ("wpo", "cispo"):
            held = "collision" if loss.name == "wpo" else "old"
            groups = zip(*(c.roles[r] for c, r in ((case, held), (tried, "policy"), (case, "policy"))), strict=True)
            along = [[c + (new - old).detach() for c, new, old in zip(*group, strict=True)] for group in groups]
            tried = tried.with_role(held, along)
        return value(loss, tried, **params)

    return of, leaves


def slope_error(loss: Loss, params: Mapping[str, Any]) -> float:
    """Largest difference between gradient and central differences of step 1e-6, relative above 1."""
    of, leaves = trained_function(loss, params)
    exact = torch.autograd.grad(of(*leaves), leaves, allow_unused=True)
    worst = 0.0
    for i, (leaf, slope) in enumerate(zip(leaves, exact, strict=True)):
        for k in range(leaf.numel()):
            step = torch.zeros_like(leaf)
            step[k] = 1e-6
            up, down = ([*leaves[:i], leaf + sign * step, *leaves[i + 1 :]] for sign in (1, -1))
            numeric = float((of(*up) - of(*down)).detach()) / 2e-6
            expected = 0.0 if slope is None else float(slope[k])
            worst = max(worst, abs(numeric - expected) / max(1.0, abs(expected)))
    return worst


def swapped(case: Case) -> Case:
    """The two responses of each pair exchanged."""
    return Case(
        case.groups, {role: [[b, a] for a, b in table] for role, table in case.roles.items()}, case.mismatch, case.state
    )


def at_margins(margin: list[float], base: float = -1.0) -> Case:
    """Pairs of one-token responses whose reference is `base` and whose log-ratio gap is the given one."""
    case = make_case([[1, 1]] * len(margin))
    one = torch.full((1,), base, dtype=torch.float64)
    return case.with_role("reference", [[one, one] for _ in margin]).with_role(
        "policy", [[one + m / 2, one - m / 2] for m in margin]
    )


def sided(chosen: float, rejected: float) -> Case:
    """One pair of one-token responses with these two log-ratios."""
    case = make_case([[1, 1]])
    table = [[torch.tensor([chosen], dtype=torch.float64), torch.tensor([rejected], dtype=torch.float64)]]
    return case.with_role("policy", table).with_role("reference", [[torch.zeros(1, dtype=torch.float64)] * 2])
