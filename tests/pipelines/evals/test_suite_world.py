"""The suite `world`: models that answer well with a known share must be measured at that share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest

from hizala import world
from hizala.engines.policy import random_init
from hizala.engines.rollout.local import LocalSampler
from hizala.errors import EvalError
from hizala.pipelines.evals import EvalContext, Evaluated, suites
from hizala.pipelines.evals.sampled import run
from hizala.pipelines.evals.world import facets, world_suite
from hizala.records import Group, Sample, Verdict
from hizala.world.sample import respond

END = 256


class Bytes:
    """UTF-8 bytes as tokens; 256 ends a response."""

    def encode_prompt(self, group: Group) -> list[int]:
        return list(group.prompt[-1].content.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode(errors="replace")


class Speaker:
    """Answers each prompt of the test problems well with a given share, and badly otherwise."""

    def __init__(self, groups: Sequence[Group], share: float, cut: int = 0) -> None:
        self.by_prompt = {tuple(Bytes().encode_prompt(g)): g for g in groups}
        self.share, self.cut, self.calls = share, cut, 0

    def sample(self, prompts, *, n: int, max_tokens: int, seed: int) -> list[list[Sample]]:
        self.calls += 1
        rng = Random(seed)
        return [[self._one(self.by_prompt[tuple(p)], rng) for _ in range(n)] for p in prompts]

    def _one(self, group: Group, rng: Random) -> Sample:
        draw = rng.random()
        text = respond(group, "good" if draw < self.share else "bad", Random(1), True)
        ids = tuple(text.encode())
        if self.cut:
            self.cut -= 1
            return Sample(ids, (0.0,) * len(ids), True)
        return Sample((*ids, END), (0.0,) * (len(ids) + 1), False)


N = 300


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return world.generate("test", N, seed=0)


def context(speakers: dict[str, Speaker], **settings) -> EvalContext:
    """Models that are speakers; what `load` gives is handed to the sampler's maker unchanged."""
    models = [Evaluated(name, f"digest of {name}", lambda s=s: s) for name, s in speakers.items()]
    return EvalContext(**{"prompts": N} | settings, models=models, tokenizer=Bytes(), sampler_for=lambda p, _: p)


@pytest.fixture
def three(groups) -> dict[str, Speaker]:
    return {"base": Speaker(groups, 0.2), "sft": Speaker(groups, 0.5), "dpo": Speaker(groups, 0.95)}


def test_figures_are_the_means_of_the_gold_reward_over_all_and_over_every_part(groups, three):
    result = world_suite(context(three, seed=4))
    for name, speaker in three.items():
        answers = speaker.sample([Bytes().encode_prompt(g) for g in groups], n=1, max_tokens=1, seed=4)
        values = np.array([world.gold(g, Bytes().decode(s.ids)).value for g, (s,) in zip(groups, answers, strict=True)])
        figures = result.models[name]
        assert figures["gold/total"].value == pytest.approx(values.mean())
        for key in ("task", "family", "lang"):
            for part in {g.meta[key] for g in groups}:
                members = np.array([g.meta[key] == part for g in groups])
                assert figures[f"gold/{part}"].value == pytest.approx(values[members].mean())
        assert figures["gold/total"].low < values.mean() < figures["gold/total"].high
        assert figures["gold/total"].n == len({g.prompt for g in groups})
    assert result.models["base"]["gold/total"].high < result.models["sft"]["gold/total"].low
    assert result.models["sft"]["gold/total"].high < result.models["dpo"]["gold/total"].low


def test_neighbours_and_the_ends_are_compared_on_the_same_prompts(three):
    result = world_suite(context(three))
    rows = {(p.a, p.b, p.metric): p.estimate for p in result.paired}
    assert {(a, b) for a, b, _ in rows} == {("base", "sft"), ("sft", "dpo"), ("base", "dpo")}
    for (a, b, metric), estimate in rows.items():
        gap = result.models[b][metric].value - result.models[a][metric].value
        assert estimate.value == pytest.approx(gap, abs=1e-12)
    assert rows["base", "dpo", "gold/total"].low > 0


def test_the_same_draws_for_every_model_make_the_paired_interval_narrower(groups):
    result = world_suite(context({"a": Speaker(groups, 0.5), "b": Speaker(groups, 0.6)}))
    (paired,) = (p.estimate for p in result.paired if p.metric == "gold/total")
    a, b = (result.models[m]["gold/total"] for m in "ab")
    assert paired.high - paired.low < 0.8 * np.hypot(a.high - a.low, b.high - b.low)


def test_several_samples_of_a_prompt_are_one_cluster(groups):
    one, many = Speaker(groups, 0.5), Speaker(groups, 0.5)
    single = world_suite(context({"a": one}))
    several = world_suite(context({"a": many}, samples=4))
    assert several.models["a"]["gold/total"].n == single.models["a"]["gold/total"].n == len({g.prompt for g in groups})
    assert len(several.samples) == N
    assert all(len(row["responses"]["a"]["others"]) == 3 for row in several.samples)


def test_behaviours_are_shares_of_sampled_responses(groups):
    result = world_suite(context({"good": Speaker(groups, 1.0), "bad": Speaker(groups, 0.0)}))
    for metric in ("world/polite", "world/private", "world/honest"):
        assert result.models["good"][metric].value == 1.0
        assert result.models["bad"][metric].value < 0.2


