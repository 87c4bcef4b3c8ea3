"""A calculator: exact arithmetic on what a model writes, by a parser of its own; and it as an environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hizala.records import Group
from hizala.registry import environment

OPEN, CLOSE = "<calc>", "</calc>"
MAX_CHARS, MAX_DIGITS, MAX_DEPTH = 200, 15, 20
_LIMIT = 10**MAX_DIGITS
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[-+*/()]", re.ASCII)
_SIGNS = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "÷": "/", ":": "/"})


class CalculatorError(ValueError):
    """An expression that the calculator does not work out; the message says why and holds nothing of it."""


def evaluate(expression: str) -> Fraction:
    """The exact value of an expression of numbers, + - * / and parentheses.

    Bounded before it begins: 200 characters, numbers of 15 digits, 20 parentheses deep; so is the result, in the value
    of 15 digits. There are no powers, names or calls, and nothing is ever run.

    Raises:
        CalculatorError: anything else than such an expression, a division by zero, or a result out of bounds.
    """
    if len(expression) > MAX_CHARS:
        raise CalculatorError("too long")
    text = expression.translate(_SIGNS)
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"[ \t]", "", text) or re.search(r"[\d.][ \t]+[\d.]", text):
        raise CalculatorError("not an expression")
    if any(len(token) > MAX_DIGITS + 1 for token in tokens):
        raise CalculatorError("a number is too long")
    value, end = _sum(tokens, 0, 0)
    if end != len(tokens):
        raise CalculatorError("not an expression")
    if abs(value) >= _LIMIT:
        raise CalculatorError("the result is too large")
    return value


def _sum(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _product(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "+-":
        right, after = _product(tokens, at + 1, depth)
        value, at = (value + right if tokens[at] == "+" else value - right), after
    return value, at


def _product(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    value, at = _atom(tokens, at, depth)
    while at < len(tokens) and tokens[at] in "*/":
        right, after = _atom(tokens, at + 1, depth)
        if tokens[at] == "/" and right == 0:
            raise CalculatorError("division by zero")
        value, at = (value * right if tokens[at] == "*" else value / right), after
    return value, at


def _atom(tokens: list[str], at: int, depth: int) -> tuple[Fraction, int]:
    if at >= len(tokens) or depth > MAX_DEPTH:
        raise CalculatorError("not an expression" if at >= len(tokens) else "too many parentheses")
    token = tokens[at]
    if token == "-":  # a sign binds tighter than what follows its number; signs in a row count as depth
        value, end = _atom(tokens, at + 1, depth + 1)
        return -value, end
    if token == "(":
        value, end = _sum(tokens, at + 1, depth + 1)
        if end >= len(tokens) or tokens[end] != ")":
            raise CalculatorError("not an expression")
        return value, end + 1
    if not token[0].isdigit():
        raise CalculatorError("not an expression")
    return Fraction(token), at + 1


def shown(value: Fraction) -> str:
    """A value as people write it: a whole number, or rounded to 10 digits after the point, no zeros at its end."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(value * 10**10)
    whole, part = divmod(abs(scaled), 10**10)
    text = f"{whole}.{part:010d}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


def call(text: str) -> str | None:
    """The expression a turn calls with: what stands in `<calc>…</calc>` at its very end; None without a call."""
    said = text.rstrip()
    if not said.endswith(CLOSE):
        return None
    _, opened, expression = said.removesuffix(CLOSE).rpartition(OPEN)
    return expression if opened and CLOSE not in expression else None


@environment("calculator", summary="answers a turn that ends with <calc>12*7</calc> by its value")
class Calculator:
    """A calculator that answers calls, as many as the turns allow.

    A turn that ends with `<calc>12*7</calc>` is answered with `84`, one with an expression it does not know with
    `error: …`. A turn without a call at its end is the last. Its state is the number of calls so far.
    """

    def reset(self, group: Group, seed: int) -> dict[str, Any]:
        """No call so far; nothing is drawn."""
        return {"calls": 0}

    def step(self, state: Mapping[str, Any], text: str) -> tuple[str | None, dict[str, Any]]:
        """The value of the turn's call."""
        expression = call(text)
        if expression is None:
            return None, dict(state)
        after = {"calls": state["calls"] + 1}
        try:
            return shown(evaluate(expression)), after
        except CalculatorError as error:
            return f"error: {error}", after
