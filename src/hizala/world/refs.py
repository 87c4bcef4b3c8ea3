"""References to data of the world, as recipes write them: `world:preferences?n=2000&noise=0.1`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from hizala.errors import ConfigError, nearest
from hizala.records import Group
from hizala.world import sample
from hizala.world.reflective import reasoning
from hizala.world.tooluse import tools

PREFIX = "world:"
SAMPLERS: dict[str, Callable[..., list[Group]]] = {**sample.SAMPLERS, "reasoning": reasoning, "tools": tools}


def resolve(ref: str) -> list[Group]:
    """The groups a reference names.

    Args:
        ref: "world:NAME" or "world:NAME?option=value&...", options being the sampler's parameters; `tasks` takes
            names separated by commas.
    Raises:
        ConfigError: not a reference to the world, unknown name or option, or a value of the wrong type.
    """
    if not ref.startswith(PREFIX):
        raise ConfigError(f"'{ref}' is not data of the world", fix="write world:NAME, for example world:chat")
    name, _, query = ref.removeprefix(PREFIX).partition("?")
    if name not in SAMPLERS:
        raise ConfigError(
            f"the world has no data '{name}'{nearest(name, SAMPLERS)}", where=ref, fix=f"known: {', '.join(SAMPLERS)}"
        )
    parameters = inspect.signature(SAMPLERS[name], eval_str=True).parameters
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ConfigError("options are not written name=value&name=value", where=ref, fix="see docs/world.md") from None
    options: dict[str, Any] = {}
    for key, raw in pairs:
        if key not in parameters:
            known = ", ".join(parameters)
            raise ConfigError(f"'{name}' has no option '{key}'{nearest(key, parameters)}", where=ref, fix=known)
        if key in options:
            raise ConfigError(f"option '{key}' is given twice", where=ref, fix="give it once")
        options[key] = _value(key, raw, parameters[key].annotation, ref)
    try:
        return SAMPLERS[name](**options)
    except ConfigError as error:
        raise ConfigError(error.message, where=ref, fix=error.fix) from None


def _value(key: str, raw: str, kind: Any, ref: str) -> Any:
    if key == "tasks":
        return tuple(raw.split(","))
    if kind is bool:
        if raw not in ("true", "false"):
            raise ConfigError(f"option '{key}' is '{raw}', neither true nor false", where=ref, fix="give true or false")
        return raw == "true"
    if kind not in (int, float):
        return raw
    try:
        return kind(raw)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ConfigError(f"option '{key}' is '{raw}', not {what}", where=ref, fix=f"give {what}") from None
