"""House style as tests: sizes, docstrings with their sources, recipes that load, nothing that must not be shipped."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from project_tree import ROOT, modules, python_files, tree

import hizala.core.losses  # noqa: F401 (registers the losses)
from hizala.algorithms import algorithms
from hizala.config import schema_of
from hizala.config.strict import argument_help
from hizala.registry import Loss, losses

Documented = ast.Module | ast.ClassDef | ast.FunctionDef
CODE = python_files("src", "tests", "scripts", "benchmarks", "examples")


def identity(path: Path) -> str:
    """A file's name in a test report."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", CODE, ids=identity)
def test_files_have_at_most_500_lines_and_functions_80(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500
    long = [
        f"{node.name}: {size}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > 80
    ]
    assert long == []


@pytest.mark.parametrize("path", sorted(modules().values()), ids=identity)
def test_everything_public_has_a_docstring(path: Path) -> None:
    missing = [name for name, node in _public(tree(path), path.stem) if ast.get_docstring(node) is None]
    assert missing == []


def _public(
    node: ast.Module | ast.ClassDef, name: str
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]]:
    if isinstance(node, ast.ClassDef) or node.body:
        yield name, node
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            overload = any("overload" in ast.unparse(d) or ".setter" in ast.unparse(d) for d in child.decorator_list)
            if isinstance(child, ast.ClassDef):
                yield from _public(child, f"{name}.{child.name}")
            elif not overload:
                yield f"{name}.{child.name}", child


# A paper or a page, and the place in it.
PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.|https://|\b(?:19|20)\d\d\b")
PLACE = re.compile(
    r"\b(?:eqs?|secs?|alg|app|prop|thm|def|tab|fig|p|ch)\. ?[\dA-Z]|\b(?:section|equation|algorithm|appendix) [\dA-Z]"
)


@pytest.mark.parametrize("entry", list(losses), ids=lambda entry: entry.name)
def test_a_loss_explains_itself(entry: Loss) -> None:
    doc = entry.fn.__doc__ or ""
    lines = [line.strip() for line in doc.splitlines()]
    assert len(lines) <= 30
    assert lines[0].endswith((".", ":"))
    for section in ("Args:", "Returns:"):
        assert any(line.startswith(section) for line in lines), f"no {section}"
    source = doc.partition("Source:")[2]
    assert PAPER.search(source), "no paper after Source:"
    assert PLACE.search(source), "no equation or section after Source:"
    assert PAPER.search(entry.source)
    assert PLACE.search(entry.source)
    helps = argument_help("\n".join(line.removeprefix("    ") for line in doc.splitlines()))
    assert set(entry.measures) <= set(helps), "an argument without a word"
    schema_of(entry.fn)  # every setting has a type, a bound or none, and help


@pytest.mark.parametrize("row", list(algorithms), ids=lambda row: row.name)
def test_a_row_of_the_table_names_its_source_and_registered_losses(row: object) -> None:
    assert PAPER.search(row.source)  # type: ignore[attr-defined]
    assert PLACE.search(row.source)  # type: ignore[attr-defined]
    assert all(name in losses for name in row.losses)  # type: ignore[attr-defined]


RECIPES = sorted((ROOT / "recipes").glob("**/*.yaml"))


def test_there_is_a_recipe_to_start_with() -> None:
    assert ROOT / "recipes" / "quickstart.yaml" in RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=identity)
def test_every_shipped_recipe_loads(path: Path) -> None:
    import hizala.pipelines  # noqa: F401 (registers the stages)
    from hizala.config import load, loads, resolved

    recipe = load(path)
    assert [stage.config for stage in loads(resolved(recipe)).stages] == [stage.config for stage in recipe.stages]
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 25


SHIPPED = [
    path
    for folder in ("src", "tests", "recipes", "docs", "benchmarks", "scripts", "examples", ".ci")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size < 2_000_000
] + [path for path in sorted(ROOT.iterdir()) if path.suffix in (".md", ".toml", ".txt", "") and path.is_file()]
# Built from parts, so that this file does not match itself.
PLACES = "|".join(("home/[a-z]", "Users/[A-Za-z]", "root/", "op" + "t/", "wor" + "k/"))
FORBIDDEN = {
    "a path of one machine": re.compile(rf"(?<![\w.])/(?:{PLACES})"),
    "a private key": re.compile("-----BEGIN " + r"[A-Z ]*PRIVATE KEY"),
    "a token": re.compile(r"\b(?:h" + r"f_[A-Za-z0-9]{30,}|gh" + r"p_[A-Za-z0-9]{30,}|AK" + r"IA[0-9A-Z]{16})\b"),
    "an unfinished place": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b"),
}


@pytest.mark.parametrize("path", SHIPPED, ids=identity)
def test_nothing_is_shipped_that_must_not_be(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # weights and pictures
    found = {what: match.group() for what, pattern in FORBIDDEN.items() if (match := pattern.search(text))}
    assert found == {}
