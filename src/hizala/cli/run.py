"""`hizala run`: carry out a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "carry out a recipe: skip what is finished, continue what was interrupted"
EPILOG = """\
examples:
  hizala run recipes/quickstart.yaml
  hizala run my.yaml --set stages.dpo.beta=0.2 --set seed=11
  hizala run my.yaml --dry-run            check recipe, data and template; estimate tokens, memory and time
  hizala run --settings dpo               every setting of a stage, with its type, bounds, default and meaning
  torchrun --nproc-per-node 2 -m hizala run my.yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The verb's arguments."""
    parser = subparsers.add_parser(
        "run", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="?", type=Path, help="a recipe (YAML)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the recipe",
    )
    parser.add_argument("--out", metavar="DIR", help="where run directories go (the recipe's `out`; default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="check everything and estimate, without training")
    parser.add_argument("--settings", metavar="STAGE", help="print the settings of a kind of stage and stop")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html at the end")
    return parser


def run(args: argparse.Namespace) -> int:
    """Load the recipe, run it, write the report."""
    from hizala.errors import ConfigError

    if args.settings:
        return _settings(args.settings)
    if args.recipe is None:
        raise ConfigError(
            "no recipe is given", fix="hizala run RECIPE, for example: hizala run recipes/quickstart.yaml"
        )
    overrides = [*args.overrides, *([f"out={args.out}"] if args.out else [])]
    if args.dry_run:
        return _dry_run(args.recipe, overrides)
    import hizala

    result = hizala.run(args.recipe, overrides, report=not args.no_report)
    if result.first:
        print(f"run: {result.path}")
    if result.report is not None:
        print(f"report: {result.report}")
    return 0


def _settings(kind: str) -> int:
    from rich.console import Console
    from rich.table import Table

    from hizala import pipelines
    from hizala.config import field_table
    from hizala.registry import stages

    pipelines.register()
    spec = stages.get(kind)
    table = Table(title=f"{kind}: {spec.summary}", title_justify="left", show_lines=False)
    for column in ("setting", "type", "default", "bounds", "meaning"):
        table.add_column(column, overflow="fold")
    for row in field_table(spec.config):
        table.add_row(row.name, row.type, row.default, row.bounds, row.help)
    Console().print(table)
    return 0


def _dry_run(recipe: Path, overrides: list[str]) -> int:
    import hizala
    from hizala.pipelines.dryrun import dry_run, render

    plan = dry_run(hizala.load_recipe(recipe, overrides))
    render(plan)
    return 1 if plan.problems else 0
