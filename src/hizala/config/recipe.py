"""Recipes: read, override, check, resolve."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hizala.config.strict import Strict
from hizala.config.text import Document, KeyPath, dump, parse, read_text
from hizala.config.validate import shown, validate
from hizala.errors import ConfigError, nearest
from hizala.registry import StageSpec, stages

STAGE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class RecipeSettings(Strict):
    """The keys of a recipe outside its stages."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """name of the run and of its directory: letters, digits, dot, dash, underscore"""
    model: str = Field("embedded", min_length=1)
    """`embedded`, a Hugging Face directory, or a hub id"""
    seed: int = Field(0, ge=0, lt=2**63)
    """every random choice follows from it"""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads; null leaves the choice to torch (another count gives other last bits)"""
    out: str = Field("runs", min_length=1)
    """directory in which the run directory is made"""
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ("tensorboard",)
    """where live metrics go besides the run directory"""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a recipe: its name in this recipe, its kind, its settings, and its line in the file."""

    name: str
    kind: str
    config: Strict
    line: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that was checked. `source` is its text as given."""

    name: str
    model: str
    seed: int
    threads: int | None
    out: str
    trackers: tuple[str, ...]
    stages: tuple[Stage, ...]
    source: str


def load(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: a YAML file.
        overrides: `key=value` or `stages.NAME.key=value`, as given to `--set`; values are YAML.
    Raises:
        ConfigError: everything that is wrong, together, each with file, line and field.
    """
    path = Path(path)
    return loads(read_text(path), overrides, file=str(path))


def loads(text: str, overrides: Sequence[str] = (), *, file: str = "recipe") -> Recipe:
    """`load` for a text; `file` names it in messages."""
    document = parse(text, file)
    values = document.value
    if values is None:
        raise ConfigError("the recipe is empty", where=file, fix="write at least `name:` and `stages:`")
    if not isinstance(values, dict):
        raise ConfigError(
            f"a recipe is a mapping of keys, this is {shown(values)}", where=f"{file}:{document.line(())}"
        )
    raw_stages = _split_stages(document, values)
    for override in overrides:
        _override(document, values, raw_stages, override)
    _unknown_keys(document, values)
    head = validate(document, RecipeSettings, {k: v for k, v in values.items() if k in _HEAD}, (), "")
    built = [_build(document, raw) for raw in raw_stages]
    document.finish()
    assert isinstance(head, RecipeSettings)
    done = tuple(stage for stage in built if stage is not None)
    return Recipe(**{key: getattr(head, key) for key in _HEAD}, stages=done, source=text)


def resolved(recipe: Recipe) -> str:
    """YAML of a recipe with every default written out; loading it gives the same settings."""
    values: dict[str, Any] = {
        "name": recipe.name,
        "model": recipe.model,
        "seed": recipe.seed,
        "threads": recipe.threads,
        "out": recipe.out,
        "trackers": list(recipe.trackers),
        "stages": [{s.kind: {"name": s.name, **s.config.model_dump(mode="json")}} for s in recipe.stages],
    }
    return dump(values)


_HEAD = tuple(RecipeSettings.model_fields)
_KNOWN = (*_HEAD, "stages")


@dataclass(slots=True)
class _Raw:
    """A stage before its settings are checked. `spec` is None when its kind is unknown."""

    name: str
    kind: str
    spec: StageSpec | None
    body: Any
    path: KeyPath


def _unknown_keys(document: Document, values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in _KNOWN:
            hint = nearest(key, _KNOWN)
            fix = "" if hint else f"known: {', '.join(_KNOWN)}"
            document.report((key,), f"unknown key '{key}'{hint}", name=key, fix=fix)


def _split_stages(document: Document, values: Mapping[str, Any]) -> list[_Raw]:
    """The stages with their names; what is no stage is reported."""
    if "stages" not in values:
        document.report((), "key 'stages' is missing: the list of what to do", name="stages")
        return []
    items = values["stages"]
    if not isinstance(items, list) or not items:
        got = "an empty list" if items == [] else shown(items)
        document.report(("stages",), f"expected a list of stages, got {got}", name="stages", fix=_EXAMPLE)
        return []
    found = [raw for index, item in enumerate(items) if (raw := _split_stage(document, item, index)) is not None]
    first: dict[str, int] = {}
    for raw in found:
        line = document.line(raw.path)
        if raw.name in first:
            message = f"two stages are named '{raw.name}', the first in line {first[raw.name]}"
            document.report(raw.path, message, name=f"stages.{raw.name}", fix="give one of them a `name:`")
        first.setdefault(raw.name, line)
    return found


_EXAMPLE = 'write e.g. `- sft: {data: "world:chat"}`'


def _split_stage(document: Document, item: Any, index: int) -> _Raw | None:
    path: KeyPath = ("stages", index)
    if not isinstance(item, dict) or len(item) != 1:
        got = f"the keys {', '.join(item)}" if isinstance(item, dict) and item else shown(item)
        hint = "indent its settings under its kind" if isinstance(item, dict) and item else _EXAMPLE
        if path not in document.broken:
            message = f"a stage is one key, its kind, with settings under it; got {got}"
            document.report(path, message, name=f"stages.{index}", fix=hint)
        return None
    kind, body = next(iter(item.items()))
    path = (*path, kind)
    spec = stages.get(kind) if kind in stages else None
    if spec is None:
        known = ", ".join(stages.names()) or "none"
        message = f"unknown stage '{kind}'{nearest(kind, stages.names())}"
        document.report(path, message, name=f"stages.{index}", fix=f"known: {known}")
    body = {} if body is None else body
    name = kind
    if isinstance(body, dict):
        body = dict(body)
        given = body.pop("name", None)
        if given is not None:
            if isinstance(given, str) and STAGE_NAME.fullmatch(given):
                name = given
            else:
                message = f"a stage's name is small letters, digits and dashes or underscores, got {shown(given)}"
                document.report((*path, "name"), message, name=f"stages.{kind}.name")
    return _Raw(name, kind, spec, body, path)


def _build(document: Document, raw: _Raw) -> Stage | None:
    if raw.spec is None:
        return None
    config = validate(document, raw.spec.config, raw.body, raw.path, f"stages.{raw.name}")
    return None if config is None else Stage(raw.name, raw.kind, config, document.line(raw.path))


def _override(document: Document, values: dict[str, Any], raw_stages: list[_Raw], override: str) -> None:
    """Put one `--set` in place; a key unknown to the settings is found later, when all is checked."""
    key, equals, text = override.partition("=")
    key = key.strip()
    origin = f"--set {key}"
    if not equals or not all(key.split(".")):
        return document.refuse("--set", f"'{override}' is not key=value", "write e.g. --set stages.dpo.beta=0.2")
    given = parse(text, origin)
    if given.problems:
        return document.refuse(origin, given.problems[0].message)
    parts = key.split(".")
    target: dict[str, Any] = values
    path: KeyPath = ()
    if parts[0] == "stages":
        names = [raw.name for raw in raw_stages]
        if len(parts) < 3 or parts[2] == "name":
            what = "a stage cannot be renamed" if len(parts) == 3 else "stages cannot be replaced"
            return document.refuse(origin, what, "write --set stages.NAME.KEY=VALUE")
        if parts[1] not in names:
            hint = nearest(parts[1], names)
            return document.refuse(origin, f"no stage '{parts[1]}'{hint}", f"stages: {', '.join(names)}")
        raw = raw_stages[names.index(parts[1])]
        if not isinstance(raw.body, dict):
            return None  # reported when the stage is checked
        target, path, parts = raw.body, raw.path, parts[2:]
    for part in parts[:-1]:
        path = (*path, part)
        inner = target.get(part)
        if inner is not None and not isinstance(inner, dict):
            return document.refuse(origin, f"'{part}' is {shown(inner)} and has no '{parts[-1]}'")
        copy = dict(inner or {})
        target[part] = copy
        target = copy
    target[parts[-1]] = given.value
    document.origins[(*path, parts[-1])] = origin
    document.broken.discard((*path, parts[-1]))
    return None
