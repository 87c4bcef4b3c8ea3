"""Recipes with graded attributes: a reward model of several, and a gate that mixes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hizala import world
from hizala.api import run
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.reward import Gated
from hizala.errors import ConfigError
from hizala.pipelines.context import ModelRef
from hizala.pipelines.evals.reward_scorers import Opening, rewarded
from hizala.pipelines.scorers import load_scorer

TEMPLATE = ChatTemplate.load(world.model_dir())
TINY = "steps: 2, batch_size: 4, holdout: 0"


def graded(path: Path, number: int = 24) -> Path:
    """A file of responses of the world, each graded for its truth and for its length; some grades lack."""
    rows = []
    for group in world.rankings(number, seed=1):
        for place, response in enumerate(group.responses):
            grades: dict[str, float | None] = {
                "truth": world.gold(group, response.text).value,
                "length": len(response.text) / 100,
            }
            if place == 1:
                grades["length"] = None
            rows.append({"prompt": group.prompt[-1].content, "response": response.text, "attributes": grades})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_attributes_are_regressed_and_a_gate_mixes_them(write_recipe, tmp_path) -> None:
    data = graded(tmp_path / "graded.jsonl")
    run(
        write_recipe(
            f"reward_attributes: {{data: {data}, names: [truth, length], {TINY}}}",
            'reward_gate: {data: "world:preferences?n=60", decay: 0.1}',
            name="gate",
        )
    )
    stages = tmp_path / "runs/gate/stages"
    plain, gated = stages / "01-reward_attributes/model", stages / "02-reward_gate/model"
    config = json.loads((plain / "config.json").read_text())
    assert config["id2label"] == {"0": "truth", "1": "length"}
    pairs = [TEMPLATE.encode_group(group) for group in world.preferences(5, seed=3, split="test")]
    with pytest.raises(ConfigError, match="truth, length"):
        load_scorer(plain)
    scorer = load_scorer(gated)
    assert isinstance(scorer, Gated)
    assert [len(scores) for scores in scorer.score(pairs)] == [2] * 5
    # The attributes themselves are as they were, and can still be weighed by hand.
    for path in (plain, gated):
        fixed = load_scorer(path, weights={"truth": 1.0}).score(pairs)
        np.testing.assert_array_equal(fixed[0], load_scorer(plain, weights={"truth": 1.0}).score(pairs)[0])
    lines = [json.loads(line) for line in (tmp_path / "runs/gate/ledger.jsonl").read_text().splitlines()]
    told = next(str(line) for line in lines if "accuracy of equal shares" in str(line))
    assert "share of truth" in told
    how = Opening("cpu", "chat", 512, 4096, {"truth": 1.0})
    found = {one.name for one in rewarded(ModelRef("gate", gated, "d", kind="reward"), how)}
    assert found == {"gate", "gate:weighted", "gate:truth", "gate:length"}


def test_a_gate_needs_a_reward_model_of_attributes(write_recipe) -> None:
    with pytest.raises(ConfigError, match="there is no reward model before this stage"):
        run(write_recipe('reward_gate: {data: "world:preferences?n=20"}', name="none"))
    one = f'reward: {{data: "world:preferences?n=20", {TINY}}}'
    with pytest.raises(ConfigError, match="no attributes that a gate could weigh"):
        run(write_recipe(one, 'reward_gate: {data: "world:preferences?n=20"}', name="single"))
    with pytest.raises(ConfigError, match="no reward model 'rewar', did you mean 'reward'"):
        run(write_recipe(one, 'reward_gate: {data: "world:preferences?n=20", reward: rewar}', name="named"))
