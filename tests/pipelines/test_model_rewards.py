"""Reward models as rewards of online RL: opened by name, scored as their scorers score them, combined as said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hizala import world
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import load
from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import build
from hizala.errors import ConfigError
from hizala.pipelines.scorers import TextScorer, load_scorer
from hizala.records import Group, Message, Response

TEMPLATE = ChatTemplate.load(world.model_dir())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two reward models of responses and one of steps, their heads at random."""
    found = {}
    for seed, (name, head) in enumerate({"one": "score", "two": "score", "steps": "step"}.items()):
        found[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(seed)
        policy = load(world.model_dir(), heads=(head,))
        with torch.no_grad():
            for parameter in policy.module.heads.parameters():
                parameter.normal_()
        policy.save(found[name])
    return found


@pytest.fixture
def context(models: dict[str, Path]) -> RewardContext:
    """A context that opens them by name."""

    def open_model(names: Sequence[str], settings: Mapping[str, Any]) -> TextScorer:
        paths = [models[name] for name in names]
        return TextScorer(load_scorer(paths[0] if len(paths) == 1 else paths, **settings), TEMPLATE)

    return RewardContext(open_model=open_model)


def asked(*texts: str) -> Group:
    """A prompt with these responses."""
    said = tuple(Response((Message("assistant", text),)) for text in texts)
    return Group((Message("user", "2 + 2 kaç eder?"),), said, "g")


GROUPS = [asked("Cevap: 4", "2 + 2 = 4\nCevap: 4", "beş"), asked("4"), asked()]


def test_the_reward_is_the_models_score(models: dict[str, Path], context: RewardContext) -> None:
    composed = build({"quality": {"kind": "reward_model", "model": "one", "weight": 2.0}}, context)
    found = composed.score(GROUPS)
    expected = TextScorer(load_scorer(models["one"]), TEMPLATE).score(GROUPS)
    assert [len(row) for row in found] == [3, 1, 0]
    for row, scores in zip(found, expected, strict=True):
        assert [verdict.value for verdict in row] == pytest.approx((2.0 * scores).tolist())
    again = [verdict.value for verdict in composed.score(GROUPS[:1])[0]]
    assert again == pytest.approx([verdict.value for verdict in found[0]])  # beside others the last bits may differ
    assert composed.report()["quality"].cached == 0


@pytest.mark.parametrize(("how", "lam"), [("mean", None), ("minimum", None), ("mean-std", 0.5)])
def test_an_ensemble_is_combined_as_said(
    models: dict[str, Path], context: RewardContext, how: str, lam: float | None
) -> None:
    spec = {"model": ["one", "two"], "how": how, **({} if lam is None else {"lam": lam})}
    (row,) = build({"reward_model": spec}, context).score(GROUPS[:1])
    each = np.stack([TextScorer(load_scorer(models[n]), TEMPLATE).score(GROUPS[:1])[0] for n in ("one", "two")])
    expected = each.mean(0) if how != "minimum" else each.min(0)
    expected = expected - (lam or 0.0) * each.std(0)
    assert [verdict.value for verdict in row] == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_centred_ensemble_has_mean_zero_in_a_group(context: RewardContext) -> None:
    spec = {"model": ["one", "two"], "how": "mean", "centred": True}
    composed = build({"reward_model": spec}, context)
    (row,) = composed.score(GROUPS[:1])
    assert sum(verdict.value or 0.0 for verdict in row) == pytest.approx(0.0, abs=1e-6)


def test_a_process_model_scores_steps_and_brings_them_together_as_said(
    models: dict[str, Path], context: RewardContext
) -> None:
    steps = TextScorer(load_scorer(models["steps"], aggregation="min"), TEMPLATE).steps(GROUPS[:1])[0]
    for aggregation, expected in (("min", np.min), ("mean", np.mean), ("product", np.prod)):
        spec = {"process_model": {"model": "steps", "aggregation": aggregation}}
        (row,) = build(spec, context).score(GROUPS[:1])
        assert [verdict.value for verdict in row] == pytest.approx([float(expected(s)) for s in steps])


def test_what_a_model_cannot_score_is_not_scored(context: RewardContext) -> None:
    composed = build({"process_model": {"model": "steps", "aggregation": "min"}}, context)
    (row,) = composed.score([asked("", "4", "a\0b", "\u202e4")])
    assert row[0].value is None
    assert row[0].reason == "process_model: the model has no score for it"
    assert all(verdict.value is not None for verdict in row[1:])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"reward_model": {}}, "model: Field required"),
        ({"reward_model": {"model": []}}, "names no model"),
        ({"reward_model": {"model": ["one", "two"]}}, "needs a combination"),
        ({"reward_model": {"model": "one", "centred": True}}, "centred has no effect"),
        ({"reward_model": {"model": "one", "how": "mean-std"}}, "needs lam"),
        ({"reward_model": {"model": "one", "lam": 0.5}}, "needs a combination"),
        ({"process_model": {"model": "steps"}}, "aggregation: Field required"),
        (
            {"process_model": {"model": "one", "aggregation": "min"}},
            "aggregation has no effect on a model of responses",
        ),
        ({"reward_model": {"model": "steps"}}, "needs an aggregation"),
    ],
)
def test_settings_that_do_not_fit_are_refused(context: RewardContext, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec, context)


def test_without_a_recipe_there_is_nobody_to_open_a_model() -> None:
    with pytest.raises(ConfigError, match="cannot be opened here"):
        build({"reward_model": {"model": "one"}})