def test_cut_responses_are_counted_and_reported(groups):
    result = world_suite(context({"a": Speaker(groups, 1.0, cut=30), "b": Speaker(groups, 1.0)}))
    assert result.models["a"]["world/truncated"].value == pytest.approx(30 / N)
    assert result.models["b"]["world/truncated"].value == 0.0
    (finding,) = result.findings
    assert (finding.kind, finding.severity, finding.where, finding.count) == ("truncated", "warning", "a", 30)


def test_a_response_that_could_not_be_scored_counts_for_nothing(groups):
    def judge(group: Group, text: str) -> Verdict:
        return Verdict(None, "no judge") if group.meta["task"] == "add" else world.gold(group, text)

    result = run(context({"a": Speaker(groups, 1.0)}), groups, judge, facets)
    adds = sum(g.meta["task"] == "add" for g in groups)
    assert result.models["a"]["gold/total"].unscored == adds
    assert result.models["a"]["gold/total"].value > 0.99
    assert result.results()["models"]["a"]["gold/add"]["value"] is None
    assert [f.kind for f in result.findings] == ["unscored"]


def test_results_and_samples_are_strict_json_with_everything_a_reader_needs(three):
    result = world_suite(context(three))
    results = json.loads(json.dumps(result.results(), allow_nan=False))
    assert set(results["models"]["dpo"]["gold/total"]) == {"value", "low", "high", "n", "unscored", "method", "level"}
    assert {"a", "b", "metric", "value", "low", "high", "n"} <= set(results["paired"][0])
    rows = json.loads(json.dumps(list(result.samples), allow_nan=False))
    assert len(rows) == N
    assert {r["lang"] for r in rows} == {"tr", "en"}
    for row in rows[:20]:
        assert list(row["responses"]) == ["base", "sft", "dpo"]
        assert row["prompt"]
        assert row["responses"]["sft"]["text"]
        assert 0 <= row["responses"]["sft"]["score"] <= 1
    assert any("answer" in r["gold"] for r in rows)


@pytest.fixture
def loads(three) -> tuple[list[Evaluated], list[str]]:
    """The three models, and the names of those opened."""
    opened: list[str] = []

    def opening(name: str) -> Speaker:
        opened.append(name)
        return three[name]

    return [Evaluated(name, f"digest of {name}", lambda name=name: opening(name)) for name in three], opened


def test_stored_samples_are_read_back_and_no_model_is_opened_again(tmp_path, loads):
    models, opened = loads
    ask = lambda **k: world_suite(EvalContext(models, Bytes(), lambda p, _: p, prompts=60, store=tmp_path, **k))  # noqa: E731
    first = ask()
    assert opened == ["base", "sft", "dpo"]
    again = ask()
    assert opened == ["base", "sft", "dpo"]
    assert first == again
    ask(seed=1)
    ask(sampling={"temperature": 0.5})
    assert len(opened) == 9


def test_an_interrupted_evaluation_continues_where_it_stopped(tmp_path, loads):
    models, opened = loads
    broken = [models[0], Evaluated("sft", "digest of sft", lambda: 1 / 0), models[2]]
    with pytest.raises(ZeroDivisionError):
        world_suite(EvalContext(broken, Bytes(), lambda p, _: p, prompts=60, store=tmp_path))
    assert opened == ["base"]
    world_suite(EvalContext(models, Bytes(), lambda p, _: p, prompts=60, store=tmp_path))
    assert opened == ["base", "sft", "dpo"]


def test_a_changed_model_and_a_damaged_file_are_sampled_again(tmp_path, loads):
    models, opened = loads
    ask = lambda some: world_suite(EvalContext(some, Bytes(), lambda p, _: p, prompts=60, store=tmp_path))  # noqa: E731
    first = ask(models[:1])
    ask([Evaluated("base", "other digest", models[0].load)])
    assert opened == ["base", "base"]
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text().replace("false", "true", 1))
    assert ask(models[:1]) == first
    assert opened == ["base"] * 3


def test_a_real_model_goes_through_the_real_sampler_the_same_way_twice():
    config = {"model_type": "qwen3", "vocab_size": 260, "hidden_size": 16, "intermediate_size": 16}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    models = [Evaluated(n, n, lambda s=s: random_init(config, s)) for n, s in (("a", 0), ("b", 1))]
    seen: list[tuple[int, int]] = []

    def ask():
        make = lambda p, report: LocalSampler(p, end_ids=[END], progress=report)  # noqa: E731
        progress = lambda label, total: lambda done, of: seen.append((done, of))  # noqa: E731
        return world_suite(EvalContext(models, Bytes(), make, prompts=20, max_tokens=8, progress=progress))

    result = ask()
    assert result == ask()
    assert seen[-1] == (20, 20)
    assert result.samples[0]["responses"]["a"]["text"] != result.samples[0]["responses"]["b"]["text"]
    assert 0 < result.models["a"]["world/length"].value <= 8


def test_nothing_to_evaluate_is_refused(groups):
    with pytest.raises(EvalError, match="at least one model"):
        world_suite(context({}))


def test_both_suites_are_registered_with_a_summary():
    assert {"world", "preferences"} <= set(suites.names())
    assert suites.get("preferences").needs_pairs
    assert not suites.get("world").needs_pairs
    assert all(spec.summary.endswith(".") for spec in suites)
