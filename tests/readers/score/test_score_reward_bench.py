"""RewardBench 1 and 2: published sections exactly, older sets, half credit, the ties subset."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hizala.errors import EvalError
from hizala.readers.score import score
from hizala.readers.score.reward_bench import COUNTS, MATH_PAIRS, PRIOR, SUBSETS

Find = Callable[[str], Path]


def test_published_sections_and_overall_are_exact(published: Find) -> None:
    path = published("reward_bench/rewardbench1_results.json")
    told = json.loads(path.read_text())
    scored = score("reward_bench", path).scores
    assert set(scored.results) == set(told)
    for model, figures in scored.results.items():
        sections = {name: figures["sections"][name].value for name in COUNTS}
        assert sections == pytest.approx(told[model]["section_scores"], abs=1e-12)
        assert figures["overall"].value == pytest.approx(told[model]["overall_mean_of_4_sections"], abs=1e-12)
        assert figures["overall"].n == sum(told[model]["n_prompts"].values())
    assert not scored.notes


def test_the_same_sections_from_single_pairs(published: Find) -> None:
    """The published counts of right pairs, one row a pair, give the published sections again."""
    told = json.loads(published("reward_bench/rewardbench1_results.json").read_text())["mightbe/Better-PairRM"]
    rows = [
        {"subset": name, "score_chosen": float(place < told["n_correct"][name]), "score_rejected": 0.5}
        for name, n in told["n_prompts"].items()
        for place in range(n)
    ]
    scored = score("reward_bench", rows).scores
    sections = {name: e.value for name, e in scored.results["model"]["sections"].items()}
    assert sections == pytest.approx(told["section_scores"], abs=1e-12)
    assert not scored.notes  # every subset has the benchmark's size


def test_constants_are_the_published_ones(published: Find) -> None:
    told = json.loads(published("reward_bench/rewardbench1_constants.json").read_text())
    assert told["example_counts"] == SUBSETS
    assert told["math_prm_true_count"] == MATH_PAIRS
    assert {section: list(counts) for section, counts in COUNTS.items()} == told["subset_mapping"]


def test_older_sets_count_half_a_section(published: Find) -> None:
    example = json.loads(published("reward_bench/rewardbench1_constants.json").read_text())["prior_sets_example"]
    table = {
        name: value / 100 for counts, value in zip(COUNTS.values(), example["sections"], strict=True) for name in counts
    }
    found = score("reward_bench", [{"model": "m", **table, **dict.fromkeys(PRIOR, 0.65)}]).scores.results["m"]
    assert 100 * found["overall_with_prior_sets"].value == pytest.approx(example["expected"], abs=1e-9)
    assert found["overall"].value == pytest.approx(0.75)
    only = score("reward_bench", [{"model": "m", **table, "shp": 0.5}]).scores.results["m"]
    assert only["prior_sets"].value == 0.5  # sets that are missing are dropped


def test_half_credit_is_for_judges_in_words_alone() -> None:
    said: list[dict[str, Any]] = [
        {"subset": "hep-go", "winner": winner} for winner in ("chosen", "rejected", "tie", "error", None)
    ]
    found = score("reward_bench", said).scores
    assert found.results["model"]["subsets"]["hep-go"].value == pytest.approx(2.5 / 5)
    assert "hep-go 5" in found.notes[1]
    tied = [{"subset": "hep-go", "score_chosen": 1, "score_rejected": 1}]
    assert score("reward_bench", tied).scores.results["model"]["subsets"]["hep-go"].value == 0


def test_best_of_four_and_ties_are_exact(published: Find) -> None:
    path = published("reward_bench/rewardbench2_synthetic.json")
    told = json.loads(path.read_text())
    found = score("reward_bench_2", path).scores.results["model"]
    assert {name: e.value for name, e in found["subsets"].items()} == pytest.approx(told["best_of_4_expected"])
    ties = {name: getattr(figure, "value", figure) for name, figure in found["ties"].items()}
    assert ties == pytest.approx(told["ties_expected"], abs=1e-12)
    assert found["overall"].low < found["overall"].value < found["overall"].high
    assert found["overall"].value == pytest.approx(
        (sum(told["best_of_4_expected"].values()) + told["ties_expected"]["overall"]) / 6
    )
    single = [{"subset": row["subset"], "scores": row["scores"]} for row in told["best_of_4"]]
    for row, expected in zip(single, told["best_of_4"], strict=True):
        got = score("reward_bench_2", [row]).scores.results["model"]["subsets"][row["subset"]].value
        assert got == pytest.approx(expected["result"])


def test_ties_by_hand() -> None:
    """Spread 1; margins 2 (ref) and 3 (tied): both above the spread, tanh(2 - 1). Without spread it is 1."""
    rows: list[dict[str, Any]] = [
        {"id": "ref:a", "num_correct": 1, "scores": [3, 1]},
        {"id": "tied:a", "num_correct": 2, "scores": [5, 4, 1]},
    ]
    ties = score("reward_bench_2", rows).scores.results["model"]["ties"]
    assert ties["margin_score"] == pytest.approx(math.tanh(1))
    assert ties["overall"].value == pytest.approx(1 + 0.01 * math.tanh(1))
    rows[1]["scores"] = [4, 4, 1]
    assert score("reward_bench_2", rows).scores.results["model"]["ties"]["margin_score"] == 1
    rows[1]["scores"] = [4, 4, 4]
    ties = score("reward_bench_2", rows).scores.results["model"]["ties"]
    assert (ties["margin_score"], ties["tied_accuracy"], ties["correctness_preferred"]) == (0, 0, 0)


def test_a_prompt_without_its_partner_is_told() -> None:
    scored = score("reward_bench_2", [{"id": "ref:a", "num_correct": 1, "scores": [3, 1]}]).scores
    assert "1 prompts of the ties subset lack their partner" in scored.notes[0]
    assert math.isnan(scored.results["model"]["ties"]["overall"].low)


def test_a_judge_that_names_no_answer_gets_chance() -> None:
    rows = [{"subset": "Math", "choice": choice} for choice in (0, 3, None)]
    found = score("reward_bench_2", rows).scores.results["model"]["subsets"]["Math"]
    assert found.value == pytest.approx(1.25 / 3)


@pytest.mark.parametrize(
    ("suite", "row", "told"),
    [
        ("reward_bench", {"subset": "hep-cobol", "result": 1}, "has the subset 'hep-cobol'"),
        ("reward_bench", {"subset": "hep-go", "result": 1.5}, "outside of 0 to 1"),
        ("reward_bench", {"subset": "hep-go", "score_chosen": "high", "score_rejected": 1}, "the text 'high'"),
        ("reward_bench", {"subset": "hep-go"}, "neither scores, 'winner' nor 'result'"),
        ("reward_bench", {"subset": "hep-go", "winner": "A"}, "none of chosen, rejected"),
        ("reward_bench", {"model": "m", "hep-go": 92}, "outside of 0 to 1"),
        ("reward_bench", {"model": "m"}, "has no subset of RewardBench"),
        ("reward_bench_2", {"subset": "Math", "scores": [1]}, "at least two are due"),
        ("reward_bench_2", {"id": "a", "num_correct": 1, "scores": [1, 2]}, "neither ref:NAME nor tied:NAME"),
        ("reward_bench_2", {"id": "ref:a", "num_correct": 2, "scores": [1, 2]}, "a wrong one is needed"),
        ("reward_bench_2", {"subset": "Math", "scores": [1, None]}, "null at scores"),
    ],
)
def test_broken_rows(suite: str, row: dict[str, Any], told: str) -> None:
    with pytest.raises(EvalError, match=told):
        score(suite, [row])


def test_a_pair_twice_is_refused() -> None:
    row = {"id": 1, "subset": "hep-go", "result": 1}
    with pytest.raises(EvalError, match="line 2 is the same pair as line 1"):
        score("reward_bench", [row, row])


def test_columns_as_the_benchmark_stores_them(write: Callable[..., Path]) -> None:
    whole = {"model": "m", "subset": ["hep-go", "hep-go"], "id": [1, 2], "results": [1, 0]}
    scored = score("reward_bench", write([whole])).scores
    assert scored.form == "columns of pairs"
    assert scored.results["m"]["subsets"]["hep-go"].value == 0.5
    scores = {"scores_chosen": [2, 3], "scores_rejected": [1, 3]}
    assert score("reward_bench", write([{**whole, **scores}])).scores.results["m"]["subsets"]["hep-go"].value == 0.5
    with pytest.raises(EvalError, match="columns of different lengths"):
        score("reward_bench", write([{**whole, "results": [1]}]))
    with pytest.raises(EvalError, match="pair 2 is the same pair as pair 1"):
        score("reward_bench", write([{**whole, "id": [1, 1]}]))
    with pytest.raises(EvalError, match="pair 2 has null in 'result'"):
        score("reward_bench", write([{**whole, "results": [1, None]}]))
