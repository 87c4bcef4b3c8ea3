"""Ties and contradictions teach nothing: they are left out, counted and named; what is consistent stays."""

from __future__ import annotations

from typing import Any

import pytest

from hizala.engines.data.usable import require_both_thumbs, usable
from hizala.errors import DataError
from hizala.records import Group, Message, Response, Step


def group(name: str, prompt: str, *answers: tuple[str, dict[str, Any]], **meta: Any) -> Group:
    said = tuple(Response((Message("assistant", text),), **known) for text, known in answers)
    return Group((Message("user", prompt),), said, id=name, meta=meta)


def pair(
    name: str, prompt: str, chosen: str, rejected: str, scores: tuple[Any, Any] = (None, None), **meta: Any
) -> Group:
    sides = ((chosen, {"rank": 0, "score": scores[0]}), (rejected, {"rank": 1, "score": scores[1]}))
    return group(name, prompt, *sides, **meta)


def thumb(name: str, prompt: str, **answers: bool) -> Group:
    return group(name, prompt, *((text, {"label": label}) for text, label in answers.items()))


def ranking(name: str, **answers: int) -> Group:
    return group(name, "q", *((text.rstrip("_"), {"rank": rank}) for text, rank in answers.items()))


def kept(groups: list[Group], shape: str) -> tuple[list[str], dict[str, tuple[str, int]]]:
    """Names of the groups kept, and for each reason the groups it names and their number."""
    left, findings = usable(groups, shape)
    assert len(left) + sum(finding.count for finding in findings) == len(groups)
    return [g.id for g in left], {f.kind: (f.where, f.count) for f in findings}


def test_pairs_that_prefer_nothing_or_contradict_are_left_out() -> None:
    data = [
        pair("good", "p", "a", "b"),
        pair("again", "p", "a", "b"),
        pair("same", "p", "a", "a"),
        pair("turned-1", "q", "a", "b"),
        pair("turned-2", "q", "b", "a"),
        pair("elsewhere", "r", "b", "a"),
        pair("scored", "p", "a", "c", (2.0, 1.0)),
        pair("half-scored", "p", "a", "d", (2.0, None)),
        pair("tied", "p", "a", "e", (1.0, 1.0)),
        pair("against", "p", "a", "f", (1.0, 2.0)),
        pair("negative", "p", "a", "g", margin=-1),
        pair("slight", "p", "a", "h", margin=0),
    ]
    names, found = kept(data, "pair")
    assert names == ["good", "again", "elsewhere", "scored", "half-scored", "slight"]
    assert found == {
        "identical-sides": ("same", 1),
        "tied": ("tied", 1),
        "contradicting": ("turned-1, turned-2, against, negative", 4),
    }


def test_a_response_up_and_down_for_one_prompt_counts_for_neither() -> None:
    data = [
        thumb("a", "p", x=True),
        thumb("b", "p", x=False),
        thumb("c", "q", x=True),
        thumb("d", "p", y=True, z=False),
        thumb("e", "r", x=True),
        thumb("f", "r", x=True),
    ]
    names, found = kept(data, "thumb")
    assert names == ["c", "d", "e", "f"]
    assert found == {"contradicting": ("a, b", 2)}


def test_rankings_that_rank_nothing_or_a_response_twice_are_left_out() -> None:
    data = [
        ranking("good", a=0, b=1, c=1),
        ranking("twice-alike", a=0, a_=0, b=1),
        ranking("twice-apart", a=0, a_=1, b=1),
        ranking("tied", a=0, b=0),
        ranking("lone", a=0),
    ]
    names, found = kept(data, "ranking")
    assert names == ["good", "twice-alike"]
    assert found == {"tied": ("tied", 1), "contradicting": ("twice-apart", 1), "too-short": ("lone", 1)}


def test_steps_without_a_mark_are_left_out() -> None:
    data = [
        group("marked", "q", ("a\nb", {"steps": (Step("a", True), Step("b"))})),
        group("bare", "q", ("a\nb", {"steps": (Step("a"), Step("b"))})),
    ]
    assert kept(data, "steps") == (["marked"], {"unmarked": ("bare", 1)})


def test_shapes_without_labels_lose_nothing() -> None:
    data = [group("a", "q", ("x", {})), group("b", "q", ("x", {"score": 1.0}))]
    for shape in ("response", "scored", "prompt"):
        assert kept(data, shape) == (["a", "b"], {})


@pytest.mark.parametrize(("label", "words"), [(True, "3 up, 0 down"), (False, "0 up, 3 down")])
def test_thumbs_of_one_kind_are_refused_with_their_counts(label: bool, words: str) -> None:
    data = [thumb("a", "p", x=label, y=label), thumb("b", "q", z=label)]
    with pytest.raises(DataError, match=f"file.jsonl: all thumbs point one way: {words}"):
        require_both_thumbs(data, "file.jsonl")
    require_both_thumbs([*data, thumb("c", "q", w=not label)], "file.jsonl")
