"""The suites about reward models, on scorers whose answers are known and on models that a recipe trains."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import hizala
from hizala import world
from hizala.errors import ConfigError, DataError, EvalError
from hizala.pipelines.context import ModelRef
from hizala.pipelines.evals import EvalContext, Evaluated, suites
from hizala.pipelines.evals.reward import best_of_n_suite, reward_suite, scores_of
from hizala.pipelines.evals.reward_rows import gold
from hizala.pipelines.evals.reward_scorers import Opening, ensemble, rewarded
from hizala.pipelines.evals.suite import Rewarded
from hizala.records import Group, Message, Sample, TokenBranch, TokenGroup


class Words:
    """Words as tokens; decoding looks up what was said."""

    def __init__(self, texts: list[str] | None = None) -> None:
        self.texts = texts or []

    def encode_group(self, group: Group, *, max_length: int | None = None) -> TokenGroup:
        if max_length is not None and len(group.prompt[0].content.split()) > max_length:
            raise DataError("no room", where=group.id)
        sizes = [len(r.text.split()) + 1 for r in group.responses]
        return TokenGroup((0,), tuple(TokenBranch(range(n), (True,) * n) for n in sizes), group.id)

    def encode_prompt(self, group: Group) -> list[int]:
        return list(group.prompt[0].content.encode())

    def decode(self, ids) -> str:
        return self.texts[ids[0]]


class ByGold:
    """Scores a response by its gold reward, plus `bias` a character; counts how often it is asked."""

    def __init__(self, bias: float = 0.0, sign: float = 1.0) -> None:
        self.bias, self.sign, self.asked = bias, sign, 0

    def score(self, groups):
        self.asked += len(groups)
        lengths = [np.array([len(r.text) for r in g.responses]) for g in groups]
        return [4 * self.sign * gold(g) + self.bias * n for g, n in zip(groups, lengths, strict=True)]


class ByMarks:
    """Scores each step as it is marked, the first one never wrong."""

    def score(self, groups):
        return [np.array([min(p) for p in some]) for some in self.steps(groups)]

    def steps(self, groups):
        return [
            [np.array([1.0 if s.correct or i == 0 else 0.1 for i, s in enumerate(r.steps)]) for r in g.responses]
            for g in groups
        ]


def model(name: str, scorer, steps: str | None = None) -> Rewarded:
    return Rewarded(name, f"digest of {name}", lambda: scorer, steps)


def context(rewards, groups=None, tokenizer=None, **settings) -> EvalContext:
    source = None if groups is None else lambda: groups
    return EvalContext((), tokenizer or Words(), lambda p, _: p, rewards=rewards, groups=source, **settings)


def test_gold_itself_is_right_on_every_pair_and_its_negative_on_none() -> None:
    pairs = world.preferences(60, split="test")
    result = reward_suite(context([model("fair", ByGold()), model("turned", ByGold(sign=-1.0))], pairs))
    fair, turned = result.models["fair"], result.models["turned"]
    assert fair["reward/accuracy"].value == 1.0
    assert turned["reward/accuracy"].value == 0.0
    assert fair["reward/gold_correlation"].value == pytest.approx(1.0)
    assert {f.kind for f in result.findings} == {"no-temperature"}
    gaps = {p.metric: p.estimate for p in result.paired}
    assert gaps["reward/accuracy"].value == -1.0
    json.dumps(result.results(), allow_nan=False)


def test_a_reward_that_likes_length_shows_it_in_every_figure_of_length() -> None:
    pairs = world.preferences(150, split="test", length_bias=0.01)
    result = reward_suite(context([model("fair", ByGold()), model("long", ByGold(bias=0.05))], pairs))
    fair, long = result.models["fair"], result.models["long"]
    assert long["reward/length_partial"].low > 0.5
    assert long["reward/length_preferred"].value > fair["reward/length_preferred"].value
    assert fair["reward/padding"].value == 0.0
    assert long["reward/padding"].low > 0.2
    assert long["reward/padding_preferred"].value == 1.0
    kinds = {row["by"] for row in result.details["reward"]["long"]["buckets"]}
    assert kinds == {"source", "margin", "longer", "length"}


def test_rankings_and_marked_steps_are_measured_beside_pairs() -> None:
    data = [*world.preferences(20, split="test"), *world.rankings(20, split="test"), *world.steps(40, split="test")]
    scorers = [model("fair", ByGold()), *(model(f"prm:{way}", ByMarks(), "prm") for way in ("min", "last"))]
    result = reward_suite(context(scorers[:1], data)).models["fair"]
    assert result["reward/kendall_tau"].value == pytest.approx(1.0)
    assert (result["reward/top1"].value, result["reward/top1"].n) == (1.0, 20)
    steps = [g for g in data if g.responses[0].steps]
    found = reward_suite(context(scorers[1:], steps)).models
    assert list(found) == ["prm"]
    first_wrong = [not g.responses[0].steps[0].correct for g in steps]
    marks = [s.correct for g in steps for s in g.responses[0].steps]
    assert found["prm"]["reward/step_accuracy"].value == pytest.approx(1 - sum(first_wrong) / len(marks))
    assert found["prm"]["reward/first_error_right"].value == 1.0


def test_an_attribute_is_held_against_its_own_grades_and_a_whole_score_against_the_whole() -> None:
    class Grades:
        def __init__(self, name: str | None) -> None:
            self.name = name

        def score(self, groups):
            return [
                np.array([(r.score if self.name is None else r.attributes.get(self.name, 0.0)) for r in g.responses])
                for g in groups
            ]

    data = world.attributes(120, split="test")
    named = [Rewarded(f"rm:{n}", f"d{n}", lambda n=n: Grades(n), attribute=n) for n in ("reasoning", "verbosity")]
    crossed = Rewarded("crossed", "x", lambda: Grades("flattery"), attribute="verbosity")
    figures = reward_suite(context([*named, crossed, model("whole", Grades(None))], data)).models
    for name in ("rm:reasoning", "rm:verbosity", "whole"):
        assert figures[name]["reward/grade_correlation"].value == pytest.approx(1.0)
    assert figures["crossed"]["reward/grade_correlation"].high < 0.9
    assert "reward/accuracy" not in figures["whole"]


def test_scores_of_steps_have_no_likelihood_and_no_calibration() -> None:
    pairs = world.preferences(20, split="test")
    figures = reward_suite(context([model("prm:min", ByGold(), "prm")], pairs)).models["prm:min"]
    assert "reward/accuracy" in figures
    assert not {n for n in figures if n.startswith(("reward/nll", "reward/ece", "reward/brier"))}


def test_scores_are_read_back_and_asked_anew_for_other_data(tmp_path) -> None:
    scorer, pairs = ByGold(), world.preferences(30, split="test")
    first = reward_suite(context([model("fair", scorer)], pairs, store=tmp_path))
    asked = scorer.asked
    assert reward_suite(context([model("fair", scorer)], pairs, store=tmp_path)) == first
    assert scorer.asked == asked
    reward_suite(context([model("fair", scorer)], pairs[:29], store=tmp_path))
    assert scorer.asked == asked + 29


def test_what_does_not_fit_is_left_out_and_what_is_not_scored_is_counted() -> None:
    class Blind(ByGold):
        def score(self, groups):
            return [np.where(np.arange(len(s)) == (g.id == "blind"), s, s * math.nan if g.id == "blind" else s)
                    for g, s in zip(groups, super().score(groups), strict=True)]  # fmt: skip

    pairs = world.preferences(20, split="test")
    said = pairs[0].responses
    pairs += [
        Group((Message("user", "long " * 50),), said, "long", pairs[0].meta),
        Group((Message("user", "blind"),), said, "blind", pairs[0].meta),
    ]
    result = reward_suite(context([model("fair", Blind())], pairs, max_length=40))
    kinds = {f.kind: f for f in result.findings}
    assert kinds["dropped"].where == "long"
    assert kinds["unscored"].count == 1
    assert result.models["fair"]["reward/accuracy"].unscored == 1


@pytest.mark.parametrize(
    ("rewards", "groups", "words"),
    [
        ([], [], "needs a reward model"),
        ([model("fair", ByGold())], None, "needs data"),
        ([model("fair", ByGold())], [], "none of 0"),
        ([model("fair", ByGold())], world.chat(2), "no grade and no marked steps"),
    ],
)
def test_what_cannot_be_measured_is_refused(rewards, groups, words) -> None:
    with pytest.raises(EvalError, match=words):
        reward_suite(context(rewards, groups))


class Draws:
    """Samples of four qualities for each prompt."""

    def __init__(self, n: int) -> None:
        self.n = n

    def sample(self, prompts, *, n, max_tokens, seed):
        return [[Sample((p * n + i,), (0.0,), False) for i in range(n)] for p in range(len(prompts))]


def sampled(rewards, prompts: int = 30, samples: int = 4) -> EvalContext:
    from random import Random

    rng = Random(0)
    texts = [
        world.respond(g, ("good", "bad", "half", "bad")[i % 4], rng, True)
        for g in world.generate("test", prompts, seed=0)
        for i in range(samples)
    ]
    return EvalContext(
        [Evaluated("policy", "p", lambda: None)],
        Words(texts),
        lambda _p, _: Draws(samples),
        rewards=rewards,
        prompts=prompts,
        samples=samples,
    )


def test_best_of_n_by_gold_reaches_the_ceiling_and_by_its_negative_falls() -> None:
    result = best_of_n_suite(sampled([model("fair", ByGold()), model("turned", ByGold(sign=-1.0))]))
    told = result.details["best_of_n"]
    best = [p["gold"]["value"] for p in told["ceiling@all"]["points"]]
    assert [p["gold"]["value"] for p in told["fair@all"]["points"]] == pytest.approx(best)
    assert result.models["fair"]["best_of_n/gain"].low > 0.1
    assert result.models["turned"]["best_of_n/gain"].high < -0.1
    assert {(f.kind, f.where) for f in result.findings} == {("over-optimised", "turned")}
    assert told["fair@all"]["policy"] == "policy"
    json.dumps(result.results(), allow_nan=False)


def test_a_model_of_steps_is_measured_on_arithmetic_and_the_others_there_too() -> None:
    class Count:
        def score(self, groups):
            return [np.array([float(len(r.text)) for r in g.responses]) for g in groups]

    result = best_of_n_suite(sampled([model("fair", ByGold()), model("prm:min", Count(), "prm")]))
    assert set(result.details["best_of_n"]) == {
        "fair@all", "ceiling@all", "fair@arithmetic", "prm:min@arithmetic", "ceiling@arithmetic"
    }  # fmt: skip
    assert "best_of_n/gold.4" not in result.models["prm:min"]
    assert "best_of_n/arithmetic_gold.4" in result.models["fair"]


def test_best_of_one_is_refused() -> None:
    with pytest.raises(EvalError, match="samples"):
        best_of_n_suite(sampled([model("fair", ByGold())], samples=1))
    with pytest.raises(EvalError, match="needs a policy and a reward model"):
        best_of_n_suite(sampled([]))


def test_the_suites_say_what_they_need() -> None:
    assert (suites.get("reward").needs_data, suites.get("reward").needs_rewards) == (True, True)
    assert (suites.get("best_of_n").needs_data, suites.get("best_of_n").needs_rewards) == (False, True)


RECIPE = """name: rm
model: embedded
seed: 3
threads: 1
out: {out}
trackers: []
stages:
  - reward: {{name: rm, data: "world:preferences?n=48", steps: 2, batch_size: 8, {members}}}
  - reward: {{name: other, data: "world:preferences?n=48&seed=1", steps: 2, batch_size: 8}}
  - reward_process: {{name: prm, data: "world:steps?n=48", steps: 2, batch_size: 8}}
  - evaluate: {{suites: [reward, best_of_n], {data}, prompts: 4, samples: 2, max_tokens: 8, limit: 12}}
