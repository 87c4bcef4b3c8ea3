"""Every recipe and every part of one that the documentation shows loads as it stands."""

from __future__ import annotations

import re
from textwrap import dedent, indent

import pytest
from project_tree import ROOT

import hizala.pipelines  # noqa: F401 (registers the stages)
from hizala.config import loads

FENCE = re.compile(r"^```yaml\n(.*?)^```", re.S | re.M)
SHOWN = [
    (f"{page.relative_to(ROOT / 'docs').as_posix()}-{number}", match.group(1))
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if "_site" not in page.parts
    for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")), 1)
]


def test_recipes_are_shown() -> None:
    assert len(SHOWN) > 30


@pytest.mark.parametrize("text", [text for _, text in SHOWN], ids=[name for name, _ in SHOWN])
def test_a_recipe_in_the_docs_loads(text: str) -> None:
    if not text.startswith("name:"):
        text = "name: part\nstages:\n" + indent(dedent(text), "  ")
    assert loads(text).stages
