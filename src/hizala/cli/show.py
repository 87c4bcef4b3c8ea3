"""`hizala show`: the state of a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "print the state of a run: stages, last metrics, figures"
EPILOG = """\
examples:
  hizala show runs/quickstart
  hizala show runs/quickstart --json
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The verb's arguments."""
    parser = subparsers.add_parser(
        "show", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    return parser


def run(args: argparse.Namespace) -> int:
    """Read the run directory and print what is there."""
    from hizala.readers.show import render, summary

    state = summary(args.run)
    if args.json:
        print(json.dumps(state, ensure_ascii=False, indent=2))
    else:
        render(state)
    return 0
