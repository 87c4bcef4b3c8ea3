"""Answers that are equal are found equal, and a vote has a winner only where there is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hizala.pipelines.generated.votes import final_answer, vote


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("<think>14-6=8</think>\nCevap: 8", "marked", "8"),
        ("Answer: 8.", "marked", "8"),
        ("**Final answer:** 1,000", "marked", "1000"),
        ("Cevap: 3,50 lira", "marked", "3.5"),
        ("so it is\n#### -42", "marked", "-42"),
        ("we get \\boxed{007}", "marked", "7"),
        ("Answer: 5\nno, wait\nAnswer: 6", "marked", "6"),
        ("Cevap: ANKARA", "marked", "ankara"),
        ("Cevap: Ankara.", "marked", "ankara"),
        ("it may be 8", "marked", None),
        ("Answer:", "marked", None),
        ("<think>14-6=8 Cevap: 8", "marked", None),
        ("", "text", None),
        ("<think>2</think> one 5, then -0", "number", "0"),
        ("0.50", "number", "0.5"),
        ("2.5", "number", "2.5"),
        ("1.234.567", "number", "1234567"),
        ("IŞIK, İrem!", "text", "işik irem"),
        ("ışık  irem", "text", "işik irem"),
    ],
)
def test_an_answer_has_one_form(text: str, mode: str, expected: str | None) -> None:
    assert final_answer(text, mode) == expected


@given(st.text(), st.sampled_from(["marked", "number", "text"]))
def test_any_text_votes_or_abstains(text: str, mode: str) -> None:
    found = final_answer(text, mode)
    assert found is None or found


@given(st.integers(-(10**6), 10**6))
def test_a_whole_number_is_itself(number: int) -> None:
    assert final_answer(f"Answer: {number}", "marked") == str(number)
    assert final_answer(f"Answer: {number:,}", "marked") == str(number)


def test_the_winner_is_what_most_samples_say_and_silence_counts_against_it() -> None:
    found = vote(["Answer: 4", "Cevap: 4", "Answer: 5", "no idea"], "marked")
    assert (found.winner, found.agreement) == ("4", 0.5)
    assert (found.winners, found.others) == ((0, 1), (2, 3))


def test_level_votes_and_silence_have_no_winner() -> None:
    assert vote(["Answer: 4", "Answer: 5"], "marked").winner is None
    silent = vote(["hm", "well"], "marked")
    assert (silent.winner, silent.agreement, silent.winners) == (None, 0.0, ())
