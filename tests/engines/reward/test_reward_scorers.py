"""Scorers: what a reward model says of responses, in one score that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from hizala.engines.policy import Policy, random_init
from hizala.engines.reward import Classifier, Ensemble, Implicit, Process, stepped
from hizala.errors import ConfigError, DataError
from hizala.records import Group, Message, Response, TokenBranch, TokenGroup

CONFIG = {
    "model_type": "qwen3",
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.1,
}


def model(seed: int = 0, *, heads: Sequence[str] = (), labels: Sequence[str] = ()) -> Policy:
    torch.manual_seed(seed)
    policy = random_init(CONFIG, seed, heads=heads, labels=labels, dtype="float64")
    with torch.no_grad():
        for parameter in policy.module.heads.parameters():
            parameter.normal_()
    return policy


def groups() -> list[TokenGroup]:
    draw = torch.Generator().manual_seed(5)

    def ids(n: int) -> list[int]:
        return torch.randint(0, 61, (n,), generator=draw).tolist()

    def branch(n: int, *marks: int) -> TokenBranch:
        return TokenBranch(ids(n), [True] * n, marks=tuple((i, True) for i in marks))

    return [
        TokenGroup(ids(4), (branch(5, 1, 4), branch(3, 2)), "a"),
        TokenGroup(ids(2), (), "nothing"),
        TokenGroup(ids(6), (branch(2), TokenBranch([], []), branch(7, 0, 3, 6)), "b"),
    ]


def test_scores_come_back_by_group_and_do_not_depend_on_the_budget() -> None:
    policy = model(heads=("score",))
    data = groups()
    wide, narrow = Classifier(policy).score(data), Classifier(policy, token_budget=1).score(data)
    assert [len(s) for s in wide] == [2, 0, 3]
    for a, b in zip(wide, narrow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    alone = policy.scores(policy.pack([data[0]], 1000)[0]).detach().numpy()
    np.testing.assert_allclose(wide[0], alone, rtol=1e-12)
    assert [math.isnan(s) for s in wide[2]] == [False, True, False]
    assert Classifier(policy).score([]) == []


def test_scoring_leaves_the_policy_as_it_found_it() -> None:
    policy = model(heads=("score",))
    for training in (True, False):
        policy.module.train(training)
        Classifier(policy).score(groups())
        assert policy.module.training is training
    assert all(p.grad is None for p in policy.module.parameters())


def test_attributes_are_weighed_as_said() -> None:
    policy = model(heads=("score",), labels=("helpful", "brief", "kind"))
    table = Classifier(policy, ("helpful", "brief", "kind"), weights={"helpful": 1.0}).outputs(groups())
    mixed = Classifier(policy, ("helpful", "brief", "kind"), weights={"kind": 0.5, "helpful": -2.0}).score(groups())
    for rows, scores in zip(table, mixed, strict=True):
        np.testing.assert_allclose(scores, -2.0 * rows[:, 0] + 0.5 * rows[:, 2], rtol=1e-12)


def test_members_on_one_trunk_are_combined_as_said() -> None:
    policy = model(heads=("score",), labels=("one", "two", "three"))
    scorer = Classifier(policy, ("one", "two", "three"), how="minimum")
    for rows, scores in zip(scorer.outputs(groups()), scorer.score(groups()), strict=True):
        np.testing.assert_array_equal(scores, rows.min(axis=1) if len(rows) else [])


@pytest.mark.parametrize(
    ("labels", "options", "told"),
    [
        (("a", "b"), {}, "in no way that was said"),
        (("a", "b"), {"weights": {"a": 1.0}, "how": "mean"}, "in two ways at once"),
        (("a",), {"how": "mean"}, "would have no effect"),
        (("a",), {"lam": 1.0}, "lam has no effect"),
        (("a", "b"), {"weights": {"aa": 1.0}}, "no attribute 'aa'"),
        (("a", "b"), {"how": "worst"}, "unknown combination"),
    ],
)
def test_a_score_is_never_made_in_a_way_nobody_chose(labels, options, told) -> None:
    with pytest.raises(ConfigError, match=told):
        Classifier(model(heads=("score",), labels=labels), labels, **options)


def test_labels_that_do_not_fit_the_head_are_an_error() -> None:
    scorer = Classifier(model(heads=("score",)), ("a", "b"), weights={"a": 1.0})
    with pytest.raises(ConfigError, match="gives 1 numbers for 2 labels"):
        scorer.score(groups())


def test_steps_are_read_where_they_end() -> None:
    policy, data = model(heads=("step",)), groups()
    found = Process(policy, aggregation="min").probabilities(data)
    assert [[len(p) for p in group] for group in found] == [[2, 1], [], [0, 0, 3]]
    head = policy.module.heads["step"]
    tree = policy.pack([TokenGroup(data[2].prompt, data[2].responses[2:])], 1000)[0]
    states = policy.hidden(tree)[len(data[2].prompt) :].detach()
    expected = torch.sigmoid(head(states)).detach()[[0, 3, 6]]
    np.testing.assert_allclose(found[2][2], expected, rtol=1e-12)


def test_each_aggregation_is_a_choice() -> None:
    policy, data = model(heads=("step",)), groups()
    steps = Process(policy, aggregation="min").probabilities(data)
    for how, of in (("min", np.min), ("product", np.prod), ("mean", np.mean), ("last", lambda p: p[-1])):
        scores = Process(policy, aggregation=how).score(data)
        assert scores[0] == pytest.approx([of(p) for p in steps[0]])
        assert [math.isnan(s) for s in scores[2]] == [True, True, False]
    with pytest.raises(TypeError):
        Process(policy)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="unknown aggregation"):
        Process(policy, aggregation="sum")


def test_text_is_cut_into_steps_at_the_separator() -> None:
    group = Group((Message("user", "?"),), (Response((Message("assistant", "a\n \nb c\nd"),)),), id="g")
    assert [step.text for step in stepped(group).responses[0].steps] == ["a", "b c", "d"]
    turns = (Message("assistant", "a"), Message("user", "b"), Message("assistant", "c"))
    with pytest.raises(DataError, match="one turn only"):
        stepped(Group(group.prompt, (Response(turns),), id="g"))


def test_the_implicit_reward_is_the_scaled_log_ratio() -> None:
    policy, reference, data = model(1), model(2), groups()
    scores = Implicit(policy, reference, beta=0.3, token_budget=1).score(data)
    for group, found in zip(data, scores, strict=True):
        for response, score in zip(group.responses, found, strict=True):
            if not response.ids:
                assert math.isnan(score)
                continue
            tree = policy.pack([TokenGroup(group.prompt, (response,))], 1000)[0]
            expected = 0.3 * (policy.logps(tree).total - reference.logps(tree).total).item()
            assert score == pytest.approx(expected, rel=1e-10)
    same = Implicit(policy, policy, beta=1.0).score(data)
    assert same[0].tolist() == [0.0, 0.0]
    with pytest.raises(ConfigError, match="beta is 0"):
        Implicit(policy, reference, beta=0)


def test_an_ensemble_combines_its_members_and_can_centre_them() -> None:
    data = groups()
    members = [Classifier(model(seed, heads=("score",))) for seed in range(3)]
    each = [member.score(data) for member in members]
    mean, least = Ensemble(members, how="mean").score(data), Ensemble(members, how="minimum").score(data)
    np.testing.assert_allclose(mean[0], np.mean([e[0] for e in each], axis=0))
    np.testing.assert_allclose(least[2], np.min([e[2] for e in each], axis=0))
    assert math.isnan(mean[2][1])
    centred = Ensemble(members, how="minimum", centred=True).score(data)
    moved = [e[2] - np.nanmean(e[2]) for e in each]
    np.testing.assert_allclose(centred[2], np.min(moved, axis=0))


class Shifted:
    """A scorer that differs from another by a constant of each prompt, as reward models of pairs may."""

    def __init__(self, scorer: Classifier, by: float) -> None:
        self.scorer, self.by = scorer, by

    def score(self, data: Sequence[TokenGroup]) -> list[np.ndarray]:
        return [
            scores + self.by * len(group.prompt) for group, scores in zip(data, self.scorer.score(data), strict=True)
        ]


def test_a_centred_ensemble_does_not_see_constants_of_a_prompt() -> None:
    data, (a, b) = groups(), [Classifier(model(seed, heads=("score",))) for seed in range(2)]
    for how, lam in (("minimum", None), ("mean-std", 1.0)):
        plain = Ensemble([a, b], how=how, lam=lam, centred=True).score(data)
        moved = Ensemble([a, Shifted(b, 3.0)], how=how, lam=lam, centred=True).score(data)
        for one, other in zip(plain, moved, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
    plain, moved = (Ensemble([a, other], how="minimum").score(data)[0] for other in (b, Shifted(b, -3.0)))
    assert not np.allclose(plain, moved)


def test_one_member_is_no_ensemble() -> None:
    with pytest.raises(ConfigError, match="two or more members, not 1"):
        Ensemble([Classifier(model(heads=("score",)))], how="mean")
