"""Demonstrations of tool use: the call is right, the reply is the calculator's, the answer is the reply."""

from __future__ import annotations

import pytest

from hizala import world
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import ConfigError
from hizala.world.calculator import call, evaluate, shown
from hizala.world.tooluse import expression_of


def test_every_demonstration_calls_reads_the_reply_and_answers_with_it() -> None:
    for group in world.tools(200, 5):
        asked, told, answered = group.responses[0].messages
        assert [m.role for m in (asked, told, answered)] == ["assistant", "tool", "assistant"]
        expression = call(asked.content)
        assert expression is not None
        assert told.content == shown(evaluate(expression)) == str(group.meta["answer"])
        assert world.gold(group, answered.content).value == 1.0


def test_every_kind_of_arithmetic_has_an_expression_of_its_answer() -> None:
    groups = world.prompts(300, tasks=("arithmetic",))
    assert {group.meta["truth"]["kind"] for group in groups} >= {"add", "sub", "mul", "gain", "loss", "times", "both"}
    for group in groups:
        assert evaluate(expression_of(group)) == group.meta["answer"]


def test_skill_is_the_share_of_right_calls() -> None:
    groups = world.tools(600, skill=0.7)
    right = [world.gold(group, group.responses[0].messages[-1].content).value == 1.0 for group in groups]
    assert sum(right) / 600 == pytest.approx(0.7, abs=0.06)
    wrong = [group for group, good in zip(groups, right, strict=True) if not good]
    # Also a wrong call is answered truly: the tool does not lie.
    for group in wrong:
        asked, told, _ = group.responses[0].messages
        assert told.content == shown(evaluate(call(asked.content) or ""))


def test_recipes_reach_them_and_only_arithmetic_takes_a_calculator() -> None:
    assert world.resolve("world:tools?n=9&tasks=mul&lang=tr") == world.tools(9, tasks=("mul",), lang="tr")
    with pytest.raises(ConfigError, match="takes no calculator"):
        world.tools(3, tasks=("style",))
    with pytest.raises(ConfigError, match="not a share"):
        world.tools(3, skill=1.5)


def test_only_the_policys_own_turns_are_trained() -> None:
    template = ChatTemplate.load(world.model_dir())
    group = world.tools(1, 2)[0]
    (branch,) = template.encode_group(group).responses
    trained = template.decode([i for i, counts in zip(branch.ids, branch.mask, strict=True) if counts])
    asked, told, answered = group.responses[0].messages
    assert trained == asked.content + answered.content
    assert told.content in template.decode([i for i, m in zip(branch.ids, branch.mask, strict=True) if not m])
