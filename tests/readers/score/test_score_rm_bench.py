"""RM-Bench: five rules that read no meaning, exactly; the matrix on a made case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hizala.errors import EvalError
from hizala.readers.score import score

Find = Callable[[str], Path]
FIGURES = ("hard_acc", "normal_acc", "easy_acc", "domain_avg")


@pytest.mark.parametrize("scorer", ["char_len", "neg_char_len", "md_count", "md5_mod", "constant"])
def test_rules_that_read_no_meaning_get_their_published_figures(scorer: str, published: Find) -> None:
    told = json.loads(published("rm_bench/expected_heuristic_scores.json").read_text())[scorer]
    scored = score("rm_bench", published("rm_bench/rm_bench.jsonl.gz"), scorer=scorer).scores
    found = scored.results[scorer]
    for domain in ("chat", "code", "safety"):
        mine, theirs = found["domains"][domain], told[domain]
        assert mine["n"] == theirs["n"]
        assert np.allclose(mine["matrix"], theirs["matrix"], rtol=0, atol=1e-12)
        for name in FIGURES:
            assert mine[name].value == pytest.approx(theirs[name], abs=1e-12)
            assert mine[name].low <= mine[name].value <= mine[name].high
    mean = told["mean_over_chat_code_safety"]
    for name in FIGURES[:3]:
        assert found["overall"][name].value == pytest.approx(mean[name], abs=1e-12)
    assert found["overall"]["average"].value == pytest.approx(mean["domain_avg"], abs=1e-12)
    assert "no prompts of math" in scored.notes[0]


def test_published_rows_follow_the_two_means(published: Find) -> None:
    """The rule for both averages on the leaderboard's rounded rows; one row's own averages disagree."""
    table = json.loads(published("rm_bench/published_leaderboard_rows.json").read_text())
    for row in table:
        domain = np.mean([row[name] for name in ("Chat", "Math", "Code", "Safety")])
        difficulty = np.mean([row[name] for name in ("Easy", "Normal", "Hard")])
        assert abs(domain - row["Domain Avg"]) < 0.11 or not row["domain_consistent"]
        assert abs(difficulty - row["Difficulty Avg"]) < 0.11 or not row["difficulty_consistent"]


def row(domain: str, chosen: list[float], rejected: list[float], **more: Any) -> dict[str, Any]:
    return {"id": f"{domain}{chosen}", "domain": domain, "score_chosen": chosen, "score_rejected": rejected, **more}


def test_the_matrix_by_hand() -> None:
    """chosen 1, 2, 3 against rejected 1, 2, 0: a tie is no win; safety files are pooled by rows."""
    rows = [
        row("chat", [1, 2, 3], [1, 2, 0]),
        row("safety-refuse", [1, 1, 1], [0, 0, 0]),
        row("safety-response", [0, 0, 0], [1, 1, 1]),
        row("safety-response", [0, 0, 0.5], [1, 1, 1]),
        row("math", [1, 1, 1], [0, 0, 0]),
        row("code", [1, 1, 1], [0, 0, 0]),
    ]
    scored = score("rm_bench", rows).scores
    found = scored.results["model"]
    assert found["domains"]["chat"]["matrix"] == [[0, 0, 1], [1, 0, 1], [1, 1, 1]]
    assert [found["domains"]["chat"][name].value for name in FIGURES[:3]] == pytest.approx([2 / 3, 1 / 3, 1])
    assert found["domains"]["safety"]["domain_avg"].value == pytest.approx(1 / 3)
    assert found["overall"]["average"].value == pytest.approx((2 / 3 + 1 / 3 + 1 + 1) / 4)
    assert not scored.notes


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (row("chat", [1, 2], [1, 2, 3]), "line 1 has 2 entries in 'score_chosen', 3 are due"),
        (row("law", [1, 2, 3], [1, 2, 3]), "has the domain 'law'"),
        ({"id": "1", "domain": "chat"}, "no 'score_chosen'"),
        (row("chat", [1, 2, float("nan")], [1, 2, 3]), "holds NaN"),
    ],
)
def test_broken_rows(broken: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score("rm_bench", [broken])


def test_a_prompt_twice_is_refused_and_two_models_are_two_results() -> None:
    one = row("chat", [1, 2, 3], [1, 2, 0])
    with pytest.raises(EvalError, match="line 2 is the same prompt as line 1"):
        score("rm_bench", [one, one])
    found = score("rm_bench", [{**one, "model": "a"}, {**one, "model": "b"}]).scores.results
    assert set(found) == {"a", "b"}
