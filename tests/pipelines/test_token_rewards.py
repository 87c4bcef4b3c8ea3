"""Sampled responses tell rewards their number of tokens."""

from __future__ import annotations

import pytest

from hizala import world
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import build
from hizala.pipelines.candidates import Answers, Prompt
from hizala.records import Sample


def test_rewards_by_length_count_the_tokens_that_were_sampled() -> None:
    template = ChatTemplate.load(world.model_dir())
    (group,) = world.prompts(1, seed=4, tasks=["add"])
    prompt = Prompt(group, tuple(template.encode_prompt(group)))
    ids = template.encode_prompt(group)[:4]
    samples = tuple(Sample(tuple(ids[:n]), (-0.1,) * n, n == 4) for n in (2, 3, 4))
    answers = Answers(prompt, samples, tuple(template.decode(sample.ids) for sample in samples))
    rewards = build({"overlong": {"limit": 4, "buffer": 2}, "cosine": {"limit": 8}}, RewardContext(workers=1))
    (row,) = rewards.score([answers.as_group()])
    rewards.close()
    assert [verdict.parts["overlong"] for verdict in row] == [0.0, -0.5, -1.0]
    assert [verdict.parts["cosine"] for verdict in row] == sorted(verdict.parts["cosine"] for verdict in row)
    assert row[2].parts["cosine"] == pytest.approx(-5.0)
