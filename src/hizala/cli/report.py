"""`hizala report`: one self-contained HTML file about a run."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write one self-contained HTML file about a run"
EPILOG = """\
examples:
  hizala report runs/quickstart
  hizala report runs/quickstart --out report.html
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The verb's arguments."""
    parser = subparsers.add_parser(
        "report", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write (default: RUN/report.html)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the report and say where."""
    from hizala.readers.report import write

    print(write(args.run, args.out))
    return 0
