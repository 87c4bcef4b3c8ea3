"""Losses on rollouts through the engine: what is measured for them, and that no cut of a batch changes a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from resumable import CONFIG, VOCAB
from toy_policy import gradient, make_groups, relative

from hizala.algorithms import Algorithm, algorithms
from hizala.core import losses as _registered  # noqa: F401
from hizala.core.reduce import REDUCTIONS
from hizala.engines.policy import random_init
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.records import TokenGroup
from hizala.registry import Loss, losses

ROLLOUT = [loss for loss in losses if loss.data == "rollout"]
GROUPS = make_groups(7, responses=3, seed=3, weights=True, vocab=VOCAB)
Columns = dict[str, dict[str, np.ndarray]]


def columns(groups: list[TokenGroup], seed: int = 0) -> Columns:
    """Stored columns: another policy's log-probs as those of reference, sampler and old, and random numbers."""
    generator = np.random.default_rng(seed)
    out: Columns = {}
    for place, role in enumerate(("reference", "sampler", "old")):
        found = measure(random_init(CONFIG, 2 + place, dtype="float64"), groups, 4096)
        out[role] = {g.id: m for g, m in zip(groups, found, strict=True)}
    for name in ("advantages", "returns", "old_values"):
        out[name] = {g.id: generator.normal(size=len(out["old"][g.id])).astype(np.float32) for g in groups}
    return out


def engine(budget: int, **settings: object) -> Engine:
    torch.manual_seed(1)
    told = {"learning_rate": 1e-3, "total_steps": 20, "token_budget": budget, **settings}
    return Engine(random_init(CONFIG, 1, dtype="float64", heads=("value",)), Settings(**told))  # type: ignore[arg-type]


def objective(loss: Loss, how: str) -> Objective:
    row = Algorithm("alone", "rollout", {loss.name: 1.0}, "", "")
    return Objective.of(row, reduction=how, length=16 if how == "fixed" else None)


CASES = [(loss, how) for loss in ROLLOUT for how in REDUCTIONS[loss.unit]]


@pytest.mark.parametrize(("loss", "how"), CASES, ids=[f"{loss.name}-{how}" for loss, how in CASES])
def test_the_gradient_is_the_same_however_the_batch_is_cut(loss: Loss, how: str) -> None:
    found = []
    for budget, order in ((4096, 1), (40, 1), (40, -1)):
        made = engine(budget)
        made.accumulate(GROUPS[::order], objective(loss, how), columns(GROUPS))
        found.append(gradient(made.policy.module))
    assert max(float(g.norm()) for g in found[0].values()) > 0
    assert relative(found[1], found[0]) < 1e-10
    assert relative(found[2], found[0]) < 1e-10


@pytest.mark.parametrize("loss", ROLLOUT, ids=lambda loss: loss.name)
def test_steps_lower_the_loss(loss: Loss) -> None:
    """CISPO's weights move with the policy, so what falls is the loss that has its gradient: the policy gradient's."""
    made, given = engine(4096), columns(GROUPS)
    judged = objective(losses.get("reinforce") if loss.name == "cispo" else loss, "token")
    before = float(np.mean(made.evaluate(GROUPS, judged, given)["loss"]))
    reports = [made.step(GROUPS, objective(loss, "token"), given).metrics for _ in range(12)]
    assert all(report["skipped"] == 0 for report in reports)
    assert float(np.mean(made.evaluate(GROUPS, judged, given)["loss"])) < before


def test_at_the_weights_that_sampled_ppo_has_the_policy_gradient() -> None:
    """The whole way: packing, forward, ratio, reduction. d loss = -sum A_t d log pi(y_t) / N."""
    groups = make_groups(5, responses=4, seed=6, vocab=VOCAB)
    policy = random_init(CONFIG, 1, dtype="float64", heads=("value",))
    given = columns(groups)
    found = []
    for name in ("clip", "reinforce", "cispo"):
        made = engine(60)
        made.policy.module.load_state_dict(policy.module.state_dict())
        old: dict[str, np.ndarray] = {}
        with torch.no_grad():
            for tree in policy.pack(groups, 4096):
                flat = policy.logps(tree).tokens.numpy()
                ends = np.cumsum([sum(sum(map(bool, r.mask)) for r in g.responses) for g in tree.groups])
                old |= {g.id: part for g, part in zip(tree.groups, np.split(flat, ends[:-1]), strict=True)}
        made.accumulate(groups, objective(losses.get(name), "token"), given | {"old": old})
        found.append(gradient(made.policy.module))
    assert relative(found[0], found[1]) < 1e-7
    assert relative(found[2], found[1]) < 1e-7


def test_a_weight_on_tokens_can_be_multiplied_into_the_advantages() -> None:
    """Half the advantage is half the gradient: what corrects for the sampler needs no place in any loss."""
    given = columns(GROUPS)
    halved = given | {"advantages": {key: column / 2 for key, column in given["advantages"].items()}}
    for name in ("clip", "gspo", "gspo_token", "cispo", "reinforce"):
        found = []
        for columns_of in (given, halved):
            made = engine(4096)
            made.accumulate(GROUPS, objective(losses.get(name), "response"), columns_of)
            found.append(gradient(made.policy.module))
        assert relative({n: 2 * g for n, g in found[1].items()}, found[0]) < 1e-12, name


def test_ppo_trains_policy_and_critic_in_one_step() -> None:
    row = algorithms.get("ppo")
    made, given = engine(40), columns(GROUPS)
    first = made.step(GROUPS, Objective.of(row, reduction="token"), given).metrics
    for _ in range(10):
        last = made.step(GROUPS, Objective.of(row, reduction="token"), given).metrics
    assert last["value/error"] < first["value/error"]
    assert {"clip/ratio", "clip/low", "clip/high", "clip/approx_kl", "value/clipped"} <= set(last)
