"""The engine step: the gradient it makes, the metrics it reports, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_policy import ToyPolicy, gradient, make_groups, relative

from hizala.algorithms import Algorithm, algorithms
from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.errors import ConfigError, TrainError
from hizala.records import TokenBranch, TokenGroup
from hizala.registry import Loss, losses

BIG = 10**6


def settings(**changes: object) -> Settings:
    values: dict[str, object] = {"learning_rate": 1e-2, "total_steps": 10, "token_budget": BIG}
    return Settings(**(values | changes))  # type: ignore[arg-type]


def objective(name: str, **changes: object) -> Objective:
    return Objective.of(algorithms.get(name), **changes)  # type: ignore[arg-type]


def reference(groups: list[TokenGroup], *, seed: int = 9) -> dict[str, dict[str, np.ndarray]]:
    policy = ToyPolicy(seed=seed)
    tables = {g.id: policy.logps(policy.pack([g], BIG)[0]).tokens.detach().numpy() for g in groups}
    return {"reference": tables}


def batch_gradient(name: str, groups: list[TokenGroup], *, budget: int = BIG, **changes: object) -> dict:
    policy = ToyPolicy()
    engine = Engine(policy, settings(token_budget=budget))
    engine.accumulate(groups, objective(name, **changes), reference(groups))
    return gradient(policy.module)


@pytest.mark.parametrize(("name", "reduction"), [("sft", None), ("sft", "response"), ("dpo", None)])
@pytest.mark.parametrize("budget", [1, 40, 90])
@pytest.mark.parametrize("weights", [False, True])
def test_gradient_does_not_depend_on_micro_batch_size(name: str, reduction: str, budget: int, weights: bool) -> None:
    groups = make_groups(9, weights=weights, empty=True)
    whole = batch_gradient(name, groups, reduction=reduction)
    assert relative(batch_gradient(name, groups, budget=budget, reduction=reduction), whole) < 1e-12


def test_gradient_does_not_depend_on_the_order_of_groups() -> None:
    groups = make_groups(9, weights=True)
    mixed = [groups[i] for i in (3, 1, 8, 0, 7, 2, 6, 4, 5)]
    changes = {"weights": {"chosen_nll": 0.3}}
    whole = batch_gradient("dpo", groups, **changes)
    assert relative(batch_gradient("dpo", mixed, budget=50, **changes), whole) < 1e-12


def test_gradient_equals_the_one_of_the_formula_on_full_tensors() -> None:
    groups = make_groups(5, weights=True)
    ref = reference(groups)["reference"]
    policy = ToyPolicy()
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for group in groups:
        logps = policy.logps(policy.pack([group], BIG)[0])
        old = torch.from_numpy(ref[group.id])
        n = int(logps.count[0])
        ratio = logps.tokens - old
        total = total - group.weight * torch.log(torch.sigmoid(0.5 * (ratio[:n].sum() - ratio[n:].sum())))
        weight += group.weight
    (total / weight).backward()
    assert relative(batch_gradient("dpo", groups, params={"beta": 0.5}), gradient(policy.module)) < 1e-12


def test_metrics_are_means_over_the_whole_batch_whatever_the_micro_batches() -> None:
    groups = make_groups(9, empty=True)
    reports = [
        Engine(ToyPolicy(), settings(token_budget=budget)).step(
            groups, objective("dpo", weights={"chosen_nll": 0.5}), reference(groups)
        )
        for budget in (BIG, 30)
    ]
    assert reports[0].metrics == pytest.approx(reports[1].metrics, rel=1e-12)
    metrics = reports[0].metrics
    assert metrics["loss"] == pytest.approx(metrics["dpo/loss"] + 0.5 * metrics["chosen_nll/loss"], rel=1e-12)
    assert metrics["chosen_nll/loss"] == pytest.approx(metrics["chosen_nll/nll"], rel=1e-12)
    assert metrics["kl"] > 0
    assert set(metrics) >= {"dpo/margin", "dpo/accuracy", "grad_norm", "lr", "tokens", "skipped"}
    assert metrics["tokens"] == sum(g.tokens for g in groups)


def test_policy_that_is_its_reference_has_margin_zero_and_loss_log_two() -> None:
    groups = make_groups(4)
    policy = ToyPolicy()
    columns = {"reference": {g.id: m for g, m in zip(groups, measure(policy, groups, BIG), strict=True)}}
    metrics = Engine(policy, settings()).step(groups, objective("dpo"), columns).metrics
    assert metrics["dpo/loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert metrics["kl"] == pytest.approx(0, abs=1e-10)


def test_measure_returns_each_groups_tokens_in_order_and_leaves_no_gradient() -> None:
    groups = make_groups(6, responses=3, empty=True)
    policy = ToyPolicy()
    apart = [policy.logps(policy.pack([g], BIG)[0]).tokens.detach().numpy() for g in groups]
    for budget in (BIG, 25):
        for got, expected in zip(measure(policy, groups, budget), apart, strict=True):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert gradient(policy.module) == {}


def test_training_lowers_the_loss_it_minimises() -> None:
    groups = make_groups(6, responses=1)
    engine = Engine(ToyPolicy(), settings(total_steps=30, schedule="cosine", warmup=0.1))
    seen = [engine.step(groups, objective("sft")).metrics["loss"] for _ in range(30)]
    assert seen[-1] < 0.5 * seen[0]


def test_gradient_is_clipped_to_the_norm_and_the_norm_before_is_reported() -> None:
    groups = make_groups(4, responses=1)
    free = ToyPolicy()
    Engine(free, settings()).accumulate(groups, objective("sft"))
    norm = float(torch.stack([g.norm() for g in gradient(free.module).values()]).norm())
    clipped = ToyPolicy()
    engine = Engine(clipped, settings(max_grad_norm=norm / 4))
    report = engine.step(groups, objective("sft"))
    assert report.metrics["grad_norm"] == pytest.approx(norm, rel=1e-10)
    expected = {name: g / 4 for name, g in gradient(free.module).items()}
    assert relative(gradient(clipped.module), expected) < 1e-10


def test_float32_norm_is_accurate_on_a_large_matrix() -> None:
    from hizala.engines.train.optim import squared_norm

    torch.manual_seed(0)
    grads = [torch.randn(4096, 256) * torch.rand(4096, 1) ** 4, torch.randn(256)]
    truth = sum(float(g.double().square().sum()) for g in grads)
    assert float(squared_norm(grads)) == pytest.approx(truth, rel=2e-6)


def test_norms_and_biases_do_not_decay() -> None:
    from hizala.engines.train import optim

    policy = ToyPolicy()
    built = optim.build(policy.module, settings(weight_decay=0.1))
    decayed = {id(p) for group in built.param_groups if group["weight_decay"] for p in group["params"]}
    for name, p in policy.module.named_parameters():
        assert (id(p) in decayed) == (not name.endswith("bias") and "norm" not in name), name


def poison(policy: ToyPolicy) -> None:
    with torch.no_grad():
        next(iter(policy.module.parameters()))[0, 0] = float("nan")


def test_non_finite_gradient_skips_the_step_counts_it_and_stops_after_the_limit() -> None:
    groups = make_groups(3, responses=1)
    policy = ToyPolicy()
    engine = Engine(policy, settings(nonfinite_limit=3))
    engine.step(groups, objective("sft"))
    healthy = next(iter(policy.module.parameters())).detach().clone()
    poison(policy)
    before = {n: p.detach().clone() for n, p in policy.module.named_parameters()}
    report = engine.step([*groups], objective("sft"))
    assert report.metrics["skipped"] == 1.0
    assert engine.skipped == 1
    for name, p in policy.module.named_parameters():
        torch.testing.assert_close(p.detach(), before[name], rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        next(iter(policy.module.parameters())).copy_(healthy)
    assert engine.step(groups, objective("sft")).metrics["skipped"] == 0.0
    poison(policy)
    engine.step(groups, objective("sft"))
    engine.step(groups, objective("sft"))
    with pytest.raises(TrainError, match="3 steps in a row"):
        engine.step(groups, objective("sft"))
    assert [f.count for f in engine.findings if f.kind == "nonfinite-gradient"] == [4]


def test_batch_with_nothing_to_count_gives_zero_loss_and_zero_gradient() -> None:
    group = TokenGroup([1, 2], (TokenBranch([3, 4], [False, False]),), "g0")
    policy = ToyPolicy()
    report = Engine(policy, settings()).step([group], objective("sft"))
    assert report.metrics["loss"] == 0.0
    assert report.metrics["grad_norm"] == 0.0
    assert report.metrics["skipped"] == 0.0


def test_evaluate_gives_one_value_a_group_and_agrees_with_the_step() -> None:
    groups = make_groups(7)
    for budget in (BIG, 30):
        engine = Engine(ToyPolicy(), settings(token_budget=budget))
        rows = engine.evaluate(groups, objective("dpo"), reference(groups))
        assert {len(values) for values in rows.values()} == {7}
        metrics = engine.step(groups, objective("dpo"), reference(groups)).metrics
        for name in ("loss", "dpo/margin", "dpo/accuracy", "dpo/chosen_logratio"):
            assert rows[name].mean() == pytest.approx(metrics[name], rel=1e-12)


def test_evaluate_leaves_a_group_without_counted_tokens_out_of_token_figures() -> None:
    groups = [*make_groups(3, responses=1), TokenGroup([1], (TokenBranch([2], [False]),), "empty")]
    rows = Engine(ToyPolicy(), settings()).evaluate(groups, objective("sft"))
    logps = measure(ToyPolicy(), groups, BIG)
    np.testing.assert_allclose(rows["nll/nll"], [-m.mean() for m in logps[:3]], rtol=1e-6)


def test_pairs_are_demanded_where_the_objective_takes_pairs() -> None:
    groups = make_groups(2, responses=3)
    with pytest.raises(TrainError, match="3 responses"):
        Engine(ToyPolicy(), settings()).step(groups, objective("dpo"), reference(groups))


def test_missing_column_missing_group_and_wrong_length_are_named() -> None:
    groups = make_groups(2)
    engine = Engine(ToyPolicy(), settings())
    with pytest.raises(TrainError, match="no such column"):
        engine.step(groups, objective("dpo"))
    with pytest.raises(TrainError, match="no group 'g1'"):
        engine.step(groups, objective("dpo"), reference(groups[:1]))
    columns = reference(groups)
    columns["reference"]["g1"] = columns["reference"]["g1"][:-1]
    with pytest.raises(TrainError, match="group g1"):
        engine.step(groups, objective("dpo"), columns)


def test_inseparable_loss_runs_whole_and_refuses_to_be_split() -> None:
    def coupled(policy: SeqLogps) -> Terms:
        return Terms(policy.total - policy.total.mean().detach(), "response", {})

    part = Loss("coupled", coupled, "response", "test", ("policy",), separable=False, unit="response")
    row = Algorithm("coupled", "response", {"coupled": 1.0}, "", "")
    losses.add("coupled", part)
    try:
        groups = make_groups(4, responses=1)
        target = Objective.of(row)
        assert np.isfinite(Engine(ToyPolicy(), settings()).step(groups, target).metrics["loss"])
        with pytest.raises(TrainError, match="couples the groups"):
            Engine(ToyPolicy(), settings(token_budget=10)).step(groups, target)
    finally:
        losses._entries.pop("coupled")


def test_objective_measures_the_union_and_keeps_only_weighted_losses() -> None:
    plain = objective("dpo")
    assert [p.loss.name for p in plain.parts] == ["dpo"]
    assert plain.measures == ("policy", "reference")
    both = objective("dpo", weights={"chosen_nll": 0.2})
    assert [(p.loss.name, p.weight) for p in both.parts] == [("dpo", 1.0), ("chosen_nll", 0.2)]
    assert objective("dpo", weights={"dpo": 0.0, "chosen_nll": 1.0}).measures == ("policy",)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dpo", {"params": {"bta": 0.1}}, "did you mean 'beta'"),
        ("dpo", {"params": {"beta": -1.0}}, "must be greater than 0"),
        ("dpo", {"params": {"beta": float("nan")}}, "beta is nan"),
        ("dpo", {"params": {"label_smoothing": 0.5}}, "must be less than 0.5"),
        ("dpo", {"weights": {"dpo": 0.0, "chosen_nll": 1.0}, "params": {"beta": 0.3}}, "beta has no effect"),
        ("dpo", {"weights": {"nll": 1.0}}, "has no loss 'nll'"),
        ("dpo", {"weights": {"dpo": 0.0}}, "every loss of 'dpo' has weight 0"),
        ("dpo", {"weights": {"dpo": -1.0}}, "must be at least 0"),
        ("dpo", {"reduction": "token"}, "reduction 'token' has no effect"),
        ("sft", {"reduction": "pair"}, "reduction 'pair' has no effect"),
    ],
)
def test_objective_refuses_what_is_unknown_out_of_bounds_or_without_effect(
    name: str, changes: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        objective(name, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"decay": 0.1, "schedule": "cosine"}, "decay has no effect"),
        ({"floor": 0.1}, "floor has no effect"),
        ({"schedule": "wsd", "warmup": 0.9, "decay": 0.2}, "longer than the run"),
        ({"betas": (0.9, 1.0)}, "betas is 1.0"),
    ],
)
def test_settings_refuse_what_is_wrong_or_without_effect(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_pairs_keep_each_side_of_each_group() -> None:
    groups = make_groups(3, empty=True)
    policy = ToyPolicy()
    logps = policy.logps(policy.pack(groups, BIG)[0])
    pairs = Pairs.of(logps)
    for index, group in enumerate(groups):
        alone = policy.logps(policy.pack([group], BIG)[0])
        torch.testing.assert_close(pairs.chosen.total[index], alone.total[0])
        torch.testing.assert_close(pairs.rejected.total[index], alone.total[1])


def test_schedule_sets_the_learning_rate_that_is_applied_and_reported() -> None:
    groups = make_groups(3, responses=1)
    scheduled, plain = ToyPolicy(), ToyPolicy()
    warm = Engine(scheduled, settings(learning_rate=1e-2, warmup=0.4))  # the first of four warm-up steps: a quarter
    report = warm.step(groups, objective("sft"))
    Engine(plain, settings(learning_rate=2.5e-3)).step(groups, objective("sft"))
    assert report.metrics["lr"] == pytest.approx(2.5e-3)
    for a, b in zip(scheduled.module.parameters(), plain.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=0)


def test_evaluate_averages_token_figures_over_all_responses_of_a_group() -> None:
    groups = make_groups(4, responses=3, empty=True)
    rows = Engine(ToyPolicy(), settings(token_budget=40)).evaluate(groups, objective("sft"))
    expected = [-m.mean() for m in measure(ToyPolicy(), groups, BIG) if len(m)]
    np.testing.assert_allclose(rows["nll/nll"], expected, rtol=1e-6)
