"""Several rewards as one: the sum, what is not scored and why, limits that hold, counts, the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hostile_rewards  # noqa: F401 (registers the rewards)
import pytest

from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import Composed, build
from hizala.errors import ConfigError
from hizala.records import Group, Message, Response, Verdict


def group(*texts: str, **meta: Any) -> Group:
    """A prompt with these responses."""
    return Group((Message("user", "?"),), tuple(Response((Message("assistant", t),)) for t in texts), "g", meta)


def values(found: list[list[Verdict]]) -> list[list[float | None]]:
    """The values alone."""
    return [[verdict.value for verdict in row] for row in found]


@pytest.fixture(scope="module")
def hostile() -> Iterator[Composed]:
    """The reward that misbehaves, with a limit of a third of a second."""
    composed = build({"test_hostile": 2.0}, RewardContext(time_limit=0.3, workers=2))
    yield composed
    composed.close()


def test_the_value_is_the_weighted_sum_and_the_parts_are_each_rewards_own() -> None:
    composed = build({"long": {"kind": "test_length", "per": 2, "weight": 0.5}, "test_group_place": -1.0})
    found = composed.score([group("abc", "abcd", known=1), group("a", known=1)])
    composed.close()
    assert values(found) == [[3.0, 3.0], [1.0]]
    assert found[0][1].parts == {"long": 8.0, "test_group_place": 1.0}


def test_one_reward_stands_twice_under_two_names() -> None:
    composed = build({"one": {"kind": "test_length"}, "ten": {"kind": "test_length", "per": 10.0, "weight": 1}})
    assert composed.score([group("ab", known=1)])[0][0].parts == {"one": 2.0, "ten": 20.0}
    composed.close()


HARMS = {
    "spin": "time limit: more than 0.3 s of computing",
    "tower": "time limit: more than 0.3 s of computing",
    "backtrack": "time limit: more than 0.3 s of computing",
    "sleep": "time limit: no result after 1.2 s",
    "exit": "crash: its process ended (status 3)",
    "quit": "crash: SystemExit: 0",
    "memory": "crash: MemoryError: ",
    "recurse": "crash: RecursionError: maximum recursion depth exceeded",
    "raise": "crash: ValueError: a reason: with a colon",
    "nan": "not finite: the reward gave nan",
    "inf": "not finite: the reward gave inf",
    "text": "no number: the reward gave str",
    "none": "the reward gave no value",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_reward_that_misbehaves_costs_its_own_sample_alone(hostile: Composed, harm: str) -> None:
    found = hostile.score([group("fine", harm, "yes"), group("well")])
    assert values(found) == [[1.0, None, 2.0], [1.0]]
    assert found[0][1].reason.startswith(f"test_hostile: {HARMS[harm]}")
    assert "test_hostile" not in found[0][1].parts


def test_every_harm_at_once_leaves_the_others_scored_and_is_counted() -> None:
    composed = build({"test_hostile": 1.0}, RewardContext(time_limit=0.3, workers=2))
    rows = [word for harm in HARMS for word in ("fine " + harm, harm)]
    found = composed.score([group(*rows[i : i + 7]) for i in range(0, len(rows), 7)])
    flat = [value for row in values(found) for value in row]
    assert flat == [0.5, None] * len(HARMS)
    report = composed.report()["test_hostile"]
    assert (report.calls, report.scored) == (2 * len(HARMS), len(HARMS))
    assert sum(report.unscored.values()) == len(HARMS)
    assert report.unscored["time limit"] == 4
    assert report.seconds > 1.0
    composed.close()


def test_a_response_that_comes_again_is_not_scored_again(hostile: Composed) -> None:
    hostile.score([group("spin", "again")])
    before = hostile.report()["test_hostile"]
    found = hostile.score([group("spin", "spin", "again", "spin"), group("again", "spin")])
    after = hostile.report()["test_hostile"]
    assert (after.cached - before.cached, after.seconds - before.seconds) == (6, 0.0)
    assert values(found) == [[None, None, 1.0, None], [1.0, None]]


def test_the_cache_is_bounded_and_can_be_off() -> None:
    small = build({"test_length": 1.0}, RewardContext(cache=3))
    texts = ["a" * n for n in range(8)]
    small.score([group(*texts, known=1)])
    small.score([group(*texts, known=1)])
    assert small.report()["test_length"].cached == 3  # the last three
    small.score([group("", known=1)])
    assert small.report()["test_length"].cached == 3
    small.close()
    off = build({"test_length": 1.0}, RewardContext(cache=0))
    off.score([group("a", "a", known=1)])
    off.score([group("a", known=1)])
    assert off.report()["test_length"].cached == 0
    off.close()


def test_the_cache_knows_the_prompt_the_data_and_the_settings() -> None:
    composed = build({"a": {"kind": "test_length"}, "b": {"kind": "test_length", "per": 3.0}})
    found = composed.score([group("xy", known=1), group("xy", known=2)])
    assert [row[0].parts for row in found] == [{"a": 2.0, "b": 6.0}] * 2
    assert composed.report()["a"].cached == 0
    composed.close()


def test_what_the_data_lack_is_not_scored_or_left_out_where_that_is_said() -> None:
    composed = build({"test_length": 1.0, "test_hostile": 1.0})
    found = composed.score([group("fine"), group("fine", known=1)])
    assert values(found) == [[None], [4.5]]
    assert found[0][0].reason == "test_length: no `known` in the data"
    assert found[0][0].parts == {"test_hostile": 0.5}
    composed.close()
    composed = build({"test_length": {"optional": True}, "test_hostile": 1.0})
    assert values(composed.score([group("fine"), group("fine", known=1)])) == [[0.5], [4.5]]
    assert composed.report()["test_length"].left_out == 1
    composed.close()


def test_a_reward_of_weight_zero_is_measured_and_changes_nothing() -> None:
    composed = build({"test_group_place": 1.0, "test_hostile": 0.0})
    found = composed.score([group("none", "fine")])
    assert values(found) == [[0.0, 1.0]]
    assert found[0][1].parts["test_hostile"] == 0.5
    composed.close()


def test_a_class_that_crashes_costs_the_groups_it_crashes_on() -> None:
    composed = build({"test_group_place": 1.0})
    found = composed.score([group("a", "b"), group("a", "raise"), group("c")])
    assert values(found) == [[0.0, 1.0], [None, None], [0.0]]
    assert found[1][0].reason == "test_group_place: crash: RuntimeError: asked to"
    composed.close()


def test_a_class_that_hangs_is_left_behind() -> None:
    composed = build({"test_group_place": 1.0}, RewardContext(batch_limit=0.2))
    assert values(composed.score([group("sleep", "a")])) == [[None, None]]
    found = composed.score([group("b")])
    assert found[0][0].reason == "test_group_place: time limit: an earlier batch is still being scored"
    composed.close()


def test_closing_lets_the_classes_go() -> None:
    composed = build({"test_group_place": 1.0})
    composed.close()
    assert composed.components[0].whole.closed


def test_no_groups_and_groups_without_responses_are_fine(hostile: Composed) -> None:
    assert hostile.score([]) == []
    assert hostile.score([group()]) == [[]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "no reward is given"),
        ({"test_lenght": 1.0}, "unknown reward 'test_lenght', did you mean 'test_length'"),
        ({"test_length": float("nan")}, "a finite number, not nan"),
        ({"test_length": True}, "a finite number, not True"),
        ({"test_length": {"weight": "1"}}, "a finite number, not '1'"),
        ({"test_length": {"optional": 1}}, "optional is true or false, not 1"),
        ({"test_length": 0.0}, "every reward has weight 0"),
        ({"test_length": {"pre": 1.0}}, "has no setting 'pre', did you mean 'per'"),
        ({"test_length": {"per": "x"}}, "reward 'test_length': per: Input should be a valid number"),
        ({"test_group_place": {"step": None}}, "step: Input should be a valid number"),
    ],
)
def test_a_wrong_spec_is_refused_with_one_message(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(spec)


def test_data_that_no_reward_can_score_are_refused_before_anything_is_sampled() -> None:
    composed = build({"test_length": 1.0})
    with pytest.raises(ConfigError, match="reward 'test_length' needs `known` of each prompt, and none of 2 has it"):
        composed.check([group("a"), group("b")])
    (finding,) = composed.check([group("a"), group("b", known=1), group("c", known=1)])
    assert (finding.severity, finding.count) == ("warning", 1)
    assert composed.check([group("b", known=1)]) == []
    assert composed.check([]) == []
    composed.close()


def test_hostile_text_reaches_a_worker_and_comes_back_as_it_is(hostile: Composed) -> None:
    texts = ["", "\0", "\ud800", "\u202eabc", "a" * 1_000_000, "１２", "👩‍👩‍👧"]
    assert values(hostile.score([group(*texts)])) == [[1.0] * len(texts)]
