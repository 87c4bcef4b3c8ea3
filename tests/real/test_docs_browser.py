"""The documentation in real headless Chromium without network: formulas have size, no source of them is left."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import MARKS, browsing, console, forget, requested, show
from project_tree import ROOT

pytestmark = MARKS
DOCS: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "build_docs.py"))
PAGES = DOCS["pages"](ROOT / "docs")
# Width, height and text of every formula, and the text of the page outside of code.
LOOK = """
const size = (e) => { const b = e.getBoundingClientRect(); return [b.width, b.height, e.textContent]; };
const copy = document.querySelector('main').cloneNode(true);
copy.querySelectorAll('code, pre').forEach((e) => e.remove());
return {math: [...document.querySelectorAll('math')].map(size), text: copy.textContent,
  namespace: [...document.querySelectorAll('math, math *')].every((e) => e.namespaceURI.endsWith('MathML')),
  cut: [...document.querySelectorAll('.math.block')].filter((e) => e.scrollWidth > e.clientWidth + 1).length,
  wide: document.documentElement.scrollWidth, inner: innerWidth, title: document.title};
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("docs") / "_site"
    DOCS["build"](ROOT / "docs", out)
    return out


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsing(tmp_path_factory.mktemp("profile"), offline=True) as found:
        yield found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_its_formulas_offline(page: Any, site: Path, driver: Any) -> None:
    show(driver, 1200)
    forget(driver)
    driver.get((site / page.target).as_uri())
    seen = driver.execute_script(LOOK)
    text = page.source.read_text(encoding="utf-8")
    if page.name.startswith(("methods/", "tr/methods/")) and page.name != "methods/README.md":
        assert seen["math"], "a method without a formula"
        assert "$" in text
    for width, height, words in seen["math"]:
        assert width > 3, words
        assert height > 5, words
        assert "\\" not in words
    assert seen["namespace"]
    assert seen["cut"] == 0, "a formula wider than the page"
    for left in ("$", "\\frac", "\\log", "\\pi", "\\mathrm", "\\begin"):
        assert left not in seen["text"], left
    assert seen["title"].strip()
    assert console(driver) == []
    assert all(address.startswith(("file:", "data:")) for address in requested(driver))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_phone_needs_no_sideways_scrolling(page: Any, site: Path, driver: Any) -> None:
    show(driver, 375)
    driver.get((site / page.target).as_uri())
    seen = driver.execute_script(LOOK)
    assert seen["wide"] <= seen["inner"]


def test_a_reader_goes_from_the_index_to_a_method_and_to_turkish_and_back(site: Path, driver: Any) -> None:
    show(driver, 1200)
    driver.get((site / "index.html").as_uri())
    driver.find_element("css selector", "nav a[href='methods/index.html']").click()
    driver.find_element("css selector", "main a[href='dpo.html']").click()
    english = driver.execute_script("return [document.documentElement.lang, document.querySelectorAll('math').length]")
    driver.find_element("css selector", "nav a.lang").click()
    turkish = driver.execute_script("return [document.documentElement.lang, document.querySelectorAll('math').length]")
    assert [english[0], turkish[0]] == ["en", "tr"]
    assert min(english[1], turkish[1]) > 10
    driver.find_element("css selector", "nav a.lang").click()
    assert driver.current_url.endswith("methods/dpo.html")


def test_a_fraction_is_drawn_as_one(site: Path, driver: Any) -> None:
    show(driver, 1200)
    driver.get((site / "methods" / "dpo.html").as_uri())
    above, below = driver.execute_script(
        "const f = document.querySelector('math[display=block] mfrac'); return [...f.children].map(e => {"
        " const b = e.getBoundingClientRect(); return [b.top, b.bottom]; })"
    )
    assert above[1] <= below[0]
