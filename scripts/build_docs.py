"""Build the documentation as static pages: Markdown to HTML, formulas to MathML, nothing fetched and no script.

`python scripts/build_docs.py [--out docs/_site]`, or `make docs`. A formula that does not convert, or a link that leads
nowhere, stops the build and is named.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

ROOT = Path(__file__).resolve().parents[1]
# Turkish pages whose file has another name than the English one.
TURKISH = {
    "reward-models.md": "tr/odul-modelleri.md",
    "rewards.md": "tr/oduller.md",
    "methods/reward-models.md": "tr/methods/odul-modelleri.md",
}
WORDS = {
    "en": {"home": "Hizala", "methods": "Methods", "guide": "Guide", "world": "World", "other": "Türkçe"},
    "tr": {"home": "Hizala", "methods": "Yöntemler", "guide": "Kılavuz", "world": "Dünya", "other": "English"},
}


class DocsError(Exception):
    """A page that cannot be built: the page, what is wrong in it."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its source under docs/, its place in the site, its language, and the same page in the other one."""

    source: Path
    name: str
    lang: str
    other: str | None

    @property
    def target(self) -> str:
        """Place in the site: README.md becomes index.html."""
        return html_name(self.name)


def html_name(name: str) -> str:
    """The page made of a Markdown file."""
    path = Path(name)
    return path.with_name("index.html" if path.name == "README.md" else f"{path.stem}.html").as_posix()


def pages(docs: Path) -> list[Page]:
    """All pages under a docs folder, sorted by name."""
    names = sorted(
        p.relative_to(docs).as_posix() for p in docs.rglob("*.md") if not p.relative_to(docs).parts[0].startswith("_")
    )
    turkish = {english: TURKISH.get(english, f"tr/{english}") for english in names if not english.startswith("tr/")}
    pairs = {english: other for english, other in turkish.items() if other in names}
    back = {other: english for english, other in pairs.items()}
    return [
        Page(docs / n, n, "tr" if n.startswith("tr/") else "en", back.get(n) if n.startswith("tr/") else pairs.get(n))
        for n in names
    ]


# --- formulas

# How many parts an element of MathML must have.
PARTS = {"mfrac": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "mroot": 2, "msubsup": 3, "munderover": 3}


def mathml(tex: str, *, display: bool) -> str:
    """MathML of a TeX formula.

    Raises:
        DocsError: the converter fails, or leaves source or something empty in what it makes.
    """
    try:
        if tex.replace(r"\{", "").count("{") != tex.replace(r"\}", "").count("}"):
            raise ValueError("unbalanced braces")
        made = convert(tex, display="block" if display else "inline")
        root = ElementTree.fromstring(made.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "", 1))
    except Exception as error:  # the converter raises many kinds, and nothing but a formula can cause them
        raise DocsError(f"the formula does not convert ({type(error).__name__}): {tex}") from None
    for element in root.iter():
        if "\\" in (element.text or "") or element.text == "&":
            raise DocsError(f"the converter does not know '{element.text}' in: {tex}")
        if element.tag in ("mo", "mn", "mtext") and not (element.text or "").strip("\u200b"):
            raise DocsError(f"an empty <{element.tag}> is left of: {tex}")
        if len(element) != PARTS.get(element.tag, len(element)):
            raise DocsError(f"<{element.tag}> lacks a part in: {tex}")
    _tidy(root, display)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _tidy(node: ElementTree.Element, display: bool) -> None:
    """Names of several letters as one word, thin spaces around `log`, limits under `max` in displayed formulas."""
    for child in node:
        _tidy(child, display)
    children = list(node)
    kept: list[ElementTree.Element] = []
    for child in children:
        last = kept[-1] if kept else None
        if (
            last is not None
            and _letter(child)
            and last.get("mathvariant") == child.get("mathvariant")
            and _letter(last)
        ):
            last.text = (last.text or "") + (child.text or "")
            continue
        if last is not None and ((_function(last) and _operand(child)) or (_operand(last) and _function(child))):
            kept.append(ElementTree.Element("mspace", {"width": "0.167em"}))
        kept.append(child)
    if node.tag in ("mrow", "math", "mtd", "mstyle"):
        node[:] = kept
    for child in node:
        if _letter(child) and child.get("mathvariant") == "monospace":
            child.tag, child.attrib["class"] = "mtext", "code"
        if (_letter(child) and len(child.text or "") > 1) or child.get("class") == "code":
            del child.attrib["mathvariant"]
        if display and child.tag == "msub" and child[0].tag == "mo" and (child[0].text or "").isalpha():
            child.tag = "munder"


def _letter(element: ElementTree.Element) -> bool:
    return element.tag == "mi" and element.get("mathvariant") in ("normal", "monospace")


def _operand(element: ElementTree.Element) -> bool:
    """Something that stands as a factor; a closing bracket ends one."""
    if element.tag == "mo":
        return element.text in (")", "]")
    return element.tag in ("mi", "mn", "msub", "msup", "msubsup", "mfrac")


def _function(element: ElementTree.Element) -> bool:
    base = element[0] if element.tag in ("msub", "msup") and len(element) else element
    return base.tag == "mi" and base.get("mathvariant") is None and len(base.text or "") > 1


# --- pages


def parser() -> MarkdownIt:
    """CommonMark with tables, anchors of headings and formulas; no raw HTML."""

    def formula(tex: str, options: dict[str, Any]) -> str:
        return mathml(tex, display=bool(options["display_mode"]))

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.use(anchors_plugin, max_level=3)
    return markdown.use(dollarmath_plugin, renderer=formula, double_inline=True, allow_digits=False)


