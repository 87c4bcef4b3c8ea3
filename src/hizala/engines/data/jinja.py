"""Chat templates as Jinja: found in a model directory, rendered in a sandbox the way transformers renders them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hizala.errors import ModelError, TemplateError
from hizala.records import Message

# Templates that write today's date would make every day another model; they are rendered with this one.
PINNED_DATE = datetime.datetime(2025, 1, 1, 12)


class _Generation(Extension):
    """`{% generation %}` marks assistant text for other tools; here it only has to render its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration is a plain set

    def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Refused(jinja2.TemplateError):
    """The template called `raise_exception`."""


def _raise_exception(message: str) -> str:
    raise _Refused(message)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Renderer:
    """A compiled chat template.

    Args:
        source: the Jinja text.
        variables: what the template may name besides the messages (`bos_token`, ...).
        where: file, for messages.
    Raises:
        TemplateError: the text is not valid Jinja.
    """

    def __init__(self, source: str, variables: Mapping[str, Any], where: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = PINNED_DATE.strftime
        self.source, self.where, self._variables = source, where, dict(variables)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"rule 'render': the chat template is not valid Jinja: {error.message}", where=f"{where}:{error.lineno}"
            ) from error

    def __call__(self, messages: Sequence[Message], *, opened: bool) -> str:
        """The text of a conversation; `opened` adds what opens the assistant's turn.

        Raises:
            TemplateError: the template refuses the conversation or fails.
        """
        turns = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._template.render(
                **{
                    **self._variables,
                    "messages": turns,
                    "add_generation_prompt": opened,
                    "tools": None,
                    "documents": None,
                }
            )
        except _Refused as error:
            raise TemplateError(
                f"rule 'render': the template refuses this conversation: {error}", where=self.where
            ) from error
        except Exception as error:  # a template can fail in any way Python can
            raise TemplateError(
                f"rule 'render': the template fails: {type(error).__name__}: {error}", where=self.where
            ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model directory, {} where the file is absent. Raises ModelError when it is damaged."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path), fix="fetch the model again") from error
    if not isinstance(value, dict):
        raise ModelError("is not a JSON object", where=str(path), fix="fetch the model again")
    return value


def find_template(model: Path, config: Mapping[str, Any]) -> tuple[str, str] | None:
    """(Jinja text, where it stands) of a model directory, or None where it has no chat template.

    Raises:
        TemplateError: several named templates and none is called `default`.
    """
    for name in ("chat_template.jinja", "chat_template.json"):
        path = model / name
        if path.is_file():
            text = path.read_text("utf-8") if name.endswith(".jinja") else read_json(path).get("chat_template")
            if isinstance(text, str):
                return text, str(path)
    found = config.get("chat_template")
    where = str(model / "tokenizer_config.json")
    if isinstance(found, list):
        named = {t.get("name"): t.get("template") for t in found if isinstance(t, Mapping)}
        if not isinstance(named.get("default"), str):
            raise TemplateError(
                f"has several chat templates ({', '.join(map(str, named))}) and none is called 'default'", where=where
            )
        found = named["default"]
    return (found, where) if isinstance(found, str) else None


def special_tokens(model: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Named special tokens as templates see them: `bos_token` and friends, as text."""
    found: dict[str, Any] = {}
    for source in (read_json(model / "special_tokens_map.json"), config):
        for name, value in source.items():
            text = value.get("content") if isinstance(value, Mapping) else value
            if name.endswith("_token") and isinstance(text, str):
                found[name] = text
    return found
