"""Splitting and batching: no prompt on both sides, every group once an epoch, position = step number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hizala import world
from hizala.engines.data import GroupSource
from hizala.errors import DataError
from hizala.pipelines.material import Batches, Material, load_template, prepare, prompt_key, split, with_unique_ids
from hizala.records import Group, Message, Response, Step


def groups(prompts: list[str]) -> list[Group]:
    answer = (Response((Message("assistant", "a"),)),)
    return [Group((Message("user", text),), answer, id=str(i)) for i, text in enumerate(prompts)]


def test_no_prompt_stands_on_both_sides_of_a_split() -> None:
    data = groups([f"question {i % 40}" for i in range(200)])
    training, held_out = split(data, 0.2, 1000, seed=3)
    assert {prompt_key(g) for g in training}.isdisjoint({prompt_key(g) for g in held_out})
    assert len(training) + len(held_out) == 200
    assert len(held_out) % 5 == 0  # whole prompts


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_the_data() -> None:
    data = groups([f"question {i}" for i in range(100)])
    first = {g.id for g in split(data, 0.1, 1000, seed=1)[1]}
    again = {g.id for g in split(data[::-1], 0.1, 1000, seed=1)[1]}
    other = {g.id for g in split(data, 0.1, 1000, seed=2)[1]}
    assert first == again
    assert first != other


def test_the_share_is_that_of_a_coin_thrown_for_each_prompt() -> None:
    data = groups([f"question {i}" for i in range(4000)])
    for seed in range(5):
        held = len(split(data, 0.05, 4000, seed)[1])
        assert abs(held - 200) < 4 * (4000 * 0.05 * 0.95) ** 0.5


def test_a_prompt_is_held_out_whatever_else_stands_in_the_data() -> None:
    """Two stages on one file agree, even where one of them drops groups, limits its rows or sees a prompt twice."""
    data = groups([f"question {i}" for i in range(500)])
    whole = {prompt_key(g) for g in split(data, 0.1, 1000, seed=4)[1]}
    for part in (data[100:300], data[::3], [*data, *data[:50]]):
        seen = {prompt_key(g) for g in part}
        assert {prompt_key(g) for g in split(part, 0.1, 1000, seed=4)[1]} == whole & seen
    assert len(whole) > 20


def test_a_larger_share_holds_out_what_a_smaller_one_does_and_more() -> None:
    data = groups([f"question {i}" for i in range(300)])
    small, large = ({g.id for g in split(data, share, 1000, seed=1)[1]} for share in (0.1, 0.3))
    assert small < large


@pytest.mark.parametrize(("share", "most", "expected"), [(0.0, 10, 0), (0.5, 7, 7), (0.001, 10, 0)])
def test_the_held_out_part_is_bounded(share: float, most: int, expected: int) -> None:
    training, held_out = split(groups([f"question {i}" for i in range(100)]), share, most, seed=0)
    assert (len(training), len(held_out)) == (100 - expected, expected)


def test_prompts_that_do_not_fit_below_the_bound_stay_in_training() -> None:
    data = groups([*["often"] * 50, *(f"question {i}" for i in range(50))])
    training, held_out = split(data, 0.99, 20, seed=0)
    assert 0 < len(held_out) <= 20
    assert len(training) + len(held_out) == 100


def test_a_share_that_asks_for_a_group_gets_one() -> None:
    for seed in range(200):
        assert len(split(groups([f"question {i}" for i in range(20)]), 0.05, 10, seed)[1]) >= 1


def test_every_group_is_taken_once_an_epoch_whatever_the_batch_size() -> None:
    for size in (1, 3, 7, 10, 25):
        batches = Batches(10, size, seed=5)
        taken = [i for step in range(200) for i in batches[step]]
        for epoch in range(5):
            assert sorted(taken[epoch * 10 : epoch * 10 + 10]) == list(range(10))


def test_a_step_can_be_asked_for_alone_as_a_resumed_run_does() -> None:
    walked = Batches(11, 4, seed=9)
    whole = [walked[step] for step in range(12)]
    assert [Batches(11, 4, seed=9)[step] for step in range(12)] == whole
    assert whole[:3] != [Batches(11, 4, seed=8)[step] for step in range(3)]


def test_steps_of_an_epoch_are_rounded_and_never_none() -> None:
    assert Batches(10, 4, 0).steps(1) == 2
    assert Batches(10, 4, 0).steps(2) == 5
    assert Batches(3, 100, 0).steps(0.1) == 1


def test_repeated_ids_are_made_unique() -> None:
    data = [*groups(["a", "b"]), *groups(["c"])]
    assert [g.id for g in with_unique_ids(data)] == ["0", "1", "0#2"]


def answered(name: str, prompt: str, *responses: Response) -> Group:
    return Group((Message("user", prompt),), responses, id=name)


def said(text: str, **known: Any) -> Response:
    return Response((Message("assistant", text),), **known)


def made(data: list[Group], shape: str, **settings: Any) -> Material:
    given: dict[str, Any] = {"holdout": 0.0, "max_holdout": 10, "max_length": 256, "seed": 0, **settings}
    template = load_template(world.model_dir(), "chat")
    return prepare(GroupSource.from_groups(data, name="file.jsonl", shape=shape), template, **given)


THUMBS = [answered(str(i), f"q{i}", said("a", label=i % 3 == 0)) for i in range(9)]


def test_the_digest_follows_every_label() -> None:
    first = answered("a", "q", said("x", score=1.0, attributes={"verbosity": 0.5}))
    second = answered("b", "r", said("y", score=0.0))
    graded = [first, second]
    (one,) = first.responses
    changed = [
        [replace(first, responses=(replace(one, score=0.5),)), second],
        [replace(first, responses=(replace(one, attributes={"verbosity": 1.0}),)), second],
        [replace(first, responses=(replace(one, label=True),)), second],
        [replace(first, responses=(replace(one, rank=1),)), second],
    ]
    digests = {made(data, "scored").digest for data in (graded, *changed)}
    assert len(digests) == 5
    assert made(graded, "scored").digest in digests


def test_thumbs_of_one_kind_are_one_clear_error() -> None:
    assert len(made(THUMBS, "thumb").train) == 9
    with pytest.raises(DataError, match=r"file\.jsonl: all thumbs point one way: 0 up, 6 down"):
        made([group for group in THUMBS if not group.responses[0].label], "thumb")


def test_what_teaches_nothing_is_left_out_and_counted() -> None:
    data = [*THUMBS, answered("torn", "q0", said("a", label=False))]
    material = made(data, "thumb")
    assert (len(material.train), [(f.kind, f.count) for f in material.findings]) == (8, [("contradicting", 2)])
    tied = answered("tied", "q", said("a", rank=0), said("b", rank=0))
    with pytest.raises(DataError, match=r"no group of 2 is left to train on: .* all tied \(tied"):
        made([tied, replace(tied, id="tied-2")], "ranking")


def test_marks_behind_the_length_limit_are_counted_and_groups_without_one_left_out() -> None:
    data = [
        answered("short", "q", said("1\n2", steps=(Step("1", True), Step("2", False)))),
        answered("long", "r", said("a " * 99 + "b", steps=(Step("a " * 99 + "b", True),))),
    ]
    material = made(data, "steps", max_length=40)
    assert [group.id for group in material.train] == ["short"]
    counts = {finding.kind: finding.count for finding in material.findings}
    assert counts == {"truncated": 1, "steps-truncated": 1, "unmarked": 1}


def test_nothing_held_out_is_said() -> None:
    assert [f.kind for f in made(THUMBS[:4], "thumb", holdout=0.01).findings] == ["no-holdout"]
