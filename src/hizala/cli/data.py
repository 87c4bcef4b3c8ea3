"""`hizala data check FILE`: look at data before training on it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hizala.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from hizala.engines.data.check import DataReport
    from hizala.engines.data.templates import ChatTemplate

EPILOG = """examples:
  hizala data check pairs.jsonl.gz
  hizala data check pairs.parquet --model embedded --max-length 512
  hizala data check soru_yanit.csv --format prompt-response --columns prompt=soru response=yanıt --json
  hizala data check world:preferences?n=500

exit code: 0 nothing wrong, 1 findings that are errors (broken rows, chosen = rejected), 2 the data cannot be used.
The language shares are a heuristic; near duplicates are looked for in a sample.
"""
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    summary = "check data before training on it"
    parser = subparsers.add_parser("data", help=summary, description=summary, epilog=EPILOG)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check", help=summary, description=summary, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    check.add_argument("ref", metavar="FILE", help="file, directory, hub id (owner/name) or world:NAME")
    check.add_argument("--format", default="auto", help="name of the format where it is not recognised")
    check.add_argument("--columns", nargs="+", default=[], metavar="NAME=COLUMN", help="the file's column for a name")
    check.add_argument("--limit", type=int, help="look at that many groups only")
    check.add_argument("--model", metavar="DIR", help="'embedded' or a model directory: lengths in its tokens")
    check.add_argument("--template", default="auto", help="'raw' for no chat template, or a Jinja file")
    check.add_argument("--max-length", type=int, metavar="N", help="tokens of prompt and response, for truncation")
    check.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Check and print; the exit code says how it stands."""
    from hizala.engines.data.check import check

    if args.max_length is not None and args.max_length < 2:
        raise ConfigError(f"--max-length must be at least 2, not {args.max_length}")
    chat = _chat(args.model, args.template)
    source = _source(args.ref, args.limit)
    given = {"format": args.format, "columns": _columns(args.columns), "limit": args.limit}
    report = check(source, chat=chat, max_length=args.max_length, **given)
    if args.json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        from rich.console import Console

        show(report, Console())
    return report.exit_code


def _source(ref: str, limit: int | None) -> Any:
    if not ref.startswith("world:"):
        return ref
    from itertools import islice

    from hizala.engines.data import GroupSource
    from hizala.world import resolve

    return GroupSource.from_groups(islice(resolve(ref), limit), name=ref)


def _chat(model: str | None, template: str) -> ChatTemplate | None:
    if model is None:
        if template != "auto":
            raise ConfigError("--template has no effect without --model", fix="give --model too")
        return None
    from hizala.engines.data.templates import ChatTemplate

    if model == "embedded":
        from hizala.world import model_dir

        return ChatTemplate.load(model_dir(), template=template)
    return ChatTemplate.load(Path(model), template=template)


def _columns(pairs: list[str]) -> dict[str, str]:
    from hizala.engines.data.formats import FORMATS

    known = sorted({name for form in FORMATS.values() for name in form.uses})
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not column:
            raise ConfigError(f"'{pair}' is not NAME=COLUMN", where="--columns")
        if name not in known:
            raise ConfigError(
                f"no format has a column '{name}'{nearest(name, known)}",
                where="--columns",
                fix=f"known: {', '.join(known)}",
            )
        found[name] = column
    return found


def show(report: DataReport, console: Console) -> None:
    """Print a report as tables."""
    from rich.markup import escape
    from rich.table import Table

    counts = report.counts
    console.print(
        f"[bold]{escape(report.ref)}[/bold]: format [bold]{report.format}[/bold], sha256 {report.digest[:16]}…"
    )
    console.print(", ".join(f"{counts[name]} {name}" for name in ("rows", "groups", "responses", "dropped")))
    if report.lengths:
        console.print(_length_table(report))
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in _facts(report):
        facts.add_row(name, escape(value))
    console.print(facts)
    for finding in report.findings:
        colour = _COLOURS[finding.severity]
        where = f"  [dim]{escape(finding.where)}[/dim]" if finding.where else ""
        console.print(f"[{colour}]{finding.severity:<8}[/{colour}]{escape(finding.message)}{where}", soft_wrap=True)
    for row in report.broken[:20]:
        console.print(f"  [dim]{escape(row.where)}[/dim] {escape(row.message)}", soft_wrap=True)
    if (more := counts["dropped"] - min(len(report.broken), 20)) > 0 and report.broken:
        console.print(f"  and {more} more")
    if not report.findings:
        console.print("[green]nothing wrong was found[/green]")


def _length_table(report: DataReport) -> Table:
    from rich.table import Table

    unit = next(iter(report.lengths.values())).unit
    table = Table("length in " + unit, title_justify="left")
    for name in ("n", "mean", "5 %", "median", "95 %", "largest"):
        table.add_column(name, justify="right")
    table.add_column("histogram (bins double)")
    for side, length in report.lengths.items():
        cells = [f"{x:.0f}" for x in (length.mean, length.p5, length.median, length.p95, length.largest)]
        table.add_row(side, str(length.n), *cells, _bars([count for _, count in length.histogram]))
    return table


def _bars(counts: list[int]) -> str:
    top = max(*counts, 1)
    return "".join(" " if not n else "▁▂▃▄▅▆▇█"[min(7, round(7 * n / top))] for n in counts)


def _facts(report: DataReport) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    if (bias := report.length_bias) is not None:
        low, high = f"{bias.longer.low:.1%}", f"{bias.longer.high:.1%}"
        rows.append(("preferred side longer", f"{bias.longer.value:.1%} [{low}, {high}] of {bias.longer.n} pairs"))
        difference = bias.difference
        interval = f"[{difference.low:+.1f}, {difference.high:+.1f}]"
        rows.append(("mean difference", f"{difference.value:+.1f} {interval} {bias.unit}"))
    found = report.duplicates
    again = f"{found['exact']} exact, {found['prompts_again']} prompts seen before"
    near = f", {found['near']} near among {found['near_sampled']} sampled" if "near" in found else ""
    rows.append(("duplicates", again + near))
    rows.append(("languages (heuristic)", ", ".join(f"{name} {share:.1%}" for name, share in report.languages.items())))
    for name, values in report.labels.items():
        shown = [f"{key.replace('_', ' ')} {value:.3g}" for key, value in values.items()]
        rows.append((name, ", ".join(shown)))
    if (cut := report.truncation) is not None:
        share = cut.truncated / max(cut.responses, 1)
        words = f"{cut.truncated} of {cut.responses} responses ({share:.1%}) cut, {cut.dropped} prompts too long"
        rows.append((f"at {cut.max_length} tokens", words))
    return rows