"""
DATA = 'data: ["world:rankings?split=test&n=12", "world:steps?split=test&n=12"]'


def test_a_recipe_measures_every_way_a_model_s_numbers_become_one_score(tmp_path) -> None:
    recipe = tmp_path / "rm.yaml"
    recipe.write_text(RECIPE.format(out=tmp_path, members="members: 2", data=DATA.replace("12", "6")))
    run = hizala.run(recipe)
    found = json.loads((run.path / "stages/04-evaluate/results.json").read_text())
    ways = {"rm:mean", "rm:minimum", "rm:mean-std", "rm:member_1", "other"}
    prm = {f"prm:{way}" for way in ("min", "product", "last", "mean")}
    assert set(found["models"]) == ways | prm | {"prm"}
    assert set(found["details"]["best_of_n"]) >= {"other@all", "prm:product@arithmetic"}
    assert "reward/step_accuracy" in found["models"]["prm"]
    assert (run.path / "report.html").read_text().count('id="rewards"') == 1
    how = Opening("cpu", "chat", 256, 4096, {})
    refs = [
        ModelRef(n, run.path / f"stages/{d}/model", n, kind="reward") for n, d in (("rm", "01-rm"), ("o", "02-other"))
    ]
    with pytest.raises(ConfigError, match="several scores"):
        ensemble("both", refs, how)
    with pytest.raises(ConfigError, match="fewer than two"):
        ensemble("both", refs[1:], how)
    with pytest.raises(ConfigError, match="language model"):
        rewarded(ModelRef("base", world.model_dir(), "d"), how)
    together = {one.name: one for one in ensemble("both", refs[1:] * 2, how)}
    merged = scores_of(context(()), together["both:mean-std"], world.rankings(3, split="test"))
    for got, own in zip(merged, together["both:mean-std"].load().score(world.rankings(3, split="test")), strict=True):
        assert got == pytest.approx(own, abs=1e-6)
    groups = world.rankings(3, split="test")
    alone = rewarded(refs[1], how)[0].load().score(groups)
    for got, own in zip(together["both:minimum"].load().score(groups), alone, strict=True):
        assert got == pytest.approx(own - own.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("suites: [reward, best_of_n]", "suites: [preferences], implicit: true", "`implicit` has no effect"),
        (DATA, "beta: 0.2", "needs graded responses"),
        (DATA, DATA + ", ensembles: {both: [rm, ohter]}", "did you mean 'other'"),
        (DATA, DATA + ", rewards: {rm: embedded}", "two models are called 'rm'"),
        (DATA, DATA + ", rewards: {base2: embedded}", "language model"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, old: str, new: str, words: str) -> None:
    recipe = tmp_path / "rm.yaml"
    recipe.write_text(RECIPE.format(out=tmp_path, members="holdout: 0.1", data=DATA).replace(old, new))
    with pytest.raises((ConfigError, EvalError), match=words):
        hizala.run(recipe)
