"""YAML reading: the grammar of scalars, the place of every value, hostile text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.config.text import dump, parse
from hizala.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("true", True),
        ("~", None),
        ("2026-11-22", "2026-11-22"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ('"1e-5"', "1e-5"),
        ("çok güzel", "çok güzel"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(f"a: {text}", "x").value["a"]
    assert found == value
    assert type(found) is type(value)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


def _readable(value: Any) -> bool:
    """Whether every text in it can stand in YAML, and no key is the refused merge key."""
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, dict):
        return "<<" not in value and all(_readable(key) and _readable(item) for key, item in value.items())
    return all(map(_readable, value)) if isinstance(value, list) else True


@given(st.dictionaries(st.text(min_size=1), _PLAIN, max_size=5).filter(_readable))
def test_what_is_dumped_is_read_back_the_same(value: dict[str, Any]) -> None:
    document = parse(dump(value), "x")
    assert document.problems == []
    assert document.value == value


@pytest.mark.parametrize("word", ["no", "yes", "1e-5", "010", "12:30", "0o7", "~", "null", ".inf", "=", "true"])
def test_words_that_look_like_something_else_stay_text(word: str) -> None:
    assert parse(dump({"a": word}), "x").value == {"a": word}


def test_every_value_knows_its_line() -> None:
    document = parse("a: 1\nb:\n  c: 2\n  d:\n    - 3\n    - e: 4\n", "x")
    lines = [document.line(p) for p in [("a",), ("b", "c"), ("b", "d", 0), ("b", "d", 1, "e"), ("b", "none")]]
    assert lines == [1, 3, 5, 6, 2]


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{n}: &{n} [{', '.join(['*' + p] * 9)}]\n" for p, n in zip("abcde", "bcdef", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        (BOMB, "more than 20,000 values", None),
        ("a: &a [*a]", "nested more than 50", 1),
        ("[" * 60 + "]" * 60, "nested more than 50", 1),
        ("[" * 5000, "nested too deeply", None),
        ("a: 1\nb:\n\t- c", "a tab in the indentation", 3),
        ("a: [1\nb: 2", "not valid YAML", 2),
        ("a: 'open", "not valid YAML", 1),
        ("a: 1\n---\nb: 2", "single document", 2),
        ("a: 1\nb: \x07", "a character YAML does not allow", 2),
        ("a: *nowhere", "undefined alias", 1),
    ],
)
def test_text_that_is_no_recipe_is_refused_with_its_line(text: str, said: str, line: int | None) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parse(text, "x.yaml")
    assert caught.value.where == ("x.yaml" if line is None and "deeply" in said else caught.value.where)
    if line is not None:
        assert caught.value.where == f"x.yaml:{line}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "key 'a' stands twice, first in line 1"),
        ("a: !!python/object/apply:os.system [x]", "is not allowed"),
        ("a: !!python/name:os.system", "is not allowed"),
        ("a: !!int x", "is not allowed"),
        ("a: .nan", "not a finite number"),
        ("a: 1e999", "not a finite number"),
        ("a: -.Inf", "not a finite number"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "merge keys are not supported"),
        ("? [a, b]\n: c", "a key must be a word"),
        ("a: " + "9" * 5000, "a number too long to read"),
    ],
)
def test_values_that_are_refused_are_collected(text: str, said: str) -> None:
    document = parse(text, "x.yaml")
    assert len(document.problems) == 1
    assert said in document.problems[0].message
    with pytest.raises(ConfigError, match=r"x\.yaml:\d"):
        document.finish()


def test_an_alias_used_with_measure_is_a_copy() -> None:
    value = parse("a: &a {x: 1}\nb: *a", "x").value
    assert value == {"a": {"x": 1}, "b": {"x": 1}}
    assert value["a"] is not value["b"]
