"""`hizala verify RUN`: prove that a run directory is as its ledger says."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

EPILOG = """examples:
  hizala verify runs/quickstart
  hizala verify runs/quickstart --json

exit code: 0 untouched, 4 touched, 2 no run there. Whole entries cut off the end show only in the head hash:
compare it with the one the report prints.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    summary = "prove that a run directory was not touched"
    parser = subparsers.add_parser("verify", help=summary, description=summary, epilog=EPILOG)
    parser.add_argument("run", metavar="RUN", type=Path, help="directory of a run")
    parser.add_argument("--json", action="store_true", help="print the finding as JSON")


def run(args: argparse.Namespace) -> int:
    """Verify and print one line of proof, or what is broken."""
    from hizala.canonical import plain
    from hizala.errors import LedgerError
    from hizala.ledger import verify

    found = verify(args.run)
    if args.json:
        print(json.dumps(plain(found), indent=2))
    elif found.ok:
        open_part = f", not yet proven: {', '.join(found.unfinished)}" if found.unfinished else ""
        print(f"untouched: {found.entries} entries, {found.files} files{open_part}, head {found.head}")
    else:
        for problem in found.problems[:20]:
            print(problem)
        if len(found.problems) > 20:
            print(f"... and {len(found.problems) - 20} more")
    if not found.ok and not args.json:
        print("touched: the run directory is not as its ledger says")
    return 0 if found.ok else LedgerError.exit_code
