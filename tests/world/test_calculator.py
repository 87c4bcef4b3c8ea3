"""The calculator: exact on every expression it knows, and harmless on everything else."""

from __future__ import annotations

import json
import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.records import Group, Message
from hizala.world.calculator import Calculator, CalculatorError, call, evaluate, shown

# An expression as text with its value, made side by side: the value never comes from reading the text.
Piece = tuple[str, Fraction]


def joined(pair: tuple[Piece, str, Piece]) -> Piece:
    (one, left), sign, (two, right) = pair
    if sign == "/" and right == 0:
        sign = "+"
    value = {"+": left + right, "-": left - right, "*": left * right}.get(sign)
    return f"({one}{sign} {two})", left / right if value is None else value


NUMBERS = st.one_of(
    st.integers(0, 999).map(lambda n: (str(n), Fraction(n))),
    st.tuples(st.integers(0, 99), st.integers(0, 9)).map(
        lambda pair: (f"{pair[0]}.{pair[1]}", Fraction(10 * pair[0] + pair[1], 10))
    ),
)
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(joined),
        inner.map(lambda piece: (f"-{piece[0]}", -piece[1])),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_the_value_is_exact(piece: Piece) -> None:
    text, value = piece
    if len(text) <= 200 and abs(value) < 10**15:
        assert evaluate(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12*7", "84"),
        ("2+3*4", "14"),
        ("10-4-3", "3"),
        ("12/4/3", "1"),
        ("(2+3)*4", "20"),
        ("-3*-2", "6"),
        ("1/3", "0.3333333333"),
        ("2/4", "0.5"),
        ("-1/8", "-0.125"),
        ("7 × 8", "56"),
        ("9 ÷ 2", "4.5"),
        ("5 − 8", "-3"),
        ("0.1+0.2", "0.3"),
        ("1/30000000000", "0"),
        ("999999999999999", "999999999999999"),
    ],
)
def test_signs_bind_as_in_school_and_values_read_as_people_write_them(text: str, value: str) -> None:
    assert shown(evaluate(text)) == value


HOSTILE = [
    "", " ", "1+", "*2", "1 2", "1. 5", "(1", "1)", "()", "1//0", "2**99999999", "9^9", "1/0", "1/(2-2)", "abs(-1)",
    "__import__('os').system('true')", "(lambda: 1)()", "1e999", "0x10", "1,5", "1_000", "9" * 16, "1;2", "1\n+2",
    "٣+٤", "²", "12*7</calc>", "<calc>1", "(" * 150 + "1" + ")" * 49, "-" * 199 + "1", "9" * 10_000_000,
    "*".join(["999999999"] * 20), "999999999999999+1", "1" + "+1" * 100, "\x00", "nan", "inf", "1..2", ".5", "5.",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_bounded_expression_is_refused_at_once(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(CalculatorError) as caught:
        evaluate(text)
    assert time.perf_counter() - begun < 0.5
    # Nothing of what was written comes back: a reply cannot be made to say what a caller wants.
    assert len(str(caught.value)) < 40
    assert not any(part in str(caught.value) for part in ("import", "lambda", "calc", "999"))


@given(st.text(alphabet="0123456789.+-*/() <>calc", max_size=220))
def test_any_text_is_worked_out_or_refused(text: str) -> None:
    try:
        value = evaluate(text)
    except CalculatorError:
        return
    assert abs(value) < 10**15


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("<calc>12*7</calc>", "12*7"),
        ("Önce hesaplayalım.\n<calc>12*7</calc> \n", "12*7"),
        ("<calc>1</calc> ve <calc>2+2</calc>", "2+2"),
        ("<calc><calc>3</calc>", "3"),
        ("<calc></calc>", ""),
        ("<calc>12*7</calc>.", None),
        ("12*7</calc>", None),
        ("<calc>12*7", None),
        ("<calc>12*7</calc></calc>", None),
        ("", None),
    ],
)
def test_a_call_stands_at_the_very_end_of_a_turn(text: str, expression: str | None) -> None:
    assert call(text) == expression


def test_the_environment_is_pure_answers_calls_and_names_errors() -> None:
    made, group = Calculator(), Group((Message("user", "?"),))
    start = made.reset(group, 3)
    reply, after = made.step(start, "<calc>6*7</calc>")
    assert reply == "42"
    assert (start, after) == ({"calls": 0}, {"calls": 1})
    assert made.step(json.loads(json.dumps(start)), "<calc>6*7</calc>") == (reply, after)
    assert made.step(after, "<calc>1/0</calc>")[0] == "error: division by zero"
    assert made.step(after, "Cevap: 42") == (None, after)
