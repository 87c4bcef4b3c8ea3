"""Recipes: what is read, what is refused and in which words, overrides, resolved dump, JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

from hizala.config import Strict, digest, json_schema, load, loads, recipe, resolved, schema
from hizala.errors import ConfigError
from hizala.registry import Bound, Registry, StageSpec


class Lora(Strict):
    """Adapters."""

    rank: int = Field(8, ge=1)
    """rank of the update"""
    targets: tuple[str, ...] = ("all",)
    """which layers"""


class Train(Strict):
    """Settings of the stages of this test."""

    data: str
    """what to train on"""
    beta: Annotated[float, Bound(gt=0)] = 0.1
    """per nat"""
    steps: int | None = None
    """optimiser steps"""
    epochs: float | None = None
    """passes"""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """shape of the rate"""
    merge: bool = True
    """merge adapters"""
    lora: Lora | None = None
    """adapters"""
    weights: dict[str, float] = Field({})
    """weights by loss"""
    mix: list[Lora] = Field([])
    """a list of settings"""

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs are both given")
        return self


class Evaluate(Strict):
    """Settings with nothing required."""

    suites: tuple[str, ...] = ("world",)
    """which suites"""


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three kinds of stage in a registry of this test's own."""
    own: Registry[StageSpec] = Registry("stage")
    for name, model in (("sft", Train), ("dpo", Train), ("evaluate", Evaluate)):
        own.add(name, StageSpec(name, model, f"nowhere:{name}", f"the {name} stage"))
    monkeypatch.setattr(recipe, "stages", own)
    monkeypatch.setattr(schema, "stages", own)


GOOD = """name: quick
seed: 7
stages:
  - sft: {data: "world:chat", lora: {rank: 4}}
  - dpo:
      data: world:preferences
      beta: 2e-1
  - dpo: {name: dpo-b, data: x, merge: false}
  - evaluate:
"""


def test_a_recipe_reads_as_written_with_defaults_around_it() -> None:
    found = loads(GOOD)
    assert (found.name, found.model, found.seed, found.threads, found.out) == ("quick", "embedded", 7, None, "runs")
    assert found.trackers == ("tensorboard",)
    assert [(s.name, s.kind, s.line) for s in found.stages] == [
        ("sft", "sft", 4),
        ("dpo", "dpo", 5),
        ("dpo-b", "dpo", 8),
        ("evaluate", "evaluate", 9),
    ]
    assert found.stages[1].config == Train(data="world:preferences", beta=0.2)
    assert found.stages[0].config == Train(data="world:chat", lora=Lora(rank=4))
    assert found.source == GOOD


def test_the_resolved_recipe_loads_to_the_same_and_is_stable() -> None:
    first = loads(GOOD, ["threads=2", "stages.dpo.weights={nll: 1}"])
    text = resolved(first)
    second = loads(text)
    assert resolved(second) == text
    assert [(s.name, s.kind, s.config) for s in second.stages] == [(s.name, s.kind, s.config) for s in first.stages]
    assert "merge: true" in text
    assert "threads: 2" in text


def test_a_digest_changes_with_a_value_and_not_with_how_it_was_written() -> None:
    digests = [
        digest(loads(f"name: a\nstages: [{{dpo: {{{body}}}}}]").stages[0].config)
        for body in ("data: x, beta: 0.1", "beta: 1.0e-1, data: 'x'", "data: x", "data: x, beta: 0.2")
    ]
    assert digests[0] == digests[1] == digests[2] != digests[3]


