"""What a program is tested with: read from data, told apart by how the result is judged."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hizala.errors import DataError

FORMS = (
    "a test is {input, output}, {call, args, kwargs, expected}, {code, entry_point}, or Python that asserts; "
    "a list of those, or {inputs, outputs, fn_name}"
)


@dataclass(frozen=True, slots=True)
class Streams:
    """A script that reads `given` and should write `expected`."""

    given: str
    expected: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the program, what it is given, what it should return.

    Attributes:
        want: "equal" to `expected`, or "true" or "false" as Python takes a value in a condition, or "is" one of None,
            True and False.
        loose: `expected` came from JSON, which has no tuples: a tuple counts as a list.
    """

    name: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    expected: Any = None
    want: Literal["equal", "true", "false", "is"] = "equal"
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """Python that asserts. `entry`: the function of the program that the test's own `check` is called with."""

    source: str
    entry: str = ""


Case = Streams | Call | Code


def read_cases(given: object, where: str = "") -> list[Case]:
    """Tests as they stand in data.

    Args:
        given: see `FORMS`; JSON text of it is read as well, and Python text as one test.
    Raises:
        DataError: anything else, or no test at all.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = [given]
    if isinstance(given, Mapping):
        given = _columns(given, where) if "inputs" in given else [given]
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise DataError("no tests", where=where, fix=FORMS)
    return [case for one in given for case in _read(one, where)]


def _columns(given: Mapping[str, Any], where: str) -> list[Any]:
    inputs, outputs, name = given["inputs"], given.get("outputs"), given.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise DataError("`inputs` and `outputs` are not lists of one length", where=where, fix=FORMS)
    if not name:
        return [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=True)]
    return [{"call": name, "args": i, "expected": o} for i, o in zip(inputs, outputs, strict=True)]


def _read(one: object, where: str) -> list[Case]:
    if isinstance(one, str):
        return _python(one, where)
    if isinstance(one, Mapping):
        known = set(one)
        if {"input", "output"} == known and all(isinstance(one[key], str) for key in known):
            return [Streams(one["input"], one["output"])]
        if {"call", "expected"} <= known <= {"call", "args", "kwargs", "expected"}:
            args, kwargs = one.get("args", []), one.get("kwargs", {})
            if isinstance(one["call"], str) and isinstance(args, list) and isinstance(kwargs, dict):
                return [Call(one["call"], args, kwargs, one["expected"], loose=True)]
        if {"code"} <= known <= {"code", "entry_point"} and isinstance(one["code"], str):
            entry = one.get("entry_point", "")
            return [Code(one["code"], str(entry))] if entry else _python(one["code"], where)
    raise DataError(f"no test: {str(one)[:80]}", where=where, fix=FORMS)


def _python(source: str, where: str) -> list[Case]:
    """Python that asserts: where every line is `assert f(...) == ...` in constants, one call each."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"a test is no Python: {error}", where=where, fix=FORMS) from None
    simple = [_simple(statement) for statement in body]
    calls = [call for call in simple if call is not None]
    if calls and len(calls) == len(simple):
        return list(calls)
    if not any(isinstance(node, ast.Assert | ast.Raise | ast.Call) for node in ast.walk(ast.Module(body, []))):
        raise DataError(f"a test asserts nothing: {source[:80]}", where=where, fix=FORMS)
    return [Code(source)]


def _simple(statement: ast.stmt) -> Call | None:
    """`assert f(constants)`, `not f(...)`, `f(...) == constant`, `constant == f(...)`, `f(...) is None`; else None."""
    if not isinstance(statement, ast.Assert):
        return None
    match statement.test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            for call, other in ((left, right), (right, left)):
                if isinstance(call, ast.Call) and (known := _constant(other)):
                    return _call(call, "equal", known[0])
        case ast.Compare(left=ast.Call() as call, ops=[ast.Is()], comparators=[ast.Constant(value=value)]):
            if value is None or value is True or value is False:
                return _call(call, "is", value)
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return _call(call, "false")
        case ast.Call() as call:
            return _call(call, "true")
    return None


def _call(node: ast.Call, want: Literal["equal", "true", "false", "is"], expected: Any = None) -> Call | None:
    if not isinstance(node.func, ast.Name):
        return None
    args = [_constant(part) for part in node.args]
    kwargs = {part.arg: _constant(part.value) for part in node.keywords}
    if None in args or None in kwargs.values() or None in kwargs:
        return None
    named = {str(key): value[0] for key, value in kwargs.items() if value}
    return Call(node.func.id, [value[0] for value in args if value], named, expected, want)


def _constant(node: ast.expr) -> tuple[Any] | None:
    """The value of a literal, wrapped; None where it is none."""
    try:
        return (ast.literal_eval(node),)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
