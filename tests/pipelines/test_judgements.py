"""Lessons in judging: verdicts follow the pairs, places are drawn, and every model's judging is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hizala import config, world
from hizala.engines.reward.verdicts import Form
from hizala.errors import DataError
from hizala.pipelines.build import run
from hizala.pipelines.judgements import Asked, language_of, lessons
from hizala.pipelines.material import open_source, source_digest
from hizala.records import Group, Message, Response

PAIRS = world.preferences(n=200, seed=4)


def taught(kind: str, shape: str = "response", pairs: list[Group] = PAIRS) -> list[Group]:
    return list(lessons(pairs, Asked.of(f"judge:{kind}:x"), shape))


def test_the_right_verdict_names_the_place_of_the_chosen_answer() -> None:
    places = []
    for pair, lesson in zip(PAIRS, taught("pairwise"), strict=True):
        question, said = lesson.prompt[0].content, lesson.responses[0].text
        tag = said.lower()
        assert f"<{tag}>{pair.responses[0].text}</{tag}>" in question
        places.append(said)
    assert 0.35 < places.count("A") / len(places) < 0.65, "neither place is a hint"


def test_as_pairs_the_right_verdict_is_chosen_over_the_wrong_one() -> None:
    for lesson in taught("pairwise", "pair") + taught("pointwise", "pair"):
        right, wrong = lesson.responses
        assert (right.rank, wrong.rank) == (0, 1)
        assert right.text != wrong.text


def test_grades_follow_the_truth_of_the_world() -> None:
    for pair, (first, second) in zip(PAIRS, zip(*[iter(taught("pointwise"))] * 2, strict=True), strict=True):
        expected = [str(1 + round(4 * value)) for value in pair.meta["gold"]]
        assert [first.responses[0].text, second.responses[0].text] == expected


@pytest.mark.parametrize("kind", ["pairwise+reasoning", "pointwise+reasoning"])
def test_a_reasoned_lesson_ends_with_a_verdict_that_can_be_read(kind: str) -> None:
    for lesson in taught(kind, "pair"):
        lang = lesson.meta["lang"]
        form = Form(kind.partition("+")[0], True, lang)  # type: ignore[arg-type]
        for response in lesson.responses:
            assert form.read(response.text) is not None


def test_grades_of_other_data_are_their_scores() -> None:
    said = tuple(
        Response((Message("assistant", t),), rank=i, score=s) for i, (t, s) in enumerate((("x", 0.8), ("y", 0.1)))
    )
    pair = Group((Message("user", "what is it and why?"),), said, "p")
    assert [g.responses[0].text for g in taught("pointwise", pairs=[pair])] == ["4", "1"]
    unknown = replace(pair, responses=tuple(replace(r, score=None) for r in said))
    assert [g.responses[0].text for g in taught("pointwise", pairs=[unknown])] == ["5", "1"]
    with pytest.raises(DataError, match="needs a grade of each response"):
        taught("pairwise+reasoning", pairs=[unknown])
    outside = replace(pair, responses=tuple(replace(r, score=7.0) for r in said))
    with pytest.raises(DataError, match="no grade in"):
        taught("pointwise", pairs=[outside])


def test_a_pair_is_judged_in_its_own_language() -> None:
    assert {language_of(pair) for pair in PAIRS} == {"tr", "en"}
    assert all(language_of(pair) == pair.meta["lang"] for pair in PAIRS)
    foreign = Group((Message("user", "Ürün için ne kadar beklemem gerekiyor?"),), (), "g")
    assert language_of(foreign) == "tr"


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("judge:pairwize:world:preferences", "did you mean 'pairwise'"),
        ("judge:pairwise", "no data to judge is named"),
        ("judge:pairwise:world:chat?n=4", "pair"),
    ],
)
def test_a_reference_that_names_no_lessons_is_refused(ref: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(open_source(ref, shape="response"))


def test_lessons_serve_no_other_kind_of_data() -> None:
    with pytest.raises(DataError, match="cannot serve as thumb data"):
        open_source("judge:pairwise:world:preferences?n=4", shape="thumb")


def test_lessons_change_when_the_file_they_come_from_does(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    before = source_digest(f"judge:pairwise:{path}")
    path.write_text('{"prompt": "a", "chosen": "b", "rejected": "d"}\n')
    assert source_digest(f"judge:pairwise:{path}") != before


def test_every_model_is_measured_as_a_judge(write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(
        'sft: {name: judge, data: "judge:pairwise:world:preferences?n=64", steps: 2, batch_size: 4}',
        'evaluate: {suites: [judge_pairwise, judge_pointwise], data: "world:preferences?n=24&split=test"}',
    )
    results = run(config.load(recipe)).results
    assert results is not None
    for model in ("base", "judge"):
        figures = results["models"][model]
        assert figures["judge_pairwise/read"]["value"] == 1.0
        assert 0.0 <= figures["judge_pairwise/accuracy"]["value"] <= 1.0
        assert figures["judge_pairwise/inconsistent"]["n"] == 24
        assert "judge_pointwise/inconsistent" not in figures
    # Two steps are enough to learn what a verdict looks like.
    masses = [results["models"][model]["judge_pairwise/mass"]["value"] for model in ("base", "judge")]
    assert masses[1] > masses[0]
