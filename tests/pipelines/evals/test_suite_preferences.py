"""The suite `preferences`: accuracy, margin, ties and buckets against figures computed by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hizala.engines.policy import random_init
from hizala.errors import DataError, EvalError
from hizala.pipelines.evals import EvalContext, Evaluated
from hizala.pipelines.evals.preferences import accuracy, preferences_suite
from hizala.records import Group, Message, Response, TokenBranch, TokenGroup

CONFIG = {
    "model_type": "qwen3",
    "vocab_size": 257,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
}


class Bytes:
    """UTF-8 bytes as tokens, 256 after each response."""

    def encode_group(self, group: Group, *, max_length: int | None = None) -> TokenGroup:
        prompt = list(group.prompt[0].content.encode())
        if max_length is not None and len(prompt) >= max_length:
            raise DataError("no room", where=group.id)
        branches = []
        for response in group.responses:
            ids = [*response.text.encode(), 256]
            room = len(ids) if max_length is None else max_length - len(prompt)
            branches.append(TokenBranch(ids[:room], [True] * len(ids[:room]), len(ids) > room))
        return TokenGroup(prompt, tuple(branches), group.id)


def pair(i: int, prompt: str, chosen: str, rejected: str, **meta) -> Group:
    said = lambda text: Response((Message("assistant", text),))  # noqa: E731
    return Group((Message("user", prompt),), (said(chosen), said(rejected)), f"row-{i}", meta)


def pairs(n: int = 40) -> list[Group]:
    rng = np.random.default_rng(0)
    word = lambda: "".join(rng.choice(list("abcdefgh"), rng.integers(1, 9)))  # noqa: E731
    return [pair(i, f"prompt {i}", word(), word(), source="x" if i % 3 else "y") for i in range(n)]


def models(*seeds: int, chain: bool = True, opened: list[str] | None = None) -> list[Evaluated]:
    made = []
    for i, seed in enumerate(seeds):

        def load(seed: int = seed, name: str = f"m{i}"):
            if opened is not None:
                opened.append(name)
            return random_init(CONFIG, seed)

        made.append(Evaluated(f"m{i}", f"digest {seed}", load, parent=f"m{i - 1}" if i and chain else None))
    return made


def context(some: list[Evaluated], groups: list[Group] | None, **settings) -> EvalContext:
    source = None if groups is None else lambda: groups
    return EvalContext(some, Bytes(), lambda p, _: p, pairs=source, **settings)


@torch.no_grad()
def totals(seed: int, groups: list[Group]) -> np.ndarray:
    """(P, 2) log-probs one response at a time."""
    policy, out = random_init(CONFIG, seed), []
    for group in groups:
        tokens = Bytes().encode_group(group)
        for branch in tokens.responses:
            (tree,) = policy.pack([TokenGroup(tokens.prompt, (branch,))], 10_000)
            out.append(float(policy.logps(tree).total[0]))
    return np.array(out).reshape(-1, 2)


def test_accuracy_and_margin_are_those_of_the_implicit_reward():
    groups = pairs()
    result = preferences_suite(context(models(0, 1), groups, beta=0.3))
    ratios = totals(1, groups) - totals(0, groups)
    figures = result.models["m1"]
    assert figures["preferences/accuracy"].value == pytest.approx((ratios[:, 0] > ratios[:, 1]).mean())
    assert figures["preferences/margin"].value == pytest.approx(0.3 * (ratios[:, 0] - ratios[:, 1]).mean(), abs=1e-5)
    assert figures["preferences/accuracy"].n == len(groups)
    assert figures["preferences/accuracy"].low < figures["preferences/accuracy"].value


def test_a_model_s_own_beta_scales_its_margin_and_leaves_its_accuracy():
    groups, (a, b) = pairs(), models(0, 1)
    plain = preferences_suite(context([a, b], groups, beta=0.1)).models["m1"]
    own = preferences_suite(context([a, Evaluated("m1", b.digest, b.load, "m0", beta=0.5)], groups, beta=0.1)).models[
        "m1"
    ]
    assert own["preferences/margin"].value == pytest.approx(5 * plain["preferences/margin"].value)
    assert own["preferences/accuracy"] == plain["preferences/accuracy"]


def test_length_normalised_and_plain_likelihood_are_given_beside_it():
    groups = pairs()
    figures = preferences_suite(context(models(0, 1), groups)).models
    sizes = np.array([[len(b.ids) for b in Bytes().encode_group(g).responses] for g in groups])
    one, zero = totals(1, groups), totals(0, groups)
    per_token = (one - zero) / sizes
    expect = lambda x: pytest.approx((x[:, 0] > x[:, 1]).mean())  # noqa: E731
    assert figures["m1"]["preferences/per_token"].value == expect(per_token)
    assert figures["m1"]["preferences/likelihood"].value == expect(one)
    assert figures["m0"]["preferences/likelihood_per_token"].value == expect(zero / sizes)
    assert "preferences/accuracy" not in figures["m0"]


def test_buckets_split_by_length_and_source_and_hold_all_pairs_between_them():
    groups = pairs()
    figures = preferences_suite(context(models(0, 1), groups)).models["m1"]
    names = ("chosen_longer", "chosen_shorter", "same_length")
    parts = [figures[f"preferences/accuracy.{n}"] for n in names if f"preferences/accuracy.{n}" in figures]
    assert sum(p.n for p in parts) == len(groups)
    whole = sum(p.value * p.n for p in parts) / len(groups)
    assert whole == pytest.approx(figures["preferences/accuracy"].value)
    assert figures["preferences/accuracy.x"].n + figures["preferences/accuracy.y"].n == len(groups)


def test_a_model_that_is_its_own_reference_ties_everywhere():
    a = models(0)[0]
    result = preferences_suite(context([a, Evaluated("same", "d", a.load, parent="m0")], pairs()))
    assert result.models["same"]["preferences/accuracy"].value == 0.5
    assert result.models["same"]["preferences/margin"].value == 0.0


def test_equal_responses_are_ties_counted_one_half_and_reported():
    same = ["same" * (1 + i % 7) for i in range(40)]
    groups = [pair(i, f"p {i}", text, text) for i, text in enumerate(same)] + pairs(10)
    result = preferences_suite(context(models(0, 1), groups))
    tied = [f for f in result.findings if f.kind == "tied"]
    assert [(f.where, f.count) for f in tied] == [("m0", 40), ("m1", 40)]
    assert np.array_equal(accuracy(np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])), [0.5, 1.0, 0.0])


def test_models_are_compared_on_the_same_pairs():
    result = preferences_suite(context(models(0, 1, 2), pairs()))
    rows = {(p.a, p.b, p.metric): p.estimate for p in result.paired}
    gap = result.models["m2"]["preferences/accuracy"].value - result.models["m1"]["preferences/accuracy"].value
    assert rows["m1", "m2", "preferences/accuracy"].value == pytest.approx(gap)
    assert ("m0", "m1", "preferences/likelihood") in rows
    assert ("m0", "m1", "preferences/accuracy") not in rows
    json.dumps(result.results(), allow_nan=False)


def test_stored_log_probs_are_read_back_and_changed_pairs_measured_again(tmp_path):
    opened: list[str] = []
    some = models(0, 1, opened=opened)
    first = preferences_suite(context(some, pairs(), store=tmp_path))
    assert preferences_suite(context(some, pairs(), store=tmp_path)) == first
    assert opened == ["m0", "m1"]
    preferences_suite(context(some, pairs(39), store=tmp_path))
    assert opened == ["m0", "m1"] * 2
    preferences_suite(context(some, pairs(), store=tmp_path, dtype="bfloat16"))
    assert opened == ["m0", "m1"] * 3


def test_what_does_not_fit_is_left_out_or_cut_and_named():
    groups = [*pairs(10), pair(10, "p" * 90, "a", "b"), pair(11, "short", "c" * 90, "d")]
    result = preferences_suite(context(models(0, 1), groups, max_length=40))
    kinds = {f.kind: f for f in result.findings}
    assert (kinds["dropped"].count, kinds["dropped"].where) == (1, "row-10")
    assert (kinds["truncated"].count, kinds["truncated"].where) == (1, "row-11")
    assert result.models["m1"]["preferences/accuracy"].n == 11


def test_a_reference_that_is_not_evaluated_is_said():
    result = preferences_suite(context(models(0, 1)[1:], pairs()))
    assert [f.kind for f in result.findings] == ["no-reference"]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (None, "needs preference pairs"),
        ([], "none of 0"),
        ([pair(0, "p" * 2000, "a", "b")], "none of 1"),
        ([Group((Message("user", "a"),), (Response((Message("assistant", "b"),)),), "row-0")], "1 responses"),
    ],
)
def test_data_that_cannot_serve_is_refused(groups, words):
    with pytest.raises(EvalError, match=words):
        preferences_suite(context(models(0), groups))
