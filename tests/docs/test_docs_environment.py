"""The environment that the documentation shows works as it says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from project_tree import ROOT

from hizala import registry
from hizala.records import Group, Message
from hizala.registry import Registry


def test_the_environment_of_the_guide_is_registered_and_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "environments", Registry("environment"))
    text = (ROOT / "docs" / "reasoning.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    space: dict[str, Any] = {}
    exec(compile(shown, "docs/reasoning.md", "exec"), space)
    dice = registry.environments.get("dice").make()
    state = dice.reset(Group((Message("user", "?"),)), 11)
    said = []
    for _ in range(6):
        again = dice.step(state, "<roll/>")
        reply, state = dice.step(state, "<roll/>")
        assert again == (reply, state)
        said.append(reply)
    assert set(said) <= set("123456")
    assert len(set(said)) > 1
    assert dice.step(state, "enough") == (None, state)
