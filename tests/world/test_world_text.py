"""Turkish casing, normal forms and the guards against hollow text."""

from __future__ import annotations

import pytest

from hizala.world.text import copies, lower, plain, repeats, sentence, upper, visible, words


@pytest.mark.parametrize(
    ("small", "big"),
    [
        ("ılık iyi", "ILIK İYİ"),
        ("iğne", "İĞNE"),
        ("ışık", "IŞIK"),
        ("çok güzel öğrenci", "ÇOK GÜZEL ÖĞRENCİ"),
        ("", ""),
    ],
)
def test_turkish_casing_keeps_dotted_and_dotless_i_apart_both_ways(small: str, big: str) -> None:
    assert upper(small, "tr") == big
    assert lower(big, "tr") == small


def test_english_casing_is_the_plain_one() -> None:
    assert upper("big idea", "en") == "BIG IDEA"
    assert lower("BIG IDEA", "en") == "big idea"


def test_a_sentence_begins_with_the_right_capital_i() -> None:
    assert sentence("ilkbahar", "tr") == "İlkbahar"
    assert sentence("ırmak", "tr") == "Irmak"
    assert sentence("", "tr") == ""


@pytest.mark.parametrize(
    "disguised", ["555 0134", "5-5-5-0-1-3-4", "５５５０１３４", "٥٥٥٠١٣٤", "555\u200b0134", "555\u00a00134"]
)
def test_the_plain_form_sees_through_disguised_digits(disguised: str) -> None:
    assert plain(disguised) == "5550134"


def test_the_plain_form_folds_turkish_letters_and_case() -> None:
    assert plain("Yılmaz") == plain("YILMAZ") == plain("yilmaz") == "yilmaz"
    assert plain("ŞAHİN") == "sahin"


def test_only_one_leading_reasoning_block_is_allowed() -> None:
    assert visible("<think>1+1=2</think>\nCevap: 2") == "Cevap: 2"
    assert visible("  hello ") == "hello"
    for broken in (
        "<think>1+1=2",
        "2</think>",
        "2<think>x</think>",
        "<think>a</think><think>b</think>",
        "</think><think>",
    ):
        assert visible(broken) is None


def test_words_keep_suffixed_names_whole() -> None:
    assert words("Ali'nin 12 elması, IĞDIR!", "tr") == ["ali'nin", "12", "elması", "ığdır"]


def test_repetition_and_copying_are_seen_and_ordinary_text_is_not() -> None:
    assert repeats(list("ababab"))
    assert repeats(["lütfen", "lütfen", "siz", "lütfen", "size", "lütfen"])
    assert not repeats(["hayır", "bu", "doğru", "değil", "limon", "sarı", "renktir"])
    assert not repeats([])
    assert copies(list("xabcdy"), list("abcd"), run=4)
    assert not copies(list("abcxd"), list("abcd"), run=4)
    assert not copies([], [], run=4)
