"""The documentation builds: every formula converts, every link leads somewhere, what is wrong is named."""

from __future__ import annotations

import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from project_tree import ROOT

DOCS: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "build_docs.py"))
PAGES = DOCS["pages"](ROOT / "docs")
Error = DOCS["DocsError"]


class Links(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.links.append(value)
            if key == "id" and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("site") / "_site"
    DOCS["build"](ROOT / "docs", out)
    return out.resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_its_formulas_as_mathml_and_its_links_lead_somewhere(page: Any, site: Path) -> None:
    target = site / page.target
    text = target.read_text(encoding="utf-8")
    source = re.sub(r"```.*?```|`[^`]*`", "", page.source.read_text(encoding="utf-8"), flags=re.S)
    formulas = len(re.findall(r"\$\$.+?\$\$|\$[^$]+\$", source, flags=re.S))
    assert text.count("<math") == formulas
    visible = re.sub(r"<style>.*?</style>|<pre>.*?</pre>|<code>.*?</code>|<[^>]+>", " ", text, flags=re.S)
    assert "$" not in visible
    assert not re.search(r"\\[a-zA-Z]+", visible)
    assert "<script" not in text
    found = Links()
    found.feed(text)
    for link in found.links:
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        aim = (target.parent / unquote(name)).resolve() if name else target
        assert aim.exists(), link
        if anchor and aim.suffix == ".html":
            there = Links()
            there.feed(aim.read_text(encoding="utf-8"))
            assert unquote(anchor) in there.anchors, link


def test_the_languages_link_to_each_other() -> None:
    pairs = {page.name: page.other for page in PAGES if page.other}
    assert all(pairs[other] == name for name, other in pairs.items())
    for page in PAGES:
        if page.lang == "tr":
            assert page.other, f"{page.name} has no English page"
    for method in ("dpo", "kto", "simpo", "orpo", "reward-models"):
        assert f"methods/{method}.md" in pairs


@pytest.mark.parametrize(
    "tex",
    [r"\nosuch x", r"\begin{aligned}a&=b\end{aligned}", r"\frac{a}", r"\frac{a", "x^", r"\operatorname{arg\,max}"],
)
def test_a_formula_that_does_not_convert_is_refused_and_named(tex: str) -> None:
    with pytest.raises(Error, match=re.escape(tex)):
        DOCS["mathml"](tex, display=True)


def test_names_stand_as_words_and_limits_below() -> None:
    made = DOCS["mathml"](r"\max_\pi \mathrm{KL}(\pi) + \log x", display=True)
    assert "<mi>KL</mi>" in made
    assert "<munder><mo>max</mo><mi>π</mi></munder>" in made
    assert '<mi>log</mi><mspace width="0.167em"></mspace><mi>x</mi>' in made
    made = DOCS["mathml"](r"\beta \log \mathtt{label\_smoothing} + f(x) \log y", display=False)
    assert '<mi>β</mi><mspace width="0.167em"></mspace><mi>log</mi>' in made
    assert '<mtext class="code">label_smoothing</mtext>' in made
    assert made.count("mspace") == 2 * 3
    assert "munder" not in DOCS["mathml"](r"\max_\pi x", display=False)


def test_a_page_with_a_fault_is_named(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for text, what in ((r"a $\nosuch$ b", "nosuch"), ("a [link](gone.md) b", "gone.md")):
        (docs / "bad.md").write_text(text, encoding="utf-8")
        with pytest.raises(Error, match=rf"bad\.md: .*{what}"):
            DOCS["build"](docs, tmp_path / "out")


def test_raw_html_in_a_page_stays_text(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "README.md").write_text("# Page\n\n<script>alert(1)</script>\n", encoding="utf-8")
    made = DOCS["build"](docs, tmp_path / "out")
    assert "<script>" not in made[0].read_text(encoding="utf-8")