def render(page: Page, docs: Path, out: Path) -> str:
    """The HTML of a page.

    Raises:
        DocsError: a formula does not convert, or a link leads nowhere.
    """
    markdown = parser()
    try:
        tokens = markdown.parse(page.source.read_text(encoding="utf-8"))
        for token in _walk(tokens):
            for attribute in ("href", "src"):
                if token.attrGet(attribute) is not None:
                    token.attrSet(attribute, _link(str(token.attrGet(attribute)), page, docs, out))
        body = markdown.renderer.render(tokens, markdown.options, {})
    except DocsError as error:
        raise DocsError(f"{page.name}: {error}") from None
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    broad = ' class="broad"' if max(map(_cells, body.split("<tr>")), default=0) > 4 else ""
    title = next((t.content for i, t in enumerate(tokens) if i and tokens[i - 1].type == "heading_open"), page.name)
    return TEMPLATE.format(
        lang=page.lang,
        title=html.escape(re.sub(r"[`$*]", "", title)),
        css=CSS,
        nav=_navigation(page, docs),
        body=body,
        broad=broad,
    )


def _cells(row: str) -> int:
    return row.count("<td>") + row.count("<th>")


def _walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or [])


def _link(target: str, page: Page, docs: Path, out: Path) -> str:
    """A link as the built page needs it: pages of the site by their new name, files of the project by their place."""
    if re.match(r"https?://|#|mailto:", target):
        return target
    name, hash_, anchor = target.partition("#")
    aim = (page.source.parent / name).resolve()
    if not aim.exists():
        raise DocsError(f"a link leads nowhere: {target}")
    here = (out / page.target).parent
    if docs.resolve() not in aim.parents:
        return os.path.relpath(aim, here) + hash_ + anchor
    inside = aim.relative_to(docs.resolve()).as_posix()
    if aim.is_dir():
        inside = f"{inside}/README.md"
        if not (docs / inside).exists():
            return os.path.relpath(aim, here)
    place = html_name(inside) if inside.endswith(".md") else inside
    return Path(os.path.relpath(out / place, here)).as_posix() + hash_ + anchor


def _navigation(page: Page, docs: Path) -> str:
    words = WORDS[page.lang]
    start = Path(page.target).parent
    entries = {"home": "README.md", "methods": "methods/README.md", "guide": "guide.md", "world": "world.md"}
    found = []
    for key, english in entries.items():
        own = TURKISH.get(english, f"tr/{english}") if page.lang == "tr" else english
        name = own if (docs / own).exists() else english
        if (docs / name).exists():
            found.append(f'<a href="{os.path.relpath(html_name(name), start)}">{words[key]}</a>')
    if page.other:
        lang = "en" if page.lang == "tr" else "tr"
        address = os.path.relpath(html_name(page.other), start)
        found.append(f'<a class="lang" lang="{lang}" hreflang="{lang}" href="{address}">{words["other"]}</a>')
    return "".join(found)


def build(docs: Path, out: Path) -> list[Path]:
    """Build all pages of `docs` into `out`, replacing what an earlier build left; returns the pages' files."""
    out = out.resolve()
    if out.exists():
        shutil.rmtree(out)
    made = []
    for page in pages(docs):
        text = render(page, docs, out)
        target = out / page.target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        made.append(target)
    if (docs / "images").is_dir():
        shutil.copytree(docs / "images", out / "images")
    return made


CSS = """
:root{color-scheme:light;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--ground:#fff;--tint:#f6f8fa;--link:#0b57b5}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.65 system-ui,-apple-system,"Segoe UI",sans-serif}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;padding:.6rem 1.25rem;border-bottom:1px solid var(--line);
background:var(--tint)}
nav a{padding:.3rem 0;text-decoration:none}nav a:first-child{font-weight:700}nav .lang{margin-left:auto}
main{max-width:50rem;margin:0 auto;padding:1rem 1.25rem 4rem;overflow-wrap:break-word}
a{color:var(--link)}h1,h2,h3{line-height:1.25;margin:2rem 0 .75rem}h1{font-size:1.75rem}h2{font-size:1.3rem}
h3{font-size:1.08rem}h2{border-bottom:1px solid var(--line);padding-bottom:.3rem}
code{background:var(--tint);border-radius:4px;padding:.1em .3em;font:.875em ui-monospace,Menlo,Consolas,monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:6px;padding:.75rem 1rem;overflow-x:auto}
pre code{background:none;padding:0}img{max-width:100%;height:auto}
.wide,.math.block{overflow-x:auto;overflow-y:hidden}.math.block{padding:.35rem 0}
table{border-collapse:collapse;font-size:.92rem}th,td{border:1px solid var(--line);padding:.35rem .6rem;text-align:left;
vertical-align:top}th{background:var(--tint)}
math{font-size:1.08em;font-family:"Latin Modern Math","STIX Two Math","Cambria Math","DejaVu Math TeX Gyre",math}
math .code{font:.875em ui-monospace,Menlo,Consolas,monospace}h1 code{background:none;padding:0}
main.broad{max-width:75rem}math[display=block]{margin:.4rem 0;text-align:center}
mtd[columnalign=right]{text-align:right;padding-right:0}mtd[columnalign=left]{text-align:left;padding-left:.1em}
@media(max-width:600px){body{font-size:15px}main{padding:.5rem 1rem 3rem}}
"""

TEMPLATE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<nav>{nav}</nav>
<main{broad}>
{body}</main>
</body>
</html>
"""


def main() -> int:
    """Build, and say where."""
    parse = argparse.ArgumentParser(description="Build the documentation as static pages.")
    parse.add_argument("--out", type=Path, default=ROOT / "docs" / "_site", metavar="DIR")
    out = parse.parse_args().out
    try:
        made = build(ROOT / "docs", out)
    except DocsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(made)} pages: {out / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