STAGE = "name: a\nstages:\n  - dpo: {%s}\n"
BAD: list[tuple[str, str, str]] = [
    # text, where, message
    ("nme: a\nname: b\nstages: [evaluate: {}]", "r.yaml:1, nme", "unknown key 'nme', did you mean 'name'?"),
    (STAGE % "data: x, bta: 1", "r.yaml:3, stages.dpo.bta", "unknown key 'bta', did you mean 'beta'?"),
    (STAGE % "data: x, lora: {rnk: 1}", "r.yaml:3, stages.dpo.lora.rnk", "unknown key 'rnk', did you mean 'rank'?"),
    (STAGE % "data: x, mix: [{rnk: 1}]", "r.yaml:3, stages.dpo.mix.0.rnk", "unknown key 'rnk', did you mean 'rank'?"),
    (STAGE % "beta: 1", "r.yaml:3, stages.dpo.data", "key 'data' is missing: what to train on"),
    (STAGE % "data: x, beta: 0", "r.yaml:3, stages.dpo.beta", "expected a number greater than 0, got number 0"),
    (STAGE % "data: x, beta: '0.1'", "r.yaml:3, stages.dpo.beta", "expected a number, got text '0.1'"),
    (STAGE % "data: x, beta: true", "r.yaml:3, stages.dpo.beta", "expected a number, got true"),
    (STAGE % "data: x, beta: null", "r.yaml:3, stages.dpo.beta", "expected a number, got nothing (null)"),
    (STAGE % "data: x, beta: .nan", "r.yaml:3, stages.dpo.beta", "'.nan' is not a finite number"),
    (STAGE % "data: x, steps: 1.5", "r.yaml:3, stages.dpo.steps", "expected an integer, got number 1.5"),
    (STAGE % "data: x, steps: 3.0", "r.yaml:3, stages.dpo.steps", "expected an integer, got number 3.0"),
    (STAGE % "data: [x]", "r.yaml:3, stages.dpo.data", "expected text, got a list"),
    (STAGE % "data: 3", "r.yaml:3, stages.dpo.data", "expected text, got number 3"),
    (STAGE % "data: x, merge: yes", "r.yaml:3, stages.dpo.merge", "expected true or false, got text 'yes'"),
    (STAGE % "data: x, lora: 8", "r.yaml:3, stages.dpo.lora", "expected a mapping of settings, got number 8"),
    (STAGE % "data: x, weights: {nll: a}", "r.yaml:3, stages.dpo.weights.nll", "expected a number, got text 'a'"),
    (STAGE % "data: x, schedule: cosin", "r.yaml:3, stages.dpo.schedule", "did you mean 'cosine'?"),
    (STAGE % "data: x, steps: 1, epochs: 2", "r.yaml:3, stages.dpo", "steps and epochs are both given"),
    (STAGE % "data: x, name: Bad Name", "r.yaml:3, stages.dpo.name", "small letters, digits and dashes"),
    (STAGE % "data: x, data: y", "r.yaml:3, stages.dpo.data", "stands twice"),
    ("name: a\nstages:\n  - dop: {data: x}", "r.yaml:3, stages.0", "unknown stage 'dop', did you mean 'dpo'?"),
    ("name: a\nstages:\n  - dpo:\n    data: x", "r.yaml:3, stages.0", "got the keys dpo, data"),
    ("name: a\nstages:\n  - dpo", "r.yaml:3, stages.0", "a stage is one key, its kind"),
    ("name: a\nstages:\n  - dpo: 3", "r.yaml:3, stages.dpo", "expected a mapping of settings, got number 3"),
    ("name: a\nstages: []", "r.yaml:2, stages", "got an empty list"),
    ("name: a\nstages: {dpo: {data: x}}", "r.yaml:2, stages", "expected a list of stages, got a mapping"),
    ("name: a", "r.yaml:1, stages", "key 'stages' is missing"),
    ("stages: [evaluate: {}]", "r.yaml:1, name", "key 'name' is missing"),
    ("name: ../up\nstages: [evaluate: {}]", "r.yaml:1, name", "text '../up' is not allowed here"),
    ("name: a\nseed: -1\nstages: [evaluate: {}]", "r.yaml:2, seed", "expected a number at least 0, got number -1"),
    ("name: a\nseed: true\nstages: [evaluate: {}]", "r.yaml:2, seed", "expected an integer, got true"),
    ("name: a\ntrackers: [tensorbord]\nstages: [evaluate: {}]", "r.yaml:2, trackers.0", "did you mean 'tensorboard'?"),
    (
        "name: a\nstages:\n  - evaluate: {}\n  - evaluate:",
        "r.yaml:4, stages.evaluate",
        "two stages are named 'evaluate'",
    ),
    ("- name: a", "r.yaml:1", "a recipe is a mapping of keys, this is a list"),
    ("just words", "r.yaml:1", "this is text 'just words'"),
    ("", "r.yaml", "the recipe is empty"),
    ("# only a comment\n", "r.yaml", "the recipe is empty"),
]


@pytest.mark.parametrize(("text", "where", "message"), BAD)
def test_a_broken_recipe_is_refused_with_place_and_reason(text: str, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, file="r.yaml")
    assert caught.value.where == where
    assert message in caught.value.message


