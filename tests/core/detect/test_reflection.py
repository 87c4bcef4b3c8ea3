"""Marks of reflection: found in both languages, not taken from ordinary words."""

from __future__ import annotations

import time

import pytest

from hizala.core.detect.reflection import marks, reflects

REFLECTING = [
    "12*7=84. Wait, let me check: 10*7=70, 2*7=14.",
    "Hmm… that is odd",
    "That can't be right.",
    "That can’t be right.",
    "I should double-check this sum.",
    "On second thought the answer is 5",
    "Dur, bir bakayım.",
    "DUR! Yanlış oldu.",
    "Kontrol edeyim: 40+9=49",
    "Bir daha düşünelim",
    "Bekle, hata yaptım.",
    "Olmadı, TEKRAR HESAPLAYALIM",
    "Emin olalım: 7*8=56",
]
ORDINARY = [
    "<think>20*9=180\n9*9=81\n180+81=261</think>\nAnswer: 261",
    "They wait for the bus and actually arrive late",
    "Kedinin dört bacağı vardır.",  # -dır is an ending
    "Yolda dur işareti var",
    "Hayır, limon sarı renktir.",  # a denial answers the question
    "Duruma göre karar ver",
    "The waiter, who holds on to hope",
    "Let me know",
    "",
]


@pytest.mark.parametrize("text", REFLECTING)
def test_a_second_look_is_seen(text: str) -> None:
    assert reflects(text)
    assert marks(text) >= 1


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_words_are_no_second_look(text: str) -> None:
    assert not reflects(text)
    assert marks(text) == 0


def test_marks_are_counted_one_by_one() -> None:
    assert marks("Wait, let me check. Dur, kontrol edeyim.") == 4


def test_a_hostile_text_costs_linear_time() -> None:
    begun = time.perf_counter()
    marks("hmm" + "m" * 200_000)
    marks("wait " * 40_000)
    marks("bir daha " * 20_000)
    assert time.perf_counter() - begun < 2.0
