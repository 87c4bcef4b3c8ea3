"""MT-Bench: 2,250 ratings, 10 pairs, 720 reviews and a Japanese run, as published; where the strict rule differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import EvalError
from hizala.readers.score import score
from hizala.readers.score.mt_bench import both_orders, fastchat_rating, first_line, pair_verdict, strict_rating

Find = Callable[[str], Path]
Rows = Callable[[Path], list[dict[str, Any]]]


def test_ratings_are_read_and_averaged_as_published(published: Find) -> None:
    """FastChat's rule and the stored scores, 15 models; the strict rule scores no more than FastChat's."""
    told = json.loads(published("mt_bench/expected.json").read_text())["single_judgments"]
    found = score("mt_bench", published("mt_bench/single_judgments.jsonl.gz")).scores.results
    assert set(found) == set(told)
    for model, figures in found.items():
        for name in ("fastchat", "stored"):
            assert figures[name]["n_valid"] == told[model][f"n_valid_{name}"]
            assert figures[name]["mean"] == pytest.approx(told[model][f"mean_{name}"], abs=1e-12)
        assert figures["n"] == told[model]["n"]
        assert 1 <= figures["average"].low <= figures["average"].value <= figures["average"].high <= 10
        assert figures["average"].unscored == figures["n_error"]


def test_each_rating_is_read_as_published(published: Find, rows: Rows) -> None:
    entries = rows(published("mt_bench/single_judgments.jsonl.gz"))
    apart = []
    for entry in entries:
        read = fastchat_rating(entry["judgment"])
        assert (-1.0 if read is None else read) == entry["fastchat_score"]
        if strict_rating(entry["judgment"]) != read:
            apart.append(read)
    # Indices of quoted code: the ratings that stand on the published list and mean nothing.
    assert sorted(value for value in apart if value is not None) == [0.0, 2.0, 100.0, 100.0, 100.0]


def test_a_japanese_run_needs_its_repeats_kept(published: Find) -> None:
    path = published("mt_bench/ja_mt_bench_stability.jsonl.gz")
    with pytest.raises(
        EvalError, match=r"(?s)4 broken rows: line \d+ is the same item as line \d+ .*--duplicates keep"
    ):
        score("mt_bench", path)
    told = json.loads(published("mt_bench/expected.json").read_text())["ja_mt_bench_stability"]
    found = score("mt_bench", path, duplicates="keep").scores.results
    assert set(found) == set(told)
    for model, figures in found.items():
        assert (figures["n"], figures["n_error"]) == (told[model]["n"], told[model]["n_error"])
        assert figures["turn_1"].value == pytest.approx(told[model]["turn_1"], abs=1e-12)
        assert figures["average"].value == pytest.approx(told[model]["average"], abs=1e-12)
        assert figures["turn_2"] is None
        assert figures["average"].n <= 80  # questions, not rows


def test_pair_verdicts_are_read_as_published(published: Find, rows: Rows) -> None:
    path = published("mt_bench/pair_judgments.jsonl.gz")
    for entry in rows(path):
        assert pair_verdict(entry["g1_judgment"], False) == entry["g1_winner"]
        assert pair_verdict(entry["g2_judgment"], True) == entry["g2_winner"]
    scored = score("mt_bench", path, duplicates="keep").scores
    # Of ten: 2-2, 2-2, 1-1, 2-2, 1-tie, tie-tie, tie-tie, tie-1, 1-2, 1-1.
    assert {name: scored.results["gpt-4"][name] for name in ("win", "loss", "tie")} == {"win": 3, "loss": 2, "tie": 5}
    assert scored.results["gpt-4"]["win_rate_adjusted"].value == pytest.approx(0.55)
    assert scored.results["gpt-3.5-turbo"]["win_rate_adjusted"].value == pytest.approx(0.45)
    assert scored.overall["share_consistent"] == pytest.approx(0.7)
    assert not scored.notes


def test_reviews_give_the_published_totals(published: Find) -> None:
    """Nine sets, among them the four of the Vicuna announcement; one review that could not be read is left out."""
    told = json.loads(published("mt_bench/expected.json").read_text())["vicuna_bench"]
    found = score("mt_bench", published("mt_bench/vicuna_bench_reviews.jsonl.gz")).scores.results
    assert set(found) == set(told)
    totals = []
    for name, figures in found.items():
        entry = told[name]
        assert figures["as_published"] == {"sum_all": entry["sum_all"], "ties": entry["ties"]}
        assert [figures[key] for key in ("n", "n_parse_errors", "wins_1", "wins_2")] == [
            entry[key] for key in ("n", "n_parse_errors", "wins_1", "wins_2")
        ]
        assert figures["total"] == [value + entry["n_parse_errors"] for value in entry["sum_all"]]
        if "published_total_vicuna_blog" in entry:
            totals.append(figures["total"])
            assert figures["total"] == entry["published_total_vicuna_blog"]
    assert totals


@pytest.mark.parametrize(
    ("text", "strict", "fastchat"),
    [
        ("Rating: [[7]]", 7, 7),
        ("Rating: [[9.5]] and [[2]]", 9.5, 9.5),
        ("Rating: [7]", None, 7),
        ("a[100] = 1\nRating: [[3]]", 3, 3),
        ("a[100] = 1\nRating: 3", None, 100),
        ("Rating: [[11]]", None, 11),
        ("Rating: [[0]]", None, 0),
        ("Rating: [[-3]]", None, None),
        ("", None, None),
    ],
)
def test_rating_rules(text: str, strict: float | None, fastchat: float | None) -> None:
    assert strict_rating(text) == strict
    assert fastchat_rating(text) == fastchat


def test_verdict_rules() -> None:
    assert pair_verdict("not [[B]] but [[A]]", False) == "model_1"  # FastChat looks for A first
    assert pair_verdict("[[A]]", True) == "model_2"
    assert pair_verdict("[[C]]", True) == "tie"
    assert pair_verdict("none", True) == "error"
    assert both_orders("model_1", "model_1") == "model_1"
    assert both_orders("model_1", "model_2") == both_orders("model_1", "tie") == "tie"
    assert both_orders("model_1", "error") == "error"
    assert first_line("8, 9.5\nwords") == (8, 9.5)
    assert first_line("8 9 10") is first_line("Assistant 1: 8") is None


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"model": "m", "question_id": 1, "turn": 3, "score": 5}, "has turn 3"),
        ({"model": "m", "question_id": 1, "score": "5"}, "the text '5' in 'score'"),
        ({"model": "m", "question_id": 1, "judgment": 5}, "has no text in 'judgment'"),
        ({"question_id": 1, "score": 5}, "no 'model'"),
        ({"question_id": 1, "model_1": "a", "model_2": "a", "g1_winner": "tie", "g2_winner": "tie"}, "against itself"),
        ({"question_id": 1, "model_1": "a", "model_2": "b", "g1_winner": "a", "g2_winner": "tie"}, "the winner 'a'"),
        ({"question_id": 1, "model_1": "a", "model_2": "b", "g1_winner": "tie"}, "neither 'g2_judgment'"),
        ({"set": "s", "question_id": 1, "score": [1]}, "2 are due"),
        ({"question_id": 1}, "no row has a 'judgment'"),
    ],
)
def test_broken_rows(row: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("mt_bench", [row])


def test_an_unread_rating_is_not_scored_rather_than_zero() -> None:
    rows = [{"model": "m", "question_id": q, "turn": 1, "judgment": text} for q, text in enumerate(["[[4]]", "?"])]
    found = score("mt_bench", rows).scores.results["m"]
    assert (found["average"].value, found["average"].unscored, found["n_error"]) == (4, 1, 1)


def test_means_by_category_of_the_official_questions(published: Find) -> None:
    """Of a made run over all 80 questions, both turns: the category's own mean; other questions are refused."""
    questions = published("mt_bench/question.jsonl")
    known = [json.loads(line) for line in questions.read_text(encoding="utf-8").split("\n") if line]
    names = sorted({entry["category"] for entry in known})
    rows = [
        {
            "model": "m",
            "question_id": q["question_id"],
            "turn": turn,
            "score": 1 + names.index(q["category"]) + turn / 2,
        }
        for q in known
        for turn in (1, 2)
    ]
    found = score("mt_bench", rows, questions=questions).scores.results["m"]
    assert {name: e.value for name, e in found["categories"].items()} == {
        name: 1.75 + place for place, name in enumerate(names)
    }
    assert all(e.n == 10 for e in found["categories"].values())
    assert found["turn_2"].value - found["turn_1"].value == pytest.approx(0.5)
    with pytest.raises(EvalError, match="line 1 is of question 7, which is not in question"):
        score("mt_bench", [{"model": "m", "question_id": 7, "score": 5}], questions=questions)
