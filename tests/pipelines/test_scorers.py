"""Reward models from directories: trained by recipes, opened by kind, asked in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hizala import world
from hizala.api import run
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import load
from hizala.engines.reward import Classifier, Ensemble, Implicit, Process
from hizala.errors import ConfigError, ModelError
from hizala.pipelines.scorers import TextScorer, load_scorer
from hizala.records import Group, Message, Response

TEMPLATE = ChatTemplate.load(world.model_dir())


def made(write_recipe: Callable[..., Path], tmp_path: Path, *stages: str, name: str) -> list[Path]:
    run(write_recipe(*stages, name=name))
    return sorted((tmp_path / "runs" / name / "stages").glob("*/model"))


def tokens(number: int = 6) -> list:
    return [TEMPLATE.encode_group(group) for group in world.preferences(number, seed=9, split="test")]


def test_recipes_train_every_kind_of_reward_model_and_scorers_open_them(write_recipe, tmp_path) -> None:
    tiny = "steps: 2, batch_size: 4, holdout: 0, limit: 24"
    single, members, lists, steps = made(
        write_recipe,
        tmp_path,
        f'reward: {{data: "world:preferences?n=24", {tiny}}}',
        f'reward: {{name: many, data: "world:preferences?n=24", members: 3, reward_centre_weight: 0.01, {tiny}}}',
        f'reward_kwise: {{data: "world:rankings?n=24", {tiny}}}',
        f'reward_process: {{data: "world:steps?n=24", {tiny}}}',
        name="kinds",
    )
    groups = tokens()
    scorer = load_scorer(single)
    assert isinstance(scorer, Classifier)
    plain = scorer.score(groups)
    policy = load(single)
    expected = policy.scores(policy.pack(groups, 100_000)[0]).detach().numpy()
    np.testing.assert_allclose(np.concatenate(plain), expected, atol=1e-5)

    least = load_scorer(members, how="minimum").score(groups)
    mean = load_scorer(members, how="mean").score(groups)
    assert all((a <= b).all() for a, b in zip(least, mean, strict=True))
    with pytest.raises(ConfigError, match="member_1, member_2, member_3"):
        load_scorer(members)

    both = load_scorer([single, lists], how="mean-std", lam=1.0, centred=True)
    assert isinstance(both, Ensemble)
    assert [len(scores) for scores in both.score(groups)] == [2] * 6

    stepwise = load_scorer(steps, aggregation="product")
    assert isinstance(stepwise, Process)
    marked = world.steps(4, seed=9, split="test")
    text = TextScorer(stepwise, TEMPLATE)
    for group, rows, scores in zip(marked, text.steps(marked), text.score(marked), strict=True):
        assert [len(row) for row in rows] == [len(r.steps) for r in group.responses]
        assert scores == pytest.approx([row.prod() for row in rows])

    implicit = load_scorer(world.model_dir(), reference=world.model_dir(), beta=0.1)
    assert isinstance(implicit, Implicit)
    assert np.concatenate(implicit.score(groups)).tolist() == [0.0] * 12


def test_a_choice_without_effect_or_left_open_is_an_error(tmp_path) -> None:
    load(world.model_dir(), heads=("score",)).save(tmp_path / "whole")
    load(world.model_dir(), heads=("step",)).save(tmp_path / "steps")
    for path, options, told in (
        (tmp_path / "whole", {"aggregation": "min"}, "aggregation has no effect on a model of responses"),
        (tmp_path / "whole", {"beta": 0.1}, "beta has no effect on a model of responses"),
        (tmp_path / "whole", {"how": "mean"}, "would have no effect"),
        (tmp_path / "whole", {"centred": True}, "centred has no effect"),
        (tmp_path / "steps", {}, "needs an aggregation"),
        (tmp_path / "steps", {"aggregation": "min", "how": "mean"}, "how has no effect on a model of steps"),
        (world.model_dir(), {}, "holds a policy and no reward model"),
        (world.model_dir(), {"weights": {"a": 1.0}}, "weights has no effect on a policy"),
        ([tmp_path / "whole", tmp_path / "whole"], {}, "needs a combination"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_scorer(path, **options)
    with pytest.raises(ModelError, match="no config"):
        load_scorer(tmp_path / "nothing")


def answers(*texts: str) -> Group:
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    return Group((Message("user", "2 + 2 kaç eder?"),), responses, id="g")


def test_a_prompt_that_leaves_no_room_is_not_scored(tmp_path) -> None:
    load(world.model_dir(), heads=("score",)).save(tmp_path)
    long = Group((Message("user", "kaç " * 200),), answers("4").responses, id="long")
    scores = TextScorer(load_scorer(tmp_path), TEMPLATE, max_length=64).score([answers("4", "beş"), long])
    assert np.isfinite(scores[0]).all()
    assert math.isnan(scores[1][0])


def test_text_without_marks_is_asked_step_by_step(tmp_path) -> None:
    load(world.model_dir(), heads=("step",)).save(tmp_path)
    group = answers("2 + 2 = 4\n4", "beş")
    scorer = TextScorer(load_scorer(tmp_path, aggregation="last"), TEMPLATE)
    rows = scorer.steps([group])[0]
    assert [len(row) for row in rows] == [2, 1]
    assert scorer.score([group])[0] == pytest.approx([row[-1] for row in rows])
    cut = TextScorer(load_scorer(tmp_path, aggregation="last"), TEMPLATE, max_length=24)
    long = answers("1 + 1 + 2\n4 " + "eder " * 30)
    assert np.isnan(cut.steps([long])[0][0]).tolist() == [False, True]
    # What was not read may be wrong: neither the last step nor the weakest one is known.
    assert math.isnan(cut.score([long])[0][0])


def test_only_a_model_of_steps_scores_steps(tmp_path) -> None:
    load(world.model_dir(), heads=("score",)).save(tmp_path)
    with pytest.raises(ConfigError, match="scores whole responses and no steps"):
        TextScorer(load_scorer(tmp_path), TEMPLATE).steps([answers("4")])


def test_members_of_an_ensemble_differ_by_the_seed_of_their_stage(write_recipe, tmp_path) -> None:
    """Two stages of one recipe with seeds of their own start apart and see the data in another order."""
    tiny = 'data: "world:preferences?n=24", steps: 1, batch_size: 4, holdout: 0'
    paths = made(
        write_recipe,
        tmp_path,
        f"reward: {{name: a, {tiny}}}",
        f"reward: {{name: b, seed: 11, {tiny}}}",
        f"reward: {{name: c, seed: 3, {tiny}}}",
        name="seeds",
    )
    one, other, same = (load(path).module.heads["score"].weight for path in paths)
    assert not one.allclose(other)
    assert one.equal(same)  # the recipe's own seed is 3
