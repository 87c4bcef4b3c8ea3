"""The gradient of a step over the forest does not depend on how the batch is cut, ordered, shared or padded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from resumable import CONFIG, VOCAB
from toy_policy import gradient, make_groups, relative

from hizala.algorithms import algorithms
from hizala.engines.policy import random_init
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.records import TokenBranch, TokenGroup

BIG = 10**6
TOLERANCE = {"float64": 1e-10, "float32": 1e-6}
OBJECTIVES = {
    "sft": lambda: Objective.of(algorithms.get("sft")),
    "sft-response": lambda: Objective.of(algorithms.get("sft"), reduction="response"),
    "dpo": lambda: Objective.of(algorithms.get("dpo"), {"beta": 0.3}, weights={"chosen_nll": 0.2}),
}


def step_gradient(
    groups: list[TokenGroup], name: str, dtype: str, *, budget: int = BIG, sharing: bool = True
) -> dict[str, torch.Tensor]:
    policy = random_init(CONFIG, 3, dtype=dtype, sharing=sharing)
    values = {g.id: 0.8 * m for g, m in zip(groups, measure(policy, groups, BIG), strict=True)}
    engine = Engine(policy, Settings(learning_rate=1e-3, total_steps=2, token_budget=budget))
    engine.accumulate(groups, OBJECTIVES[name](), {"reference": values})
    return {n: g.double() for n, g in gradient(policy.module).items()}


@pytest.fixture(scope="module")
def groups() -> list[TokenGroup]:
    return make_groups(8, vocab=VOCAB, seed=2, weights=True, empty=True)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_gradient_of_any_packing_is_the_gradient_of_one_row(groups: list[TokenGroup], name: str, dtype: str) -> None:
    whole = step_gradient(groups, name, dtype)
    for budget in (1, 33, 70):
        assert relative(step_gradient(groups, name, dtype, budget=budget), whole) < TOLERANCE[dtype], budget
    order = np.random.default_rng(1).permutation(len(groups))
    assert relative(step_gradient([groups[i] for i in order], name, dtype, budget=70), whole) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_with_shared_prompts_is_the_gradient_without(groups: list[TokenGroup], dtype: str) -> None:
    shared = step_gradient(groups, "dpo", dtype)
    assert relative(step_gradient(groups, "dpo", dtype, sharing=False), shared) < TOLERANCE[dtype]


def test_tokens_that_do_not_count_at_the_end_change_nothing(groups: list[TokenGroup]) -> None:
    def pad(branch: TokenBranch) -> TokenBranch:
        return TokenBranch([*branch.ids, 5, 5, 5], [*branch.mask, False, False, False])

    padded = [TokenGroup(g.prompt, tuple(pad(r) for r in g.responses), g.id, g.weight) for g in groups]
    for name in OBJECTIVES:
        plain = step_gradient(groups, name, "float64", budget=60)
        assert relative(step_gradient(padded, name, "float64", budget=60), plain) < 1e-10


def test_gradient_of_the_forest_is_the_gradient_of_each_response_alone(groups: list[TokenGroup]) -> None:
    """A response on its own, its loss weighed by hand: no packing, no sharing, no reduction code."""
    policy = random_init(CONFIG, 3, dtype="float64")
    total, tokens = torch.zeros((), dtype=torch.float64), 0.0
    for group in groups:
        for response in group.responses:
            alone = TokenGroup(group.prompt, (response,), "alone")
            logps = policy.logps(policy.pack([alone], BIG)[0]).tokens
            total, tokens = total - group.weight * logps.sum(), tokens + group.weight * len(logps)
    (total / tokens).backward()
    expected = {n: g.double() for n, g in gradient(policy.module).items()}
    assert relative(step_gradient(groups, "sft", "float64", budget=50), expected) < 1e-10
