"""Every registered loss through the engine: what is measured for it, and that no cut of a batch changes a gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from resumable import CONFIG, VOCAB
from toy_policy import gradient, make_groups, relative

from hizala.algorithms import Algorithm, algorithms
from hizala.core import losses as _registered  # noqa: F401
from hizala.core.losses.reward import HELPSTEER
from hizala.engines.policy import Policy, random_init
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.errors import ConfigError, TrainError
from hizala.records import TokenBranch, TokenGroup
from hizala.registry import Loss, losses

OFFLINE = [loss for loss in losses if not {"advantages", "values", "old", "sampler"} & set(loss.measures)]
SEPARABLE = [loss for loss in OFFLINE if loss.separable]
RUNNING = [loss for loss in OFFLINE if loss.running]


def annotated(groups: list[TokenGroup], seed: int) -> list[TokenGroup]:
    """The groups with everything that can be known of a response; the first two have opposite thumbs."""
    generator = np.random.default_rng(seed)
    out = []
    for place, group in enumerate(groups):
        order = generator.permutation(len(group.responses))

        def told(index: int, branch: TokenBranch, place: int = place, order: np.ndarray = order) -> TokenBranch:
            label = bool(generator.random() < 0.5) if place > 1 else place == 0
            return replace(
                branch,
                rank=int(order[index]),
                label=label,
                score=float(generator.random()),
                marks=tuple((i, bool(generator.random() < 0.5)) for i in range(0, len(branch.ids), 2)),
                attributes={name: float(generator.random()) for name in HELPSTEER},
            )

        branches = tuple(told(i, b) for i, b in enumerate(group.responses))
        out.append(replace(group, responses=branches, margin=float(generator.random())))
    return out


def batch_for(loss: Loss) -> list[TokenGroup]:
    count = {"pair": 2, "ranking": 4, "scored": 3}.get(loss.data, 1)
    return annotated(make_groups(7, responses=count, seed=3, weights=True, vocab=VOCAB), 5)


def mismatched(groups: list[TokenGroup]) -> list[TokenGroup]:
    others = [*groups[1:], groups[0]]
    return [replace(g, responses=o.responses[:1], id=f"{g.id}*") for g, o in zip(groups, others, strict=True)]


def policy_for(loss: Loss, seed: int = 1) -> Policy:
    heads = [{"scores": "score", "step_scores": "step"}[n] for n in loss.measures if n in ("scores", "step_scores")]
    labels = HELPSTEER if "attributes" in loss.measures else ()
    torch.manual_seed(seed)
    return random_init(CONFIG, seed, dtype="float64", heads=heads, labels=labels)


def engine_for(loss: Loss, budget: int, **settings: object) -> Engine:
    live = random_init(CONFIG, 2, dtype="float64") if "divergence" in loss.measures else None
    told = {"learning_rate": 1e-2, "total_steps": 6, "token_budget": budget, **settings}
    return Engine(policy_for(loss), Settings(**told), live)  # type: ignore[arg-type]


def objective_for(loss: Loss) -> Objective:
    return Objective.of(Algorithm("alone", loss.data, {loss.name: 1.0}, "", ""))


def reference_column(groups: list[TokenGroup]) -> dict[str, dict[str, np.ndarray]]:
    policy = random_init(CONFIG, 2, dtype="float64")
    return {"reference": {g.id: m for g, m in zip(groups, measure(policy, groups, 4096), strict=True)}}


@pytest.mark.parametrize("loss", SEPARABLE, ids=lambda loss: loss.name)
def test_the_gradient_is_the_same_however_the_batch_is_cut(loss: Loss) -> None:
    groups = batch_for(loss)
    others = mismatched(groups)
    columns = reference_column([*groups, *others])
    found = []
    for budget, order in ((4096, 1), (30, 1), (30, -1)):
        engine = engine_for(loss, budget)
        engine.accumulate(groups[::order], objective_for(loss), columns, others[::order])
        found.append(gradient(engine.policy.module))
    assert max(float(g.norm()) for g in found[0].values()) > 0
    assert relative(found[1], found[0]) < 1e-10
    assert relative(found[2], found[0]) < 1e-10


@pytest.mark.parametrize("loss", OFFLINE, ids=lambda loss: loss.name)
def test_steps_lower_the_loss_and_held_out_figures_have_one_value_a_group(loss: Loss) -> None:
    groups = batch_for(loss)
    others = mismatched(groups)
    columns = reference_column([*groups, *others])
    engine, objective = engine_for(loss, 4096, learning_rate=2e-3, total_steps=12), objective_for(loss)
    reports = [engine.step(groups, objective, columns, others).metrics for _ in range(12)]
    assert all(report["skipped"] == 0 for report in reports)
    # A reference point that moves with the policy can lift a loss while the policy does as it is told.
    if not {"mismatch", "running"} & set(loss.measures):
        assert reports[-1]["loss"] < reports[0]["loss"]
    table = engine.evaluate(groups, objective, columns, others)
    # A group without a counted token has no loss a token.
    scored = [g for g in groups if loss.unit not in ("token", "chosen_token") or any(g.responses[0].mask)]
    assert len(table["loss"]) == len(scored)
    assert np.isfinite(table["loss"]).all()


@pytest.mark.parametrize("loss", RUNNING, ids=lambda loss: loss.name)
def test_running_statistics_follow_their_metrics_and_are_kept(loss: Loss, tmp_path: Path) -> None:
    groups = batch_for(loss)
    others = mismatched(groups)
    columns = reference_column([*groups, *others])
    engine = engine_for(loss, 4096)
    objective = Objective.of(Algorithm("alone", loss.data, {loss.name: 1.0}, "", ""), {"decay": 0.75})
    expected = dict.fromkeys(loss.running, 0.0)
    for _ in range(3):
        report = engine.step(groups, objective, columns, others).metrics
        for name, metric in loss.running.items():
            expected[name] = 0.75 * expected[name] + 0.25 * report[f"{loss.name}/{metric}"]
    assert engine.running[loss.name] == pytest.approx(expected, rel=1e-12)
    assert any(expected.values())
    engine.save(tmp_path)
    fresh = engine_for(loss, 4096)
    fresh.load(tmp_path)
    assert fresh.running == engine.running


def follower(mix: float, every: int, steps: int = 6) -> Engine:
    settings = Settings(learning_rate=1e-2, total_steps=steps, token_budget=4096, sync_every=every, sync_mix=mix)
    return Engine(random_init(CONFIG, 1), settings, random_init(CONFIG, 1))


GROUPS = make_groups(6, vocab=VOCAB, seed=4)
DPO = Objective.of(algorithms.get("dpo"), {"beta": 0.5})


def test_a_synced_reference_moves_by_its_mix_when_due_and_stands_between() -> None:
    engine = follower(0.25, 2)
    assert engine.reference is not None
    module = engine.reference.policy.module
    start = {n: p.detach().clone() for n, p in module.named_parameters()}
    engine.step(GROUPS, DPO)
    assert all(p.equal(start[n]) for n, p in module.named_parameters())
    engine.step(GROUPS, DPO)
    trained = dict(engine.policy.module.named_parameters())
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter, 0.75 * start[name] + 0.25 * trained[name].detach())
        assert not parameter.requires_grad


def test_a_fully_synced_reference_starts_the_margin_at_zero_again() -> None:
    engine = follower(1.0, 3)
    margins = [engine.step(GROUPS, DPO).metrics["dpo/margin"] for _ in range(6)]
    assert margins[2] > 0.01
    assert margins[3] == pytest.approx(0.0, abs=1e-6)
    assert margins[5] > 0.01


def test_a_run_with_a_moving_reference_continues_to_the_same_bits(tmp_path: Path) -> None:
    whole = follower(0.5, 2)
    for _ in range(6):
        whole.step(GROUPS, DPO)
    first = follower(0.5, 2)
    for _ in range(3):
        first.step(GROUPS, DPO)
    first.save(tmp_path)
    second = follower(0.5, 2)
    second.load(tmp_path)
    for _ in range(3):
        second.step(GROUPS, DPO)
    assert whole.reference is not None
    assert second.reference is not None
    for mine, other in ((whole.policy, second.policy), (whole.reference.policy, second.reference.policy)):
        for a, b in zip(mine.module.parameters(), other.module.parameters(), strict=True):
            assert a.equal(b)


def test_a_synced_reference_does_not_follow_adapters() -> None:
    settings = Settings(learning_rate=1e-2, total_steps=2, token_budget=4096, sync_every=1)
    engine = Engine(random_init(CONFIG, 1, lora={"rank": 2}), settings, random_init(CONFIG, 1))
    with pytest.raises(TrainError, match="other parameters"):
        engine.step(GROUPS, DPO)


@pytest.mark.parametrize(("name", "word"), [("kto", "thumb"), ("pl_dpo", "rank"), ("odpo", "margin")])
def test_what_the_data_do_not_say_is_asked_for_by_name(name: str, word: str) -> None:
    loss = losses.get(name)
    bare = make_groups(4, responses=2 if loss.data != "thumb" else 1, vocab=VOCAB, seed=4)
    with pytest.raises(TrainError, match=word):
        engine_for(loss, 4096).step(
            bare, objective_for(loss), reference_column([*bare, *mismatched(bare)]), mismatched(bare)
        )


def test_a_mixture_is_the_weighted_sum_of_its_losses() -> None:
    columns = reference_column(GROUPS)

    def of(objective: Objective) -> dict[str, torch.Tensor]:
        engine = Engine(random_init(CONFIG, 1, dtype="float64"), Settings(learning_rate=1.0, total_steps=1))
        engine.accumulate(GROUPS, objective, columns)
        return gradient(engine.policy.module)

    mixed = of(Objective.mixture("mixture", {"dpo": {"weight": 2.0, "beta": 0.3}, "ipo": {"tau": 0.7}}))
    dpo = of(Objective.mixture("mixture", {"dpo": {"beta": 0.3}}))
    ipo = of(Objective.mixture("mixture", {"ipo": {"tau": 0.7}}))
    assert relative(mixed, {name: 2.0 * dpo[name] + ipo[name] for name in dpo}) < 1e-12


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "mixes no losses"),
        ({"dpo": {}, "kto": {}}, "different data"),
        ({"dpo": {"btea": 0.1}}, "no parameter 'btea'"),
        ({"dpo": {"beta": -1.0}}, "must be greater than"),
        ({"dop": {}}, "unknown loss 'dop'"),
    ],
)
def test_a_mixture_that_means_nothing_is_refused(given: dict[str, dict[str, float]], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Objective.mixture("mixture", given)
