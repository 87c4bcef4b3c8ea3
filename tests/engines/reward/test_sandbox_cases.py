"""Tests as data give them, values as they travel, and what equals what: all outside the sandbox."""

from __future__ import annotations

import json
import math
import time
from collections import Counter, OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.engines.reward.sandbox import Call, Case, Code, Streams, read_cases
from hizala.engines.reward.sandbox.compare import same, same_text, truth
from hizala.engines.reward.sandbox.inside import decode, dumps, encode, free_names, loads
from hizala.errors import DataError

READ: dict[str, tuple[Any, list[Case]]] = {
    "asserts": (
        ["assert f(1, [2], k={'a': -3}) == (4,)", "assert 5 == g()"],
        [Call("f", [1, [2]], {"k": {"a": -3}}, (4,)), Call("g", [], {}, 5)],
    ),
    "several in one": ("assert f(1) == 1\nassert not f(2)", [Call("f", [1], {}, 1), Call("f", [2], want="false")]),
    "conditions": (
        ["assert f(1)", "assert f(1) is None", "assert f(1) is True"],
        [Call("f", [1], want="true"), Call("f", [1], {}, None, "is"), Call("f", [1], {}, True, "is")],
    ),
    "named like a function of Python": (["assert sum(10, 15) == 25"], [Call("sum", [10, 15], {}, 25)]),
    "streams": ([{"input": "1\n", "output": "2"}], [Streams("1\n", "2")]),
    "columns": ({"inputs": ["1"], "outputs": ["2"]}, [Streams("1", "2")]),
    "columns of calls": (
        {"inputs": [[1, 2]], "outputs": [3], "fn_name": "add"},
        [Call("add", [1, 2], {}, 3, loose=True)],
    ),
    "JSON text": (
        '[{"call": "f", "args": [1], "expected": [2]}]',
        [Call("f", [1], {}, [2], loose=True)],
    ),
    "a check": (
        {"code": "def check(candidate):\n    assert candidate(1) == 1", "entry_point": "f"},
        [Code("def check(candidate):\n    assert candidate(1) == 1", "f")],
    ),
}
# Python that is executed as it stands, for what it asserts cannot be taken apart.
WHOLE = (
    "assert abs(f(1) - 2) < 1e-6",
    "assert f(x) == 1",
    "assert f(*[1]) == 1",
    "assert f(1) == g(2)",
    "assert f(1) != 2",
    "assert sorted(f(1)) == [1]",
    "assert f(1) == 2 == 2",
    "assert o.f(1) == 2",
    "x = f(1)\nassert x == 1",
    "for n in range(3):\n    assert f(n) == n",
)


@pytest.mark.parametrize("name", READ)
def test_tests_are_read(name: str) -> None:
    given_, cases = READ[name]
    assert read_cases(given_) == cases


@pytest.mark.parametrize("source", WHOLE)
def test_what_is_no_single_call_stays_code(source: str) -> None:
    assert read_cases([source]) == [Code(source)]


REFUSED = [
    *(None, 3, [], {}, "", [None], [["assert f(1) == 1"]], "assert", "x = 1", ["import os"], [{"input": "1"}]),
    *({"inputs": ["1"], "outputs": []}, {"inputs": "1", "outputs": "2"}, [{"input": 1, "output": "2"}]),
    *(
        [{"call": "f", "expected": 1, "argss": []}],
        [{"call": 1, "expected": 1}],
        [{"call": "f", "args": 3, "expected": 1}],
    ),
    *([{"code": 3}], "((((" * 300, "(" * 100_000),
]


@pytest.mark.parametrize("tests", REFUSED, ids=lambda tests: str(tests)[:30])
def test_other_tests_are_refused_with_their_forms(tests: Any) -> None:
    with pytest.raises(DataError) as caught:
        read_cases(tests, "row 3")
    assert str(caught.value).startswith("row 3: ")
    assert "{input, output}" in caught.value.fix


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.tuples(st.integers()), inner, max_size=4)
        | st.sets(st.integers() | st.text(max_size=3), max_size=4)
        | st.frozensets(st.integers(), max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_data_travel_unchanged(value: Any) -> None:
    sent = json.loads(dumps({"value": encode(value)}))["value"]
    assert repr(loads(json.dumps({"value": sent}))) == repr({"value": sent})
    back = decode(sent)
    assert type(back) is type(value)
    assert repr(back) == repr(value) or back == value


@given(PLAIN, PLAIN)
def test_equality_outside_is_pythons_equality_inside(first: Any, second: Any) -> None:
    for other in (first, second):
        sent = json.loads(dumps({"value": encode(other)}))["value"]
        assert same(first, sent) == (first == decode(sent))  # a NaN that has travelled is no longer the same object


@given(PLAIN)
def test_truth_outside_is_pythons_truth_inside(value: Any) -> None:
    assert truth(encode(value)) == bool(value)


class Colour(IntEnum):
    """A number with a name."""

    RED = 3


Pair = namedtuple("Pair", "a b")


def test_subclasses_travel_as_what_they_extend() -> None:
    values: list[tuple[Any, Any]] = [
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2), (1, 2)),
        (Colour.RED, 3),
        (1 << 20_000, 1 << 20_000),
        (-(10**30), -(10**30)),
    ]
    for value, plain in values:
        assert same(plain, encode(value))
        assert type(decode(encode(value))) is type(plain)


