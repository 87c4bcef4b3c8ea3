"""`hizala sweep RECIPE --over beta=0.01..1`: train over a setting, draw the score against the divergence."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

SUMMARY = "train a stage over the values of a setting and compare what they reach"
EPILOG = """\
examples:
  hizala sweep recipes/quickstart.yaml --over beta=0.01..1
  hizala sweep recipe.yaml --over beta=0.03..0.3 --points 3 --seeds 5
  hizala sweep recipe.yaml --over learning_rate=1e-5,5e-5 --over beta=0.05,0.1 --stage dpo
  hizala sweep recipe.yaml --over schedule=cosine,constant --stage dpo --metric preferences/accuracy
  hizala sweep recipes/quickstart.yaml --over beta=0.01..1 --set stages.dpo.steps=60 --plan

LOW..HIGH takes --points values at equal ratios; values with commas are taken as they are; several --over are crossed.
The stages before the swept one run once; each value and seed is a run in RUNS/NAME-sweep, of the usual format, and what
is finished is skipped when the command is given again. The page sweep.html and the file sweep.json there have the
frontier: gain in score over the common start against KL(policy || start), both on the policy's own samples, with
intervals over seeds and prompts. A value is dominated when another one is no farther from the start and scores higher,
the interval of the paired difference lying above zero. See docs/sweep.md.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser("sweep", help=SUMMARY, description=SUMMARY, epilog=EPILOG)
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a YAML file")
    parser.add_argument(
        "--over", action="append", default=[], metavar="NAME=VALUES", help="setting and values: LOW..HIGH or A,B,C"
    )
    parser.add_argument("--points", type=int, metavar="N", help="values of a range (default: 5)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds a value, from the recipe's on (3)")
    parser.add_argument("--stage", metavar="NAME", help="the swept stage, where several have the setting")
    parser.add_argument("--metric", default="gold/total", metavar="NAME", help="figure of an evaluation (gold/total)")
    parser.add_argument("--prompts", type=int, default=400, metavar="N", help="prompts of the measurement (400)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="responses sampled for each prompt (1)")
    parser.add_argument("--max-tokens", type=int, default=96, metavar="N", help="most tokens of a response (96)")
    parser.add_argument(
        "--evaluations", action="store_true", help="run the recipe's own evaluation stages too (else left out)"
    )
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="change a key of the recipe for all runs")  # fmt: skip
    parser.add_argument("--out", metavar="DIR", help="directory in which the sweep's directory is made")
    parser.add_argument("--plan", action="store_true", help="print what would be trained, and stop")


def run(args: argparse.Namespace) -> int:
    """Check, train, measure, write and print the frontier."""
    from hizala import pipelines
    from hizala.pipelines.sweep import Asked, plan
    from hizala.pipelines.sweep import run as carry_out

    pipelines.register()
    overrides = [*args.overrides, *([f"out={args.out}"] if args.out else [])]
    asked = Asked(
        tuple(args.over), args.points, args.seeds, args.stage, args.metric, args.prompts, args.samples,
        args.max_tokens, args.evaluations,
    )  # fmt: skip
    sweep = plan(args.recipe, overrides, asked)
    if args.plan:
        _print_plan(sweep)
        return 0
    home = carry_out(sweep)
    from hizala.readers.sweep import conclude, render

    render(conclude(home))
    print(f"sweep: {home}")
    print(f"page: {home / 'sweep.html'}")
    return 0


def _print_plan(sweep: Any) -> None:
    from hizala.pipelines.sweep import value_text

    for name, values in sweep.parameters.items():
        print(f"{sweep.stage}.{name}: {', '.join(value_text(value) for value in values)}")
    shared = ", ".join(stage.name for stage in sweep.start.stages) if sweep.start is not None else "none"
    print(f"once: {shared}")
    stages = ", ".join(stage.name for stage in sweep.runs[0].recipe.stages)
    print(f"{len(sweep.runs)} runs, seeds {', '.join(map(str, sweep.seeds))}; in each: {stages}")
    print(f"in {sweep.home}")
