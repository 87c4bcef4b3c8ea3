"""`hizala schema`: JSON Schema of recipes, or a table of every setting."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hizala.config import FieldRow

EPILOG = """examples:
  hizala schema > recipe.schema.json      for an editor with a YAML language server
  hizala schema dpo                       every setting of a stage, with default, bounds and help
"""


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    summary = "print the schema of recipes, for editors"
    parser = subparsers.add_parser("schema", help=summary, description=summary, epilog=EPILOG)
    parser.add_argument("stage", metavar="STAGE", nargs="?", help="a stage, for a table of its settings")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the JSON Schema to a file")


def run(args: argparse.Namespace) -> int:
    """Print or write."""
    from hizala import pipelines
    from hizala.config import field_table, json_schema
    from hizala.registry import stages

    pipelines.register()
    if args.stage is not None:
        print(render(field_table(stages.get(args.stage).config)))
        return 0
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text, encoding="utf-8")
        print(args.out)
    return 0


def render(rows: Sequence[FieldRow], *, indent: str = "") -> str:
    """Settings as text: name, type, default and bounds in one line, help below."""
    width = max((len(row.name) for row in rows), default=0)
    lines = []
    for row in rows:
        default = f"default {row.default}" if row.default else "must be given"
        facts = ", ".join(part for part in (row.type, default, row.bounds) if part)
        lines.append(f"{indent}{row.name:<{width}}  {facts}")
        if row.help:
            lines.append(f"{indent}{'':<{width}}  {row.help}")
    return "\n".join(lines)
