"""Process reward models: on marked steps of real traces, and on the world's with best-of-n by each aggregation.

python studies/process.py --data ../shared/data --seeds 3
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from study_common import Job, carry_out, finish, recipe, sft_models, stage_of

REAL = {"holdout": 0.2, "epochs": 1, "max_length": 768, "batch_size": 16}
WORLD = {"data": "world:steps?n=4000&seed={seed}", "holdout": 0.1, "epochs": 2, "batch_size": 32}
COMMON = {"dtype": "bfloat16", "learning_rate": 1.0e-3}


def main() -> None:
    """Run what is missing, then print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the real sets are")
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    starts = sft_models(options.out, seeds, options.jobs, 1.0)
    traces = str((options.data / "prm_bigbench_mistake" / "traces.jsonl.gz").resolve())
    jobs = []
    for s in seeds:
        real = {"reward_process": {"name": "prm", "data": traces, **REAL, **COMMON}}
        world = {"reward_process": {"name": "prm", **WORLD, **COMMON, "data": WORLD["data"].format(seed=s)}}
        steps = {"evaluate": {"suites": ["reward"], "held_out_of": "prm"}}
        test = f"world:steps?n=400&split=test&seed={s}"
        both = {"evaluate": {"suites": ["reward", "best_of_n"], "data": test, "prompts": 150, "samples": 16}}
        jobs += [
            Job(f"process-real-{s}", recipe([real, steps], starts[s], s)),
            Job(f"process-world-{s}", recipe([world, both], starts[s], s)),
        ]
    done = carry_out(jobs, options.out, options.jobs)
    table = {}
    for kind in ("real", "world"):
        paths = [done[f"process-{kind}-{s}"] for s in seeds if f"process-{kind}-{s}" in done]
        if paths:
            table[kind] = figures(paths)
    settings = {"seeds": options.seeds, "real": "BIG-Bench Mistake", "world": "test split, 16 samples a prompt"}
    finish("process", table, settings, lambda: show(table))


def figures(paths: list[Path]) -> dict[str, Any]:
    """Every figure of every model of the evaluations, mean and range over seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        results = json.loads((stage_of(path, "evaluate") / "results.json").read_text(encoding="utf-8"))["models"]
        for model, row in results.items():
            for metric, estimate in row.items():
                found.setdefault(f"{model}: {metric}", []).append(estimate)
    out = {}
    for name, estimates in found.items():
        values = [e["value"] for e in estimates if e["value"] is not None]
        if values:
            out[name] = {
                "mean": round(float(np.mean(values)), 4),
                "by_seed": [round(v, 4) for v in values],
                "first_interval": [estimates[0]["low"], estimates[0]["high"]],
                "n": estimates[0]["n"],
            }
    return out


def show(table: dict[str, Any]) -> None:
    """Print the figures, one set after another."""
    for name, rows in table.items():
        print(f"\n{name}")
        for label, row in rows.items():
            print(f"  {label:48} {row['mean']:+.3f}  {row['by_seed']}")


if __name__ == "__main__":
    main()
