"""Reading a reference: shapes, sides, limits, columns, and what happens to rows that cannot be used."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hizala.algorithms import algorithms
from hizala.engines.data import GroupSource, read
from hizala.engines.data.groups import SIDES
from hizala.errors import DataError
from hizala.records import Group, Message, Response

PAIRS = [{"prompt": f"soru {i}", "chosen": f"iyi {i}", "rejected": f"kötü {i}"} for i in range(20)]
RANKED = [{"prompt": "a", "responses": ["x", "y", "z"], "scores": [1, 3, 2]}]
THUMBS = [{"prompt": "a", "completion": "x", "label": True}, {"prompt": "b", "completion": "y", "label": False}]


def jsonl(path: Path, rows: list[Any]) -> Path:
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def test_a_source_can_be_read_again_and_keeps_no_state(tmp_path: Path) -> None:
    source = read(jsonl(tmp_path / "d.jsonl", [*PAIRS, "{broken"]))
    first, second = list(source), list(source)
    assert first == second
    assert [group.id for group in first[:2]] == ["d:1", "d:2"]
    assert source.counts == {"rows": 21, "groups": 20, "responses": 40, "dropped": 1, "dropped:broken-row": 1}
    assert [(f.where, f.severity) for f in source.findings] == [("d:21", "error")]


def test_figures_are_known_without_iterating(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", PAIRS)
    source = read(path)
    assert source.counts["groups"] == 20
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.format, source.shape) == ("pair", "pair")


def test_the_identity_follows_content_and_options(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", PAIRS)
    first = read(path).identity
    assert read(path).identity == first
    assert len({first, read(path, limit=3).identity, read(path, shape="response", side="chosen").identity}) == 3
    jsonl(path, PAIRS[:-1])
    assert read(path).identity != first


@pytest.mark.parametrize(
    ("rows", "shape", "side", "expected"),
    [
        (PAIRS[:1], "response", "chosen", [["iyi 0"]]),
        (PAIRS[:1], "response", "rejected", [["kötü 0"]]),
        (PAIRS[:1], "prompt", None, [[]]),
        (PAIRS[:1], "rollout", None, [[]]),
        (RANKED, "response", "chosen", [["y"]]),
        (RANKED, "response", "rejected", [["x"]]),
        (RANKED, "scored", None, [["x", "y", "z"]]),
        (THUMBS, "response", "chosen", [["x"]]),
        (THUMBS, "response", "rejected", [["y"]]),
    ],
)
def test_richer_data_serve_as_responses_when_asked(
    tmp_path: Path, rows: list[Any], shape: str, side: str | None, expected: list[list[str]]
) -> None:
    groups = list(read(jsonl(tmp_path / "d.jsonl", rows), shape=shape, side=side))
    assert [[response.text for response in group.responses] for group in groups] == expected


@pytest.mark.parametrize(
    ("rows", "shape", "fix"),
    [
        (PAIRS, "response", "side: chosen or side: rejected; or use a method for pair data: "),
        (PAIRS, "thumb", "convert: pair_to_thumb; or use a method for pair data: "),
        (RANKED, "pair", "convert: ranking_to_pair_all or convert: ranking_to_pair_adjacent or "),
        (THUMBS, "pair", "convert: thumb_to_pair"),
        (PAIRS, "steps", "give steps data; or use a method for pair data: "),
    ],
)
def test_nothing_is_chosen_silently(tmp_path: Path, rows: list[Any], shape: str, fix: str) -> None:
    path = jsonl(tmp_path / "d.jsonl", rows)
    with pytest.raises(DataError, match="cannot serve as") as error:
        read(path, shape=shape)
    assert fix in error.value.fix
    fitting = [name for name in algorithms.names() if algorithms.get(name).data == read(path).shape]
    assert set(fitting) <= set(re.split(r"[ ,;]+", error.value.fix))
    with pytest.raises(DataError, match="cannot serve as") as given:
        GroupSource.from_groups(read(path), shape=shape)
    assert given.value.fix == error.value.fix


def test_a_side_without_effect_is_an_error(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", PAIRS)
    for side in SIDES:
        with pytest.raises(DataError, match="no effect"):
            read(path, shape="pair", side=side)
    with pytest.raises(DataError, match="did you mean 'chosen'"):
        read(path, shape="response", side="chose")


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows = [{"soru": "a", "iyi": "b", "kötü": "c", "kaynak": "k"}]
    path = jsonl(tmp_path / "d.jsonl", rows)
    group = next(iter(read(path, columns={"prompt": "soru", "chosen": "iyi", "rejected": "kötü"})))
    assert [response.text for response in group.responses] == ["b", "c"]
    assert dict(group.meta) == {"kaynak": "k"}
    with pytest.raises(DataError, match="no column 'sor' to use as 'prompt', did you mean 'soru'"):
        read(path, columns={"prompt": "sor"})


def test_columns_may_be_swapped(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", PAIRS[:1])
    group = next(iter(read(path, columns={"chosen": "rejected", "rejected": "chosen"})))
    assert [response.text for response in group.responses] == ["kötü 0", "iyi 0"]


def test_a_limit_stops_reading(tmp_path: Path) -> None:
    source = read(jsonl(tmp_path / "d.jsonl", PAIRS), limit=3)
    assert len(list(source)) == 3
    assert source.counts["rows"] == 3
    with pytest.raises(DataError, match="at least 1"):
        read(tmp_path / "d.jsonl", limit=0)


def test_too_many_broken_rows_stop_reading(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [*PAIRS[:8], "x", "y"])
    with pytest.raises(DataError, match="2 of 10 rows are broken, more than 10%") as error:
        list(read(path))
    assert f"{path}:9" in error.value.where
    assert len(list(read(path, max_broken=0.2))) == 8


def test_a_large_misread_file_stops_early(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", [*PAIRS * 20, *(["x"] * 50_000)])
    with pytest.raises(DataError, match="of 1000 rows are broken"):
        list(read(path))


def test_groups_can_be_given_directly() -> None:
    pair = (Response((Message("assistant", "b"),), rank=0), Response((Message("assistant", "c"),), rank=1))
    groups = [Group((Message("user", "a"),), pair, id=f"w:{i}", meta={"task": "x"}) for i in range(3)]
    source = GroupSource.from_groups(iter(groups), name="world", shape="pair")
    assert list(source) == list(source) == groups
    assert source.counts["responses"] == 6
    assert source.digest == GroupSource.from_groups(groups).digest
    assert source.digest != GroupSource.from_groups(groups[:2]).digest
    lone = replace(groups[0], id="w:9", responses=pair[:1])
    with pytest.raises(DataError, match="w:9: the group is not a pair"):
        list(GroupSource.from_groups([*groups, lone], shape="pair"))
