"""The documented forms are those that are read: every example scores, every option and figure is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from project_tree import ROOT

from hizala.readers.score import score, suites

PAGE = (ROOT / "docs" / "evaluation" / "forms.md").read_text(encoding="utf-8")
EXAMPLES = [
    (suite, form, block)
    for suite, form, block in re.findall(r"^### `(\w+)`: ([^\n]+)\n(?:.*?)^```json\n(.*?)^```$", PAGE, re.M | re.S)
]


def test_every_suite_has_examples() -> None:
    assert {suite for suite, _, _ in EXAMPLES} == set(suites.names())
    assert len(EXAMPLES) >= 18


@pytest.mark.parametrize(("suite", "form", "block"), EXAMPLES, ids=[f"{s}-{f}" for s, f, _ in EXAMPLES])
def test_a_documented_example_is_scored_as_that_form(suite: str, form: str, block: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    path.write_text(block, encoding="utf-8")
    options = {"rounds": 30} if suite.startswith("arena") else {}
    document = score(suite, path, **options).to_json()
    assert document["form"] == form
    assert document["results"]
    part = PAGE.partition(f"\n## {suite}\n")[2].partition("\n## ")[0]
    named = {key for figures in document["results"].values() for key in figures}
    assert sorted(key for key in named if f"`{key}`" not in part) == []


def test_every_option_is_named() -> None:
    for suite in suites:
        part = PAGE.partition(f"\n## {suite.name}\n")[2].partition("\n## ")[0]
        for option in suite.options.model_fields:
            assert f"--{option.replace('_', '-')}" in part, f"{suite.name}: --{option}"
