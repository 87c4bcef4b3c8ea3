"""A judge named in a recipe is that judge: a reward model of an earlier stage, an earlier policy in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hizala import config
from hizala.engines.policy import load
from hizala.engines.reward.generative import GenerativeJudge
from hizala.engines.reward.verdicts import Form
from hizala.errors import HizalaError
from hizala.pipelines.build import run
from hizala.pipelines.judgements import language_of
from hizala.pipelines.material import load_template
from hizala.pipelines.scorers import TextScorer, load_scorer
from hizala.records import Group, Message, Response
from hizala.world import prompts

ONLINE = 'online_dpo: {data: "world:prompts?n=16", steps: 1, batch_size: 4, samples: 3, max_tokens: 24, judge: "JUDGE"}'


def judged(stage: Path) -> tuple[list[Group], list[list[float]]]:
    """The candidates of a stage as groups, and the scores they were given."""
    known = {g.prompt[-1].content: g for g in prompts(n=16)}
    groups, scores = [], []
    for line in (stage / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        said = tuple(Response((Message("assistant", c["text"]),), truncated=c["truncated"]) for c in row["candidates"])
        own = known[row["prompt"]]
        groups.append(Group(own.prompt, said, own.id, own.meta))
        scores.append([c["score"] for c in row["candidates"]])
    return groups, scores


@pytest.mark.parametrize("named", ["reward", "directory"])
def test_a_reward_model_scores_the_samples(write_recipe: Callable[..., Path], named: str) -> None:
    reward = 'reward: {data: "world:preferences?n=32", steps: 2, batch_size: 8}'
    first = run(config.load(write_recipe(reward, name="rm"))).models["reward"]
    name = "reward:reward" if named == "reward" else f"reward:{first}"
    stages = (reward, ONLINE.replace("JUDGE", name)) if named == "reward" else (ONLINE.replace("JUDGE", name),)
    result = run(config.load(write_recipe(*stages)))
    groups, scores = judged(next((result.path / "stages").glob("*online_dpo")))
    expected = TextScorer(load_scorer(first), load_template(first, "chat")).score(groups)
    for mine, own in zip(expected, scores, strict=True):
        np.testing.assert_allclose(mine, own, atol=1e-4)


def test_an_earlier_model_judges_in_words(write_recipe: Callable[..., Path]) -> None:
    stage = ONLINE.replace("JUDGE", "text:pairwise").replace("samples: 3", "samples: 3, judge_model: base")
    result = run(config.load(write_recipe(stage)))
    groups, scores = judged(result.path / "stages" / "01-online_dpo")
    base = result.models["base"]
    judge = GenerativeJudge(load(base), load_template(base, "chat"), Form("pairwise"), language_of=language_of)
    expected = [[v.value for v in some] for some in judge.score(groups)]
    np.testing.assert_allclose(expected, scores, atol=1e-4)


def test_a_judge_that_reasons_scores_what_can_be_read_and_nothing_else(write_recipe: Callable[..., Path]) -> None:
    result = run(config.load(write_recipe(ONLINE.replace("JUDGE", "text:pointwise+reasoning"))))
    _, scores = judged(result.path / "stages" / "01-online_dpo")
    flat = [score for some in scores for score in some]
    assert all(score is None or 0.0 <= score <= 1.0 for score in flat)
    assert None in flat, "a model that never learnt the form gives verdicts that cannot be read"


@pytest.mark.parametrize(
    ("judge", "message"),
    [("reward:rm", "no reward model 'rm'"), ('text:pairwise", judge_model: "sft', "no earlier model 'sft'")],
)
def test_a_judge_that_is_not_there_is_named(write_recipe: Callable[..., Path], judge: str, message: str) -> None:
    with pytest.raises(HizalaError, match=message):
        run(config.load(write_recipe(ONLINE.replace("JUDGE", judge))))
