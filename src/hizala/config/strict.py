"""The strict base of all settings, and settings classes made from signatures."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hizala.errors import RegistryError


class Strict(BaseModel):
    """Base of all settings: unknown keys, wrong types and non-finite numbers are refused; values cannot be changed.

    Help comes from one place: `Field(description=...)` or the string under the attribute.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One setting as help and docs show it. `default` is "" for a setting that must be given."""

    name: str
    type: str
    default: str
    bounds: str
    help: str


@cache
def schema_of(fn: Callable[..., Any]) -> type[Strict]:
    """Settings class of a function's keyword-only parameters.

    Args:
        fn: types and `Bound`s come from its annotations, help from the `Args:` of its docstring. A class stands for
            what makes it.
    Raises:
        RegistryError: a keyword-only parameter has no annotation or no entry under `Args:`.
    """
    made_by: Any = fn.__init__ if inspect.isclass(fn) else fn
    hints = get_type_hints(made_by, include_extras=True)
    helps = argument_help(inspect.getdoc(fn) or "")
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        for what, found in (("annotation", hints), ("entry under `Args:`", helps)):
            if parameter.name not in found:
                raise RegistryError(f"parameter '{parameter.name}' of {fn.__qualname__} has no {what}")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], Field(default, description=helps[parameter.name]))
    name = "".join(part.capitalize() for part in fn.__name__.split("_")) + "Settings"
    summary = (inspect.getdoc(fn) or "").partition("\n")[0]
    return create_model(name, __base__=Strict, __module__=fn.__module__, __doc__=summary, **fields)


def combine(
    name: str, *parts: type[Strict], defaults: Mapping[str, Any] | None = None, summary: str = ""
) -> type[Strict]:
    """One settings class with the fields and validators of several, `defaults` put in place of theirs.

    Raises:
        RegistryError: two parts have a field of the same name, or a default has no field.
    """
    seen: dict[str, type[Strict]] = {}
    for part in parts:
        for field_name in part.model_fields:
            if field_name in seen:
                raise RegistryError(f"{name}: '{field_name}' is in {seen[field_name].__name__} and {part.__name__}")
            seen[field_name] = part
    fields: dict[str, Any] = {}
    for field_name, default in (defaults or {}).items():
        if field_name not in seen:
            raise RegistryError(f"{name}: default for unknown field '{field_name}'")
        old = seen[field_name].model_fields[field_name]
        fields[field_name] = (rebuilt(old), Field(default, description=old.description))
    return create_model(name, __base__=tuple(reversed(parts)), __doc__=summary or name, **fields)


def rebuilt(info: FieldInfo) -> Any:
    """The annotation of a field with its bounds put back."""
    annotation: Any = info.annotation
    for extra in info.metadata:
        annotation = Annotated[annotation, extra]
    return annotation


def argument_help(doc: str) -> dict[str, str]:
    """Entries of the `Args:` section of a docstring; `a, b: text` helps both."""
    helps: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in doc.splitlines():
        if not line.startswith(" "):
            inside = line.strip() == "Args:" or (inside and not line.strip())
            continue
        if not inside:
            continue
        entry = re.match(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)$", line)
        if entry:
            names = [name.strip("* ") for name in entry[1].split(",")]
            helps.update(dict.fromkeys(names, entry[2].strip()))
        else:
            helps.update({name: f"{helps[name]} {line.strip()}" for name in names})
    return helps


def field_table(model: type[BaseModel], prefix: str = "") -> list[FieldRow]:
    """Rows of help for every setting, nested settings as `outer.inner`."""
    rows: list[FieldRow] = []
    for name, info in model.model_fields.items():
        inner = nested_model(info.annotation)
        rows.append(
            FieldRow(prefix + name, type_name(info.annotation), _default(info), bounds_of(info), info.description or "")
        )
        if inner is not None:
            rows.extend(field_table(inner, f"{prefix}{name}."))
    return rows


def nested_model(annotation: Any) -> type[BaseModel] | None:
    """The settings class inside an annotation, through Annotated, unions and None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if is_union(annotation) or get_origin(annotation) is Annotated:
        return next((found for arg in get_args(annotation) if (found := nested_model(arg)) is not None), None)
    return None


def is_union(annotation: Any) -> bool:
    """Whether an annotation is `A | B`, however written."""
    return get_origin(annotation) is Union or type(annotation).__name__ == "UnionType"


_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def type_name(annotation: Any) -> str:
    """A type in the user's words: `number`, `list of text`, `one of constant, linear`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(args[0])
    if origin is Literal:
        return "one of " + ", ".join(str(arg) for arg in args)
    if is_union(annotation):
        return " or ".join(dict.fromkeys(type_name(arg) for arg in args))
    if origin in (list, tuple):
        return f"list of {type_name(args[0])}" if args else "list"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"mapping of {type_name(args[0])} to {type_name(args[1])}"
    if isinstance(annotation, type):
        return _WORDS.get(annotation, "settings" if issubclass(annotation, BaseModel) else annotation.__name__)
    return str(annotation)


def bounds_of(info: FieldInfo) -> str:
    """Bounds of a field as text, `> 0, < 0.5`."""
    return ", ".join(
        f"{sign} {getattr(item, name):g}"
        for item in _flat(info.metadata)
        for name, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
        if getattr(item, name, None) is not None
    )


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        if getattr(item, "__is_annotated_types_grouped_metadata__", False):
            yield from item
        else:
            yield item


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
