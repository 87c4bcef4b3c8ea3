"""Arena ratings: published variances, quantiles and ranks; a real table of votes; style control; what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import ConfigError, EvalError
from hizala.readers.score import score

Find = Callable[[str], Path]
Write = Callable[..., Path]


def test_variance_quantiles_and_ranks_of_76_models_are_the_published_ones(published: Find) -> None:
    board = json.loads(published("chatbot_arena/leaderboard_20240329.json").read_text())
    found = score("arena", published("chatbot_arena/bootstrap_bt_20240329.jsonl.gz")).scores.results
    assert set(found) == set(board["models"])
    for model, told in board["models"].items():
        figures = found[model]
        assert figures["variance"] == pytest.approx(told["variance"], abs=board["tol"]["variance"])
        assert figures["rating"].low == pytest.approx(told["rating_q025"], abs=board["tol"]["quantile"])
        assert figures["rating"].high == pytest.approx(told["rating_q975"], abs=board["tol"]["quantile"])
        assert figures["rank"] == told["final_ranking"]


def test_a_table_of_35478_votes(published: Find) -> None:
    """Exact maximum likelihood and standard errors; bootstrap intervals as wide as these errors say."""
    path = published("chatbot_arena/win_matrix_13models.json")
    told = json.loads(path.read_text())
    scored = score("arena", path, anchor=told["anchor"], rounds=400).scores
    assert scored.overall["n_battles"] == told["n_battles"]
    for model, rating in told["bt_rating"].items():
        figures = scored.results[model]
        assert figures["rating"].value == pytest.approx(rating, abs=1e-6)
        assert figures["rating"].value == pytest.approx(told["upstream_fastchat_bt"][model], abs=0.05)
        if model != told["anchor"]:
            assert figures["standard_error"] == pytest.approx(told["se_vs_anchor"][model], abs=1e-6)
            width = figures["rating"].high - figures["rating"].low
            assert width == pytest.approx(3.92 * told["se_vs_anchor"][model], rel=0.2)


def test_battles_in_order(published: Find) -> None:
    """Online Elo in the order of the file, and Bradley-Terry, of 2,136 battles."""
    told = json.loads(published("arena_hard/dev_battles_expected.json").read_text())
    scored = score("arena", published("arena_hard/dev_battles.jsonl.gz"), anchor=told["baseline"]).scores
    for model, rating in told["bt_elo"].items():
        assert scored.results[model]["rating"].value == pytest.approx(rating, abs=1e-6)
        assert scored.results[model]["elo"] == pytest.approx(told["online_elo"][model], abs=1e-6)
    assert scored.overall["n_battles"] == told["n"]


def test_style_controlled_ratings(published: Find) -> None:
    told = json.loads(published("style_control/expected.json").read_text())
    expected, anchor = told["chatbot_arena_style"], told["baseline"]
    path = published("style_control/battles.jsonl.gz")
    scored = score("arena", path, anchor=anchor, control="all", rounds=20).scores
    for model, rating in expected["exact"].items():
        figures = scored.results[model]["rating"]
        assert figures.value == pytest.approx(rating, abs=1e-6)
        assert figures.value == pytest.approx(expected["upstream_fastchat"][model], abs=0.1)
        assert figures.low <= figures.value <= figures.high
    coefficients = [scored.overall["style_coefficients"][name].value for name in ("length", "headers", "lists", "bold")]
    assert coefficients == pytest.approx(expected["style_coefs"], abs=1e-6)
    plain = score("arena", path, anchor=anchor, rounds=0).scores.results
    for model, rating in expected["plain_bt_no_style"].items():
        assert plain[model]["rating"].value == pytest.approx(rating, abs=0.1)


def counts(value: int) -> dict[str, Any]:
    """Style of both sides as Chatbot Arena's data have it; side b has none."""
    found: dict[str, Any] = {}
    for side, n in (("a", value), ("b", 0)):
        found |= {f"sum_assistant_{side}_tokens": n, f"header_count_{side}": {"h1": n}}
        found |= {f"list_count_{side}": {"ordered": n, "unordered": 0}, f"bold_count_{side}": {"**": n, "__": 0}}
    return found


def battle(a: str, b: str, winner: str, **more: Any) -> dict[str, Any]:
    return {"model_a": a, "model_b": b, "winner": winner, **more}


