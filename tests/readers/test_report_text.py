"""Numbers as people read them; hostile characters made visible; every phrase in both languages."""

import json
import math
import string

import pytest

from hizala.readers.report.strings import STRINGS
from hizala.readers.report.text import Num, Phrases, Ref, clean, fixed, interval, number, plain_args, script_json


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (-0.0, "0"), (3.0, "3"), (1234.0, "1\u202f234"), (12345.6, "12\u202f346"), (0.123456, "0.1235"),
        (5e-5, "5e-5"), (0.00015, "1.5e-4"), (0.05, "0.05"), (-2.5, "-2.5"), (1e300, "1e300"), (math.nan, "–"),
        (None, "–"), (math.inf, "∞"), (-math.inf, "-∞"),
    ],
)  # fmt: skip
def test_numbers_read_well(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_scores_have_fixed_places_and_a_true_minus() -> None:
    assert fixed(0.5) == "0.500"
    assert fixed(-0.25, sign=True) == "−0.250"
    assert fixed(0.25, sign=True) == "+0.250"
    assert interval(-0.1, 0.2, sign=True) == "[−0.100, +0.200]"
    assert interval(math.nan, 1.0) == ""


def test_invisible_characters_become_visible() -> None:
    hostile = "a\u202eb\x00c\x1b[31md\u200be\ud800f\U000e0041g\u2028h\x85i\x7f"
    shown = clean(hostile)
    assert shown == "a⟨U+202E⟩b␀c␛[31md⟨U+200B⟩e⟨U+D800⟩f⟨U+E0041⟩g⟨U+2028⟩h⟨U+0085⟩i␡"
    shown.encode("utf-8")


def test_ordinary_text_is_left_alone() -> None:
    text = "Çok güzel İş! 👩‍👩‍👧 می‌خواهم\n\tkod"
    assert clean(text) == text


def test_both_languages_have_every_phrase_with_the_same_places() -> None:
    def places(phrase: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}

    assert STRINGS["en"].keys() == STRINGS["tr"].keys()
    for key, english in STRINGS["en"].items():
        turkish = STRINGS["tr"][key]
        assert english.strip(), key
        assert turkish.strip(), key
        assert places(english) == places(turkish), key


def test_phrases_escape_their_arguments() -> None:
    shown = Phrases(STRINGS, "en").span("run.from", parent='<img src=x onerror="a">')
    assert "<img" not in shown
    assert shown.count("<span") == 1


def test_numbers_and_names_in_phrases_follow_the_language() -> None:
    turkish = Phrases(STRINGS, "tr")
    assert ">puan 0,50<" in turkish.span("samples.score", score=Num("0.50"))
    assert ">Temel modelinden<" in turkish.span("run.from", parent=Ref("model.base"))
    assert json.loads(plain_args({"a": Num("1.5"), "b": Ref("model.base"), "c": "x"})) == {
        "a": {"n": "1.5"},
        "b": {"t": "model.base"},
        "c": "x",
    }


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"k": "</script><!--<script>&\u2028"}
    shown = script_json(value)
    assert "<" not in shown
    assert "&" not in shown
    assert json.loads(shown) == value