class Liar(list):  # type: ignore[type-arg]
    """Says of itself what is not so."""

    def __eq__(self, other: object) -> bool:
        return True

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        return iter([1, 2, 3])

    __hash__ = None


def test_what_an_object_says_of_itself_does_not_count() -> None:
    assert not same([1, 2, 3], encode(Liar()))
    assert encode(Liar([4])) == [4]
    with pytest.raises(TypeError, match="object is no plain data"):
        encode([object()])
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(RecursionError):
        encode(nested)


def test_json_has_no_tuples() -> None:
    assert same([1, [2, 3]], encode((1, (2, 3))), loose=True)
    assert not same([1, [2, 3]], encode((1, (2, 3))))
    assert not same([1, 2], encode({1, 2}), loose=True)


def test_tolerance_is_of_numbers_that_are_not_both_integers() -> None:
    assert same([0.3], encode([0.1 + 0.2]), tolerance=1e-9)
    assert not same([0.3], encode([0.1 + 0.2]))
    assert same(1, encode(1.0000001), tolerance=1e-6)
    assert not same(1000001, encode(1000000), tolerance=1e-3)
    assert not same(0.0, encode(math.nan), tolerance=1.0)
    assert not same(True, encode(0.9999999), tolerance=1e-3)
    assert not same(1.0, encode(10**400), tolerance=1e-3)


# What no `encode` sends. Every one is refused or unequal, none is an error that nobody expects, none takes long.
FORGED: list[Any] = [
    {},
    {"t": "int"},
    {"t": "int", "v": "zz"},
    {"t": "int", "v": 3},
    {"t": "set", "v": [[1]]},
    {"t": "set", "v": [1, 1]},
    {"t": "dict", "v": [1]},
    {"t": "dict", "v": [[1]]},
    {"t": "dict", "v": [[[1], 2]]},
    {"t": "dict", "v": "ab"},
    {"t": "complex", "v": ["1", "2"]},
    {"t": "bytes", "v": "0"},
    {"t": "mine", "v": [0, "int"]},
    {"t": [], "v": []},
    {"v": 1},
    [[[[[[]]]]]],
]
WANTED: list[Any] = [1, 2.5, "a", b"a", None, True, [1], (1,), {1, 2}, {1: 2}, 1j, [], {}, set()]


@pytest.mark.parametrize("sent", FORGED, ids=str)
def test_forged_values_equal_nothing(sent: Any) -> None:
    for expected in WANTED:
        try:
            assert not same(expected, sent)
        except (ValueError, TypeError, KeyError, IndexError):
            continue


def test_chosen_collisions_cost_no_time() -> None:
    """Integers that are multiples of the modulus of Python's hash share one place in a table of numbers."""
    modulus = (1 << 61) - 1
    colliding = [{"t": "int", "v": hex(n * modulus)} for n in range(1, 40_001)]
    started = time.perf_counter()
    assert not same(set(range(40_000)), {"t": "set", "v": colliding})
    assert not same(dict.fromkeys(range(40_000)), {"t": "dict", "v": [[n, None] for n in colliding]})
    with pytest.raises(ValueError, match="a key this large"):
        same({frozenset([1])}, {"t": "set", "v": [{"t": "frozenset", "v": colliding}]})
    with pytest.raises(ValueError, match="a key this large"):
        same({(1,): 2}, {"t": "dict", "v": [[{"t": "tuple", "v": [{"t": "frozenset", "v": colliding}]}, 2]]})
    assert time.perf_counter() - started < 2.0


def test_output_is_compared_by_lines() -> None:
    assert same_text("1 2\n3\n", "1 2  \r\n3\n\n\n")
    assert same_text("", "\n")
    assert not same_text("1 2", "1  2")
    assert not same_text("1\n2", "1\n\n2")
    assert not same_text("a", "\ufffd")
    assert same_text("0.3 x", "0.30000001\nx", tolerance=1e-6)
    assert not same_text("0.3 x", "0.3", tolerance=1e-6)
    assert not same_text("0.3", "nan", tolerance=1e-6)


def test_free_names_belong_to_the_program() -> None:
    code = """
import math as m
from os import path
limit = 3
def check(f):
    inner = f(limit) + outer(1)
    return [x for x in g(inner)] + [m.pi, path, later]
class C:
    field = h(2)
later = 1
try:
    check(f)
except Error as e:
    print(e)
"""
    assert free_names(code, None) == ["Error", "f", "g", "h", "outer"]
    assert free_names("assert sum([1]) == 1", "sum") == ["sum"]
