"""Conversions between kinds of data: what each makes, that none happens unasked, and what a wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from hizala.engines.data import GroupSource, read
from hizala.engines.data.convert import CONVERSIONS
from hizala.errors import ConfigError, DataError
from hizala.pipelines.settings import Conversion
from hizala.records import Group

PAIRS = [{"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2, "source": "s"}]
THUMBS = [
    {"prompt": "p", "completion": "a", "label": True},
    {"prompt": "q", "completion": "x", "label": True},
    {"prompt": "p", "completion": "b", "label": False},
    {"prompt": "p", "completion": "c", "label": True},
]
RANKED = [{"prompt": "p", "responses": ["c", "a", "b", "b2"], "ranks": [3, 1, 2, 2]}]
GRADED = [{"prompt": "p", "responses": ["c", "a", "b", "b2"], "scores": [0.0, 1.0, 0.25, 0.25]}]
STEPS = [
    {"prompt": "p", "completions": ["1", "2"], "labels": [True, True]},
    {"prompt": "p", "completions": ["1", "3"], "labels": [True, False]},
    {"prompt": "p", "completions": ["1", "4"], "labels": [True, None]},
    {"prompt": "p", "completions": ["5", "4"], "labels": [False, None]},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", "utf-8")
    return path


def texts(groups: list[Group]) -> list[list[str]]:
    return [[response.text for response in group.responses] for group in groups]


@pytest.mark.parametrize(
    ("convert", "rows", "expected"),
    [
        ("pair_to_thumb", PAIRS, [["a", "b"]]),
        ("pair_to_ranking", PAIRS, [["a", "b"]]),
        ("thumb_to_pair", THUMBS, [["a", "b"], ["c", "b"]]),
        ("ranking_to_pair_all", RANKED, [["a", "b"], ["a", "b2"], ["a", "c"], ["b", "c"], ["b2", "c"]]),
        ("ranking_to_pair_adjacent", RANKED, [["a", "b"], ["a", "b2"], ["b", "c"], ["b2", "c"]]),
        ("ranking_to_pair_best_worst", RANKED, [["a", "c"]]),
        ("ranking_to_thumb", RANKED, [["a", "c"]]),
        ("scored_to_pair_all", GRADED, [["a", "b"], ["a", "b2"], ["a", "c"], ["b", "c"], ["b2", "c"]]),
        ("scored_to_pair_adjacent", GRADED, [["a", "b"], ["a", "b2"], ["b", "c"], ["b2", "c"]]),
        ("scored_to_pair_best_worst", GRADED, [["a", "c"]]),
        ("scored_to_ranking", GRADED, [["c", "a", "b", "b2"]]),
        ("scored_to_thumb", GRADED, [["c", "a", "b", "b2"]]),
        ("steps_to_thumb", STEPS, [["1\n2"], ["1\n3"], ["5\n4"]]),
        ("steps_to_response", STEPS, [["1\n2"], [], [], []]),
    ],
)
def test_each_conversion(tmp_path: Path, convert: str, rows: list[dict[str, Any]], expected: list[list[str]]) -> None:
    target = CONVERSIONS[convert].target
    threshold = 0.25 if convert == "scored_to_thumb" else None
    source = read(jsonl(tmp_path / "d.jsonl", rows), shape=target, convert=convert, threshold=threshold)
    groups = list(source)
    assert texts(groups) == [row for row in expected if row]
    assert len({group.id for group in groups}) == len(groups)
    assert source.shape == target
    again = GroupSource.from_groups(read(tmp_path / "d.jsonl"), shape=target, convert=convert, threshold=threshold)
    assert texts(list(again)) == texts(groups)
    for group in groups:
        ranks, labels = [r.rank for r in group.responses], [r.label for r in group.responses]
        if target == "pair":
            assert (ranks, set(labels)) == ([0, 1], {None})
        elif target == "thumb":
            assert None not in labels
            assert set(ranks) <= {None, *range(4)}
        elif target == "ranking":
            assert None not in ranks


def test_labels_and_places_are_those_of_the_data(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", PAIRS)
    (group,) = read(path, shape="thumb", convert="pair_to_thumb")
    assert [r.label for r in group.responses] == [True, False]
    assert dict(group.meta) == {"source": "s"}
    path = jsonl(tmp_path / "d.jsonl", GRADED)
    (group,) = read(path, shape="thumb", convert="scored_to_thumb", threshold=0.25)
    assert [r.label for r in group.responses] == [False, True, True, True]
    (group,) = read(path, shape="ranking", convert="scored_to_ranking")
    assert [r.rank for r in group.responses] == [2, 0, 1, 1]
    path = jsonl(tmp_path / "d.jsonl", STEPS)
    groups = list(read(path, shape="thumb", convert="steps_to_thumb"))
    assert [g.responses[0].label for g in groups] == [True, False, False]


def test_what_has_no_counterpart_or_no_order_is_counted(tmp_path: Path) -> None:
    source = read(jsonl(tmp_path / "d.jsonl", THUMBS), shape="pair", convert="thumb_to_pair")
    assert source.counts["dropped:no-counterpart"] == 1
    tied = {"prompt": "p", "responses": ["a", "b"], "ranks": [1, 1]}
    lone = {"prompt": "p", "responses": ["a"], "ranks": [1]}
    path = jsonl(tmp_path / "d.jsonl", [*RANKED, tied, lone])
    source = read(path, shape="pair", convert="ranking_to_pair_best_worst")
    assert (source.counts["dropped:tied"], source.counts["dropped:too-short"]) == (1, 1)
    assert [finding.where for finding in source.findings] == ["d:2", "d:3"]


def test_a_list_of_one_is_one_clear_error_where_there_is_nothing_else(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"prompt": "p", "responses": ["a"], "scores": [1]}] * 3)
    with pytest.raises(DataError, match=r"d\.jsonl:1: holds no usable row; the first: fewer than two responses"):
        list(read(path, shape="ranking"))


def test_a_limit_counts_what_was_made(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", RANKED)
    assert texts(list(read(path, shape="pair", convert="ranking_to_pair_all", limit=2))) == [["a", "b"], ["a", "b2"]]
    path = jsonl(tmp_path / "d.jsonl", THUMBS)
    assert texts(list(read(path, shape="pair", convert="thumb_to_pair", limit=1))) == [["a", "b"]]


@pytest.mark.parametrize(
    ("rows", "shape", "convert", "threshold", "message", "fix"),
    [
        (PAIRS, "thumb", "pair_to_thumbs", None, "unknown conversion .*did you mean 'pair_to_thumb'", "known"),
        (PAIRS, "pair", "pair_to_thumb", None, "gives thumb data, and pair data are needed", "take it out"),
        (PAIRS, "pair", "ranking_to_pair_all", None, "takes ranking data, and these are pair data", "take it out"),
        (THUMBS, "pair", "ranking_to_pair_all", None, "takes ranking data, and these are thumb", "use thumb_to_pair"),
        (
            RANKED,
            "pair",
            "thumb_to_pair",
            None,
            "takes thumb data, and these are ranking",
            "use ranking_to_pair_all or",
        ),
        (GRADED, "thumb", "scored_to_thumb", None, "needs a threshold", "scored_to_thumb"),
        (PAIRS, "thumb", "pair_to_thumb", 0.5, "takes no threshold", "scored_to_thumb"),
        (PAIRS, "pair", None, 0.5, "threshold has no effect", ""),
    ],
)
def test_a_wrong_conversion_is_one_clear_error(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    shape: str,
    convert: str | None,
    threshold: float | None,
    message: str,
    fix: str,
) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(jsonl(tmp_path / "d.jsonl", rows), shape=shape, convert=convert, threshold=threshold)
    assert fix in error.value.fix


def test_recipes_know_the_conversions() -> None:
    assert get_args(Conversion) == tuple(CONVERSIONS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("convert: scored_to_thumb", "needs a threshold"),
        ("threshold: 1", "no effect"),
        ("side: chosen, convert: pair_to_thumb", "both given"),
        ("convert: pair_to_thum", "did you mean|expected"),
    ],
)
def test_a_recipe_refuses_settings_without_effect(settings: str, message: str) -> None:
    from hizala import config, pipelines

    pipelines.register()
    with pytest.raises(ConfigError, match=message):
        config.loads(f'name: x\nstages:\n  - sft: {{data: "world:chat", {settings}}}\n')


def test_joined_sources_keep_what_each_dropped(tmp_path: Path) -> None:
    good = jsonl(tmp_path / "a.jsonl", PAIRS)
    bad = tmp_path / "b.jsonl"
    bad.write_text(json.dumps(PAIRS[0]) + "\n{broken\n" + "\n".join([json.dumps(PAIRS[0])] * 12) + "\n")
    source = GroupSource.joined([read(good, shape="pair"), read(bad, shape="pair")])
    assert len(list(source)) == 14
    assert source.counts["dropped:broken-row"] == 1
    assert [finding.where for finding in source.findings] == ["b:2"]
    assert len(list(GroupSource.joined([read(good, shape="pair"), read(bad, shape="pair")], limit=2))) == 2