def test_all_problems_are_told_together_in_the_order_of_the_file() -> None:
    text = "name: a\nsed: 1\nstages:\n  - sft: {data: 1, bta: 2}\n  - dop: {}\n  - dpo: {data: x, beta: -1}\n"
    with pytest.raises(ConfigError) as caught:
        loads(text, ["stages.dpo.bta=1", "sead=2"], file="r.yaml")
    assert caught.value.where == "r.yaml"
    lines = [line.strip().split(": ")[0] for line in caught.value.message.splitlines()[1:]]
    assert lines == [
        "r.yaml:2, sed",
        "r.yaml:4, stages.sft.data",
        "r.yaml:4, stages.sft.bta",
        "r.yaml:5, stages.1",
        "r.yaml:6, stages.dpo.beta",
        "--set sead",
        "--set stages.dpo.bta",
    ]
    assert caught.value.message.startswith("7 problems")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", "seed", 3),
        ("model=org/name", "model", "org/name"),
        ("trackers=[]", "trackers", ()),
        ("threads=null", "threads", None),
        ("stages.dpo.beta=1e-5", "stages.1.beta", 1e-5),
        ("stages.dpo-b.beta=0.3", "stages.2.beta", 0.3),
        ("stages.dpo.lora.rank=2", "stages.1.lora.rank", 2),
        ("stages.sft.lora=null", "stages.0.lora", None),
        ("stages.sft.lora.targets=[q, v]", "stages.0.lora.targets", ("q", "v")),
        ("stages.dpo.data=a=b", "stages.1.data", "a=b"),
        ("stages.evaluate.suites=[x]", "stages.3.suites", ("x",)),
    ],
)
def test_an_override_takes_the_place_of_the_value(override: str, path: str, value: Any) -> None:
    found: Any = loads(GOOD, [override])
    for part in path.split("."):
        if part.isdigit():
            found = found[int(part)].config
        else:
            found = getattr(found, part)
    assert found == value


def test_a_later_override_wins_and_the_source_stays_as_given() -> None:
    found = loads(GOOD, ["seed=1", "seed=2"])
    assert found.seed == 2
    assert found.source == GOOD


@pytest.mark.parametrize(
    ("override", "where", "message"),
    [
        ("stages.dpo.bta=1", "--set stages.dpo.bta", "unknown key 'bta', did you mean 'beta'?"),
        ("sed=1", "--set sed", "unknown key 'sed', did you mean 'seed'?"),
        ("stages.dop.beta=1", "--set stages.dop.beta", "no stage 'dop', did you mean 'dpo'?"),
        ("stages.dpo.beta=x", "--set stages.dpo.beta", "expected a number, got text 'x'"),
        ("stages.dpo.beta=-1", "--set stages.dpo.beta", "greater than 0"),
        ("stages.dpo.beta.x=1", "--set stages.dpo.beta.x", "'beta' is number 0.2 and has no 'x'"),
        ("stages.dpo=1", "--set stages.dpo", "stages cannot be replaced"),
        ("stages=[]", "--set stages", "stages cannot be replaced"),
        ("stages.dpo.name=x", "--set stages.dpo.name", "a stage cannot be renamed"),
        ("seed", "--set", "'seed' is not key=value"),
        ("=3", "--set", "'=3' is not key=value"),
        ("stages..beta=3", "--set", "is not key=value"),
        ("seed=[1", "--set seed:1", "not valid YAML"),
        ("seed=.inf", "--set seed", "not a finite number"),
        ("stages.dpo.lora={rnk: 1}", "--set stages.dpo.lora, stages.dpo.lora.rnk", "did you mean 'rank'?"),
    ],
)
def test_a_broken_override_is_refused_in_its_own_words(override: str, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(GOOD, [override], file="r.yaml")
    assert caught.value.where == where
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"name: \xff\xfe", "not UTF-8 text"),
        ("name: a".encode("utf-16"), "not UTF-8 text"),
        (b"#" * 1_000_001, "this is no recipe"),
    ],
)
def test_a_file_that_cannot_be_a_recipe_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "r.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(path)
    with pytest.raises(ConfigError, match="is a directory"):
        load(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load(path).name == "quick"


def test_the_json_schema_knows_every_stage_with_defaults_bounds_and_help() -> None:
    found = json_schema()
    assert found["required"] == ["name", "stages"]
    assert found["additionalProperties"] is False
    choices = {choice["title"]: choice for choice in found["properties"]["stages"]["items"]["oneOf"]}
    assert set(choices) == {"sft", "dpo", "evaluate"}
    dpo = choices["dpo"]["properties"]["dpo"]
    assert dpo["additionalProperties"] is False
    assert dpo["required"] == ["data"]
    beta = dpo["properties"]["beta"]
    assert (beta["type"], beta["default"], beta["exclusiveMinimum"]) == ("number", 0.1, 0)
    assert beta["description"] == "per nat"
    assert dpo["properties"]["name"]["default"] == "dpo"
    assert {"type": "null"} in choices["evaluate"]["properties"]["evaluate"]["anyOf"]


def test_every_reference_of_the_json_schema_is_there() -> None:
    found = json_schema()
    references = {part.split('"')[0] for part in json.dumps(found).split('"#/$defs/')[1:]}
    assert references == set(found["$defs"]) == {"sft.Lora", "dpo.Lora"}
