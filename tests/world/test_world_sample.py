"""Samplers: same seed same data, splits disjoint, rates as asked, truths that can be recomputed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from hizala import world
from hizala.errors import ConfigError
from hizala.records import Group
from hizala.world.ornament import unadorned
from hizala.world.sample import SAMPLERS
from hizala.world.text import lower

BIG = {split: world.generate(split, 4000, 1) for split in ("train", "test")}


def gold_of(group: Group, index: int) -> float:
    scored = world.gold(group, group.responses[index].text).value
    assert scored is not None
    return scored


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_the_same_seed_draws_the_same_data_and_another_seed_other_data(name: str) -> None:
    assert SAMPLERS[name](60, 4) == SAMPLERS[name](60, 4)
    assert SAMPLERS[name](60, 4) != SAMPLERS[name](60, 5)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(name: str) -> None:
    assert SAMPLERS[name](25, 4) == SAMPLERS[name](60, 4)[:25]


def test_data_do_not_depend_on_the_process() -> None:
    code = (
        "import hashlib; from hizala import world; print(hashlib.sha256(repr(world.chat(50, 3)).encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1


def test_problems_and_wordings_of_the_splits_are_disjoint() -> None:
    prompts = {split: {g.prompt[0].content for g in groups} for split, groups in BIG.items()}
    assert not prompts["train"] & prompts["test"]
    templates = {split: {g.meta["template"] for g in groups} for split, groups in BIG.items()}
    assert not templates["train"] & templates["test"]
    for task in ("add", "sub", "mul"):
        numbers = {s: {tuple(g.meta["truth"]["numbers"]) for g in BIG[s] if g.meta["task"] == task} for s in BIG}
        assert numbers["train"]
        assert not numbers["train"] & numbers["test"]
    for task, fields in (("premise", ("fact", "said")), ("caps", ("phrase",)), ("count", ("subject", "n"))):
        keys = {
            s: {(g.meta["lang"], *(g.meta["truth"][f] for f in fields)) for g in BIG[s] if g.meta["task"] == task}
            for s in BIG
        }
        assert not keys["train"] & keys["test"]


def test_test_wordings_use_only_words_that_training_shows() -> None:
    """What is held out is the wording and the problem, not the vocabulary."""
    seen = {lang: {s: set() for s in BIG} for lang in ("tr", "en")}
    for split, groups in {"test": BIG["test"], "train": BIG["train"] + world.generate("train", 8000, 2)}.items():
        for group in groups:
            text = lower(re.sub(r"\S+@\S+", "", group.prompt[0].content), group.meta["lang"])
            seen[group.meta["lang"]][split] |= set(re.findall(r"[^\W\d]+", text))
    for lang, vocabulary in seen.items():
        assert not vocabulary["test"] - vocabulary["train"], lang


def test_tasks_and_languages_come_in_equal_shares_and_ids_are_unique() -> None:
    for groups in BIG.values():
        counts = Counter((g.meta["task"], g.meta["lang"]) for g in groups)
        assert set(counts.values()) == {4000 // (len(world.TASKS) * 2)}
        assert len({g.id for g in groups}) == len(groups)


def test_six_hundred_test_problems_are_nearly_all_different() -> None:
    groups = world.generate("test", 600, 0)
    assert len({g.prompt[0].content for g in groups}) >= 580


def test_meta_survives_json_and_gold_with_it() -> None:
    for group in world.chat(100, 2):
        copy = Group(group.prompt, group.responses, group.id, json.loads(json.dumps(dict(group.meta))))
        assert world.gold(copy, group.responses[0].text) == world.gold(group, group.responses[0].text)


def test_demonstrations_show_skill_rightly_and_conduct_unevenly() -> None:
    groups = world.chat(3000, 1)
    perfect = {True: [], False: []}
    for group in groups:
        perfect[group.meta["family"] == "conduct"].append(gold_of(group, 0) == 1.0)
    assert all(perfect[False])
    assert sum(perfect[True]) / len(perfect[True]) == pytest.approx(0.5, abs=0.05)
    assert all(gold_of(g, 0) == 1.0 for g in world.chat(200, 1, manners=1.0))
    thinking = [g.responses[0].text.startswith("<think>") for g in groups if g.meta["family"] == "arithmetic"]
    assert sum(thinking) / len(thinking) == pytest.approx(0.85, abs=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_pairs_are_turned_as_often_as_the_noise_says(noise: float) -> None:
    groups = world.preferences(3000, 2, noise=noise)
    against = [gold_of(g, 0) < gold_of(g, 1) for g in groups]
    assert [g.meta["flipped"] for g in groups] == against
    assert sum(against) / len(groups) == pytest.approx(noise, abs=0.025 if noise else 0.0)
    assert all(g.meta["gold"] == [gold_of(g, 0), gold_of(g, 1)] for g in groups)
    assert all((g.responses[0].rank, g.responses[1].rank) == (0, 1) for g in groups)
    assert all(g.meta["gold"][0] != g.meta["gold"][1] for g in groups)


def longer_first(groups: list[Group]) -> float:
    return sum(len(g.responses[0].text) > len(g.responses[1].text) for g in groups) / len(groups)


def test_length_bias_makes_the_longer_win_as_often_as_asked() -> None:
    groups = world.preferences(3000, 2, length_bias=0.5)
    decided = sum(g.meta["cause"] == "length" for g in groups) / len(groups)
    assert decided == pytest.approx(0.5, abs=0.06)  # pairs of equal length fall back to gold
    assert longer_first(groups) > longer_first(world.preferences(3000, 2)) + 0.1
    assert longer_first([g for g in groups if g.meta["cause"] == "length"]) == 1.0
    everything = world.preferences(800, 2, length_bias=1.0)
    assert all(len(g.responses[0].text) >= len(g.responses[1].text) or g.meta["cause"] == "gold" for g in everything)


def test_style_bias_makes_the_flatterer_win_as_often_as_asked() -> None:
    groups = world.preferences(3000, 2, style_bias=0.6, tasks=["arithmetic", "conduct"])
    flatters = [[r.text.startswith(("Harika bir soru!", "What a great")) for r in g.responses] for g in groups]
    unequal = [f for f in flatters if f[0] != f[1]]
    assert 0.4 < len(unequal) / len(groups) < 0.6
    # 0.6 decided by flattery, the rest by gold which does not look at it
    assert sum(first for first, _ in unequal) / len(unequal) == pytest.approx(0.6 + 0.4 * 0.5, abs=0.05)


def test_without_biases_no_response_is_adorned() -> None:
    for group in world.preferences(500, 3):
        assert not any(r.text.startswith(("Harika bir soru!", "What a great")) for r in group.responses)


def test_thumbs_follow_gold_and_turn_with_the_noise() -> None:
    clean = world.thumbs(1500, 3)
    assert all(g.responses[0].label == (gold_of(g, 0) >= 0.7) for g in clean)
    assert sum(bool(g.responses[0].label) for g in clean) / len(clean) == pytest.approx(0.5, abs=0.04)
    assert sum(bool(g.responses[0].label) for g in world.thumbs(1500, 3, up=0.2)) / 1500 == pytest.approx(0.2, abs=0.04)
    noisy = world.thumbs(1500, 3, noise=0.2)
    turned = [g.responses[0].label != (gold_of(g, 0) >= 0.7) for g in noisy]
    assert [g.meta["flipped"] for g in noisy] == turned
    assert sum(turned) / len(noisy) == pytest.approx(0.2, abs=0.03)


def test_rankings_order_by_gold_with_ties_and_noise_swaps_neighbours() -> None:
    for group in world.rankings(400, 3, k=5):
        values = [gold_of(group, i) for i in range(5)]
        distinct = sorted(set(values), reverse=True)
        assert len(distinct) > 1
        assert [r.rank for r in group.responses] == [distinct.index(v) for v in values]
    noisy = world.rankings(400, 3, k=5, noise=0.3)
    assert sum(g.meta["flipped"] > 0 for g in noisy) > 100
    for group in noisy:
        assert sorted(r.rank for r in group.responses)[0] == 0


def test_steps_make_up_the_response_and_are_marked_as_the_equations_say() -> None:
    groups = world.steps(600, 3)
    right = [all(s.correct for s in g.responses[0].steps) for g in groups]
    assert sum(right) / len(groups) == pytest.approx(0.5, abs=0.06)
    for group, all_right in zip(groups, right, strict=True):
        response = group.responses[0]
        assert "\n".join(s.text for s in response.steps) == response.text
        assert (gold_of(group, 0) == 1.0) == all_right
        assert response.steps[-1].correct == all_right


def test_marks_are_turned_as_often_as_the_noise_says() -> None:
    pairs = zip(world.steps(800, 3, right=1.0), world.steps(800, 3, right=1.0, noise=0.2), strict=True)
    turned = [b.correct is False for _, noisy in pairs for b in noisy.responses[0].steps]
    assert sum(turned) / len(turned) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: world.generate("tset", 3), "did you mean 'test'"),
        (lambda: world.generate("train", 0), "n = 0"),
        (lambda: world.generate("train", 3, lang="de"), "does not speak 'de'"),
        (lambda: world.generate("train", 3, tasks=["premises"]), "did you mean 'premise'"),
        (lambda: world.preferences(3, noise=0.6), "turns more labels"),
        (lambda: world.preferences(3, length_bias=0.7, style_bias=0.7), "together"),
        (lambda: world.preferences(3, style_bias=-0.1), "not a share"),
        (lambda: world.rankings(3, k=1), "k = 1"),
        (lambda: world.chat(3, manners=2), "not a share"),
        (lambda: world.steps(3, right=1.5), "not a share"),
        (lambda: world.thumbs(3, up=float("nan")), "not a share"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_scores_agree_with_the_annotators_order_and_not_always_with_gold() -> None:
    pairs = world.preferences(400, 2, noise=0.3, scored=True)
    plain = world.preferences(400, 2, noise=0.3)
    assert [[r.text for r in g.responses] for g in pairs] == [[r.text for r in g.responses] for g in plain]
    for group in pairs:
        chosen, rejected = (response.score for response in group.responses)
        assert chosen is not None
        assert rejected is not None
        assert chosen > rejected
        assert sorted(group.meta["gold"]) == [rejected, chosen]
        assert (group.meta["gold"] == [chosen, rejected]) != group.meta["flipped"]
    for group in world.rankings(200, 2, noise=0.3, scored=True):
        placed = sorted(group.responses, key=lambda r: r.rank or 0)
        scores = [response.score or 0.0 for response in placed]
        assert scores == sorted(scores, reverse=True)
        assert sorted(scores) == sorted(group.meta["gold"])
    assert all(r.score is None for g in plain for r in g.responses)


def test_thumbs_can_be_as_rare_as_one_in_eleven() -> None:
    labels = [r.label for g in world.thumbs(3000, 1, up=1 / 11) for r in g.responses]
    assert sum(map(bool, labels)) / len(labels) == pytest.approx(1 / 11, abs=0.02)


def test_qualities_are_graded_one_by_one_and_ornament_leaves_correctness_alone() -> None:
    groups = world.attributes(1200, 4)
    for group in groups:
        (response,) = group.responses
        truth = world.qualities(group, response.text)
        assert dict(response.attributes) == group.meta["qualities"] == truth
        assert all(0.0 <= grade <= 1.0 for grade in truth.values())
        assert ("politeness" in truth) == (group.meta["task"] in ("style", "privacy"))
        assert response.score == group.meta["gold"][0] == gold_of(group, 0)
        lang = group.meta["lang"]
        plain = unadorned(response.text, lang)
        decked = world.ornamented(world.ornamented(plain, lang, "padding"), lang, "flourish")
        less, more = world.qualities(group, plain), world.qualities(group, decked)
        assert less["correctness"] == more["correctness"] == truth["correctness"]
        assert (less["flattery"], more["flattery"]) == (0.0, 1.0)
        assert more["verbosity"] > less["verbosity"]
    for name in ("correctness", "politeness", "verbosity", "reasoning", "flattery"):
        grades = [g.meta["qualities"][name] for g in groups if name in g.meta["qualities"]]
        assert 0.1 < sum(grades) / len(grades) < 0.95


def test_grades_carry_the_error_and_the_gaps_asked_for() -> None:
    groups = world.attributes(1500, 4, noise=0.2, known=0.4)
    errors, known, whole = [], 0, 0
    for group in groups:
        told, truth = group.responses[0].attributes, group.meta["qualities"]
        errors += [told[name] - truth[name] for name in told]
        assert set(told) <= set(truth)
        assert told
        known, whole = known + len(told), whole + len(truth)
    assert known / whole == pytest.approx(0.4, abs=0.04)
    mean = sum(errors) / len(errors)
    assert mean == pytest.approx(0.0, abs=0.02)
    assert (sum(e * e for e in errors) / len(errors)) ** 0.5 == pytest.approx(0.2, abs=0.01)


def test_a_reference_takes_true_and_false() -> None:
    assert world.resolve("world:preferences?n=5&scored=true") == world.preferences(5, scored=True)
    with pytest.raises(ConfigError, match="neither true nor false"):
        world.resolve("world:preferences?n=5&scored=1")
