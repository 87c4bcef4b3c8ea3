"""Figures of reward models on planted scores: what each must show is known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from hizala import world
from hizala.pipelines.evals import reward_best_of_n as bon
from hizala.pipelines.evals.reward_lists import ScoredSteps, ranking_measures, step_figures
from hizala.pipelines.evals.reward_pairs import accuracy_measures, bucket_table, calibration, length_bias
from hizala.pipelines.evals.reward_rows import Scored, buckets, folds, gold, pair_rows
from hizala.pipelines.evals.reward_style import adorned, style_figures
from hizala.pipelines.evals.suite import estimates
from hizala.records import Group, Message, Response, Step


def scored(i: int, scores, texts=None, lengths=None, ranks=None, **meta) -> Scored:
    texts = texts or [f"response {j}" for j in range(len(scores))]
    responses = tuple(
        Response((Message("assistant", text),), rank=None if ranks is None else ranks[j])
        for j, text in enumerate(texts)
    )
    group = Group((Message("user", f"prompt {i}"),), responses, f"row-{i}", meta)
    sizes = np.array(lengths if lengths is not None else [len(t) for t in texts])
    return Scored(group, np.array(scores, dtype=float), sizes, f"prompt {i}")


def planted(n: int = 1_500, truth: float = 2.0, seed: int = 0) -> list[Scored]:
    """Pairs whose margins are right with probability sigmoid(m / truth)."""
    rng = np.random.default_rng(seed)
    m = np.abs(rng.normal(0, 3, n))
    m = np.where(rng.random(n) < special.expit(m / truth), m, -m)
    return [scored(i, [x, 0.0], lengths=[5 + i % 7, 8], source="a" if i % 3 else "b") for i, x in enumerate(m)]


def test_accuracy_and_likelihood_of_pairs_and_their_buckets() -> None:
    groups = planted(400)
    rows = pair_rows(groups)
    margins = np.array([r.margin for r in rows])
    figures = estimates(accuracy_measures(rows))
    assert figures["reward/accuracy"].value == pytest.approx((margins > 0).mean())
    assert figures["reward/nll"].value == pytest.approx(-np.log(special.expit(margins)).mean())
    assert figures["reward/accuracy.a"].n + figures["reward/accuracy.b"].n == 400
    by: dict[str, int] = {}
    for told in bucket_table(rows):
        by[told["by"]] = by.get(told["by"], 0) + told["pairs"]
        assert figures[f"reward/accuracy.{told['name']}"].value == told["accuracy"]["value"]
    assert by == {"source": 400, "longer": 400, "length": 400}


def test_a_ranking_gives_every_pair_of_different_ranks_better_first() -> None:
    rows = pair_rows([scored(0, [1.0, 5.0, 2.0], ranks=[2, 0, 0])])
    assert {(r.better, r.worse): r.margin for r in rows} == {(1, 0): 4.0, (2, 0): 1.0}


def test_strength_is_the_annotator_s_where_there_is_one_and_sorts_pairs_into_quartiles() -> None:
    rows = pair_rows([scored(i, [1.0, 0.0], margin=float(i)) for i in range(8)])
    found = [b for b in buckets(rows) if b.by == "margin"]
    assert [(b.name, b.low, b.high) for b in found] == [
        ("margin_1", 0.0, 1.0),
        ("margin_2", 2.0, 3.0),
        ("margin_3", 4.0, 5.0),
        ("margin_4", 6.0, 7.0),
    ]
    few = buckets(pair_rows([scored(i, [1.0, 0.0], margin=float(i % 2)) for i in range(8)]))
    assert [(b.low, b.high, int(b.members.sum())) for b in few if b.by == "margin"] == [(0.0, 0.0, 4), (1.0, 1.0, 4)]


def test_length_buckets_hold_each_pair_once_and_split_at_the_median_difference() -> None:
    rows = pair_rows([scored(i, [1, 0], lengths=[10 + d, 10]) for i, d in enumerate((-9, -2, 0, 1, 2, 3, 8))])
    names = {b.name: int(b.members.sum()) for b in buckets(rows) if b.by == "longer"}
    assert names == {"much_shorter": 1, "shorter": 1, "same_length": 1, "longer": 2, "much_longer": 2}


def test_overconfident_scores_are_calibrated_by_the_temperature_of_the_other_half() -> None:
    rows = pair_rows(planted(truth=4.0))
    figures, told, findings = calibration(rows, "rm")
    assert findings == []
    assert figures["reward/temperature"].low < 4.0 < figures["reward/temperature"].high
    assert figures["reward/ece"].low > 0.1
    assert figures["reward/ece_scaled"].value < told["after"]["ece_by_chance"]["q95"]
    assert figures["reward/brier_scaled"].value < figures["reward/brier"].value
    assert sum(b["n"] for b in told["before"]["bins"]) == len(rows)
    a, b = told["temperatures"]
    assert a != b


def test_a_temperature_that_cannot_be_fitted_is_said_and_nothing_scaled_is_given() -> None:
    right = pair_rows([scored(i, [2.0, 0.0]) for i in range(40)])
    figures, told, findings = calibration(right, "rm")
    assert "reward/ece" in figures
    assert "reward/ece_scaled" not in figures
    assert "after" not in told
    assert [f.kind for f in findings] == ["no-temperature"]
    wrong = pair_rows([scored(i, [-2.0 + 0.5 * (i % 9 == 0), 0.0]) for i in range(40)])
    assert [f.kind for f in calibration(wrong, "rm")[2]] == ["no-temperature"]


def test_one_prompt_stands_in_one_fold() -> None:
    rows = pair_rows([scored(i % 30, [1.0, 0.0]) for i in range(90)])
    assert folds(rows)[:30] == folds(rows)[30:60]
    assert 0 < sum(folds(rows)) < 90


def test_a_pair_not_scored_is_counted_and_enters_nothing() -> None:
    groups = [*planted(200), scored(999, [math.nan, 1.0], lengths=[5, 8], source="a")]
    rows = pair_rows(groups)
    figures = estimates(accuracy_measures(rows))
    assert (figures["reward/accuracy"].n, figures["reward/accuracy"].unscored) == (200, 1)
    whole = calibration(rows, "rm")[0]
    assert whole["reward/ece"].unscored == 1
    assert whole["reward/ece"].value == calibration(pair_rows(groups[:-1]), "rm")[0]["reward/ece"].value


def of_world(bias: float, n: int = 120) -> list[Scored]:
    """Rankings of the world scored by gold, plus `bias` a character."""
    found = []
    for group in world.rankings(n, split="test", length_bias=0.01, k=4):
        lengths = np.array([len(r.text) for r in group.responses])
        noise = np.random.default_rng(len(found)).normal(0, 0.05, 4)
        found.append(Scored(group, gold(group) + bias * lengths + noise, lengths, group.prompt))
    return found


def test_length_bias_shows_in_the_partial_correlation_and_not_without_it() -> None:
    fair, biased = of_world(0.0), of_world(0.02)
    a, b = (length_bias(some, pair_rows(some)) for some in (fair, biased))
    assert a["reward/length_partial"].low < 0.02
    assert abs(a["reward/length_partial"].value) < 0.15
    assert b["reward/length_partial"].low > 0.5
    assert a["reward/gold_correlation"].value > b["reward/gold_correlation"].value
    assert b["reward/length_preferred"].value > a["reward/length_preferred"].value
    assert a["reward/length_chosen"] == b["reward/length_chosen"]


def test_without_gold_there_is_no_partial_correlation() -> None:
    found = length_bias(planted(60), pair_rows(planted(60)))
    assert "reward/length_partial" not in found
    assert "reward/length_correlation" in found


def test_lists_scored_by_gold_are_ranked_perfectly_and_by_its_negative_worst() -> None:
    lists = world.rankings(80, split="test", k=4)
    exact = [Scored(g, gold(g), np.ones(4, dtype=int), g.prompt) for g in lists]
    turned = [Scored(g, -gold(g), np.ones(4, dtype=int), g.prompt) for g in lists]
    best, worst = (estimates(ranking_measures(some)) for some in (exact, turned))
    for name in ("kendall_tau", "ndcg", "ndcg_exponential", "ndcg_3", "top1"):
        assert best[f"reward/{name}"].value == pytest.approx(1.0)
        assert worst[f"reward/{name}"].value < 0.85
    assert worst["reward/kendall_tau"].value == pytest.approx(-1.0)
    assert ranking_measures(planted(5)) == {}


def test_ornament_that_lifts_the_score_is_found_and_gold_is_lifted_by_none() -> None:
    made = adorned(80)
    assert [some.ornament for some in made] == ["flourish", "padding"]
    assert min(len(some.groups) for some in made) > 60

    def flattered(groups):
        return [
            np.array([float("soru" in r.text or "question!" in r.text) for r in g.responses]) + gold(g) for g in groups
        ]

    prompts = lambda groups: [g.prompt for g in groups]  # noqa: E731
    fair = style_figures(made, lambda groups: [gold(g) + 1e-3 * i for i, g in enumerate(groups)], prompts, 0.5)
    biased = style_figures(made, lambda groups: [f + 1e-3 * i for i, f in enumerate(flattered(groups))], prompts, 0.5)
    assert fair["reward/flourish"].value == 0.0
    assert fair["reward/flourish_preferred"].value == 0.5
    assert biased["reward/flourish"].low > 1
    assert biased["reward/flourish_preferred"].value == 1.0
    assert biased["reward/padding_preferred"].value == 0.5


def steps(i: int, marks, probabilities, task: str = "x") -> ScoredSteps:
    response = Response((Message("assistant", "a"),), steps=tuple(Step("s", m) for m in marks))
    group = Group((Message("user", f"p{i}"),), (response,), f"row-{i}", {"task": task})
    return ScoredSteps(group, marks, probabilities, f"p{i}")


def test_step_accuracy_and_first_error_f1_by_hand() -> None:
    answers = [
        steps(0, [True, False, None], [0.9, 0.2, 0.1]),  # found
        steps(1, [True, True, False], [0.9, 0.3, 0.1], "y"),  # named too early
        steps(2, [True, True], [0.9, 0.8]),  # rightly free of errors
    ]
    figures, told = step_figures(answers * 4)
    assert figures["reward/step_accuracy"].value == pytest.approx(6 / 7)
    assert figures["reward/step_right"].value == pytest.approx(5 / 7)
    assert figures["reward/first_error_wrong"].value == 0.5
    assert figures["reward/first_error_right"].value == 1.0
    assert figures["reward/first_error_f1"].value == pytest.approx(2 / 3)
    assert [row["task"] for row in told["first_error"]] == ["x", "y"]
    assert told["first_error"][1] == {"task": "y", "answers": 4, "wrong": 0.0, "right": None, "f1": None}


def test_steps_beyond_what_the_model_reads_are_counted_and_not_guessed() -> None:
    answers = [steps(0, [True, False], [0.9, 0.2]), steps(1, [True, False], [0.9, math.nan]), steps(2, [True], [0.9])]
    figures, _ = step_figures(answers * 3)
    assert (figures["reward/step_accuracy"].value, figures["reward/step_accuracy"].unscored) == (1.0, 3)
    assert (figures["reward/first_error_wrong"].value, figures["reward/first_error_wrong"].unscored) == (1.0, 3)
    assert figures["reward/first_error_f1"].unscored == 3


def test_sizes_are_powers_of_two_and_the_largest() -> None:
    assert bon.sizes(1) == (1,)
    assert bon.sizes(8) == (1, 2, 4, 8)
    assert bon.sizes(12) == (1, 2, 4, 8, 12)


def test_a_faithful_proxy_reaches_the_ceiling_and_a_hacked_one_falls() -> None:
    rng = np.random.default_rng(0)
    value = [rng.random(16) for _ in range(150)]
    prompts = list(range(150))
    ceiling = bon.curve(None, value, prompts)
    faithful = bon.curve([3 * v + 1 for v in value], value, prompts)
    assert [e.value for e in faithful.gold] == pytest.approx([e.value for e in ceiling.gold])
    assert [e.value for e in ceiling.gold] == pytest.approx([n / (n + 1) for n in (1, 2, 4, 8, 16)], abs=0.03)
    assert faithful.proxy is not None
    assert faithful.proxy[0].value == pytest.approx(0, abs=1e-12)
    assert faithful.proxy[-1].low > faithful.proxy[1].high
    # Good up to 0.9, and the very top of the proxy is bad: the curve rises, then falls.
    hacked = bon.curve(value, [np.where(v > 0.9, 0.0, v) for v in value], prompts)
    assert hacked.peak in (2, 4, 8)
    assert hacked.last.high < 0
    assert [f.kind for f in bon.findings({"faithful": faithful, "hacked": hacked})] == ["over-optimised"]
    blind = bon.curve([rng.random(16) for _ in range(150)], value, prompts)
    assert [f.kind for f in bon.findings({"blind": blind})] == ["no-gain"]
    assert set(bon.figures(ceiling)) == {f"best_of_n/gold.{n}" for n in (1, 2, 4, 8, 16)} | {
        "best_of_n/gain",
        "best_of_n/last",
    }
    assert hacked.told()["points"][2]["kl"] == pytest.approx(math.log(4) - 0.75)