def test_style_of_single_battles_takes_the_place_of_skill() -> None:
    """The longer answer always wins, whoever gives it: controlled, both are alike."""
    rows = [battle("x", "y", "model_a", conv_metadata=counts(n)) for n in (5, 9)]
    rows += [battle("y", "x", "model_a", conv_metadata=counts(n)) for n in (5, 9)]
    rows += [battle("x", "y", "tie", conv_metadata=counts(0)), battle("y", "x", "tie", conv_metadata=counts(0))]
    found = score("arena", rows, anchor="x", control="length", rounds=0).scores
    assert found.results["y"]["rating"].value == pytest.approx(1000, abs=1e-6)
    assert found.overall["style_coefficients"]["length"].value > 0.5


def test_three_wins_to_one_are_log_three() -> None:
    rows = [battle("x", "y", w) for w in ("model_a", "model_a", "tie", "tie (bothbad)", "model_a", "model_b")]
    found = score("arena", rows, anchor="y", rounds=0).scores.results
    assert found["x"]["rating"].value == pytest.approx(1000 + 400 * 0.301029995663981)  # 4 to 2
    assert found["x"]["n_battles"] == 6
    mean = score("arena", rows, rounds=0).scores.results
    assert sum(figures["rating"].value for figures in mean.values()) == pytest.approx(2000)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (battle("x", "x", "tie"), "line 2 sets 'x' against itself"),
        (battle("x", "y", "x"), "line 2 has the text 'x' in 'winner'"),
        (battle("x", "", "tie"), "line 2 has the text '' in 'model_b'"),
        ({"model_a": "x", "winner": "tie"}, "line 2 has no 'model_b'"),
    ],
)
def test_broken_battles(row: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("arena", [battle("x", "y", "tie"), row])


def test_models_without_a_finite_rating_are_named() -> None:
    rows = [battle("x", "y", "tie"), battle("x", "champion", "model_b"), battle("y", "champion", "model_b")]
    with pytest.raises(EvalError, match=r"1 models never lost \(champion\)"):
        score("arena", rows)
    found = score("arena", rows, unrated="leave_out", rounds=0).scores
    assert set(found.results) == {"x", "y"}
    assert "never lost: champion (2 battles)" in found.notes[0]


def test_unknown_models_and_options_are_refused() -> None:
    rows = [battle("gpt-4o", "claude", "tie")]
    with pytest.raises(EvalError, match="no battle of 'gpt-4', did you mean 'gpt-4o'"):
        score("arena", rows, anchor="gpt-4")
    with pytest.raises(EvalError, match="style cannot be controlled"):
        score("arena", rows, anchor="gpt-4o", control="all")
    with pytest.raises(ConfigError, match="rounds"):
        score("arena", rows, rounds=-1)
    with pytest.raises(EvalError, match="'a' stands in more than one row"):
        score("arena", [{"model": "a", "results": [1]}, {"model": "a", "results": [2]}])


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"models": ["a", "b"], "wins": [[0, 1]]}, "has 1 entries in 'wins', 2 are due"),
        ({"models": ["a", "a"], "wins": [[0, 1], [1, 0]]}, "needs different names"),
        ({"models": ["a", "b"], "wins": [[0, 1.5], [1, 0]]}, "needs whole numbers"),
        ({"models": ["a", "b"], "wins": [[2, 1], [1, 0]]}, "zeros on its diagonal"),
        ({"models": ["a", "b"], "wins": [[0, -1], [1, 0]]}, "outside of 0"),
    ],
)
def test_broken_tables(table: dict[str, Any], told: str, write: Write) -> None:
    with pytest.raises(EvalError, match=told):
        score("arena", write([table]))


def test_outcomes_need_one_baseline(write: Write) -> None:
    model = {"model": "m", "outcome": [1, 0], "features": [[1, 0, 0, 0]] * 2}
    with pytest.raises(EvalError, match="the row of the baseline is missing"):
        score("arena", write([model]))
    head = {"baseline": "base", "features": [[1, 0, 0, 0]] * 2}
    with pytest.raises(EvalError, match="more than one row has no 'outcome'"):
        score("arena", write([head, head, model]))
    with pytest.raises(EvalError, match="line 3 names 'm' again"):
        score("arena", write([head, model, model]))
    with pytest.raises(EvalError, match="line 2 has 3 entries in 'outcome', 2 are due"):
        score("arena", write([head, {**model, "outcome": [1, 0, 1]}]))
