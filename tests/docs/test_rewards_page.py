"""The pages about rewards: a row for each, every setting named, and recipes and code that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import hizala.engines.reward.known  # noqa: F401 (registers what ships)
from hizala.config import schema_of
from hizala.engines.reward.compose import read
from hizala.registry import RewardSpec, rewards

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"en": (DOCS / "rewards.md").read_text("utf-8"), "tr": (DOCS / "tr" / "oduller.md").read_text("utf-8")}
SHIPPED = [spec for spec in rewards if spec.fn.__module__.startswith("hizala.")]


def row(page: str, name: str) -> str:
    """A reward's row of the table."""
    (found,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: spec.name)
def test_every_reward_has_its_row_with_what_it_needs_and_its_settings(spec: RewardSpec) -> None:
    for page in PAGES.values():
        assert all(f"`{key}`" in row(page, spec.name) for key in spec.needs)
    english = row(PAGES["en"], spec.name)
    told = re.findall(r"`(\w+)`", english.rstrip("| ").rpartition("|")[2])
    assert told == list(schema_of(spec.fn).model_fields)
    assert ("| worker |" in english) == spec.isolated


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_recipes_of_the_page_are_read(page: str) -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    assert blocks
    for block in blocks:
        stage = block[0]["grpo"] if isinstance(block, list) else block
        assert read(stage["rewards"])


def test_the_reward_written_on_the_page_works() -> None:
    from hizala.records import Group, Message, Response

    (code,) = re.findall(r"```python\n(.*?)```", PAGES["en"], re.DOTALL)
    names: dict[str, object] = {"__name__": "page"}
    exec(code, names)
    brief = rewards.get("brief")
    asked = Group((Message("user", "?"),), (), "", {"budget": 3})
    assert brief.fn(Response((Message("assistant", "one two three"),)), asked) == 1.0
    assert brief.fn(Response((Message("assistant", "one two three four"),)), asked, slack=0.1) == 0.0
    assert not brief.isolated
