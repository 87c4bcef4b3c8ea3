"""The table of methods is the registry's, and every row and every loss has a page."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
from project_tree import ROOT

import hizala.core.losses  # noqa: F401 (registers the losses)
from hizala.algorithms import algorithms
from hizala.registry import losses

TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "methods_table.py"))
PAGES = {p.name: p.read_text(encoding="utf-8") for p in TABLE["METHODS"].glob("*.md") if p != TABLE["TABLE"]}


def test_the_committed_table_is_current() -> None:
    committed = TABLE["TABLE"].read_text(encoding="utf-8")
    assert committed == TABLE["table"](), "run: python scripts/methods_table.py"


@pytest.mark.parametrize("name", algorithms.names())
def test_a_row_has_a_page_and_a_line(name: str) -> None:
    assert name in TABLE["page_of"]()
    assert f"| [`{name}`](" in TABLE["table"]()


@pytest.mark.parametrize("name", TABLE["beside"]())
def test_a_stage_has_a_page(name: str) -> None:
    assert name in TABLE["page_of"]()


@pytest.mark.parametrize("name", losses.names())
def test_a_loss_is_explained_on_a_page(name: str) -> None:
    assert any(f"`{name}`" in text for text in PAGES.values())


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_names_its_paper(page: str) -> None:
    assert "Source" in PAGES[page]


def test_no_two_pages_claim_a_row() -> None:
    names = [name for text in PAGES.values() for name in TABLE["named"](text.split("\n", 1)[0])]
    assert len(names) == len(set(names))
