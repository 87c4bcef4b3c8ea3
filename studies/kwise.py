"""Whole rankings or their pairs? Plackett-Luce and Bradley-Terry reward models on the same lists.

For each set and seed one run trains, from the same SFT model: Plackett-Luce on the lists; Bradley-Terry on all pairs
of the same lists until it has seen as many tokens, and on the world once more for as many passes (then with several
times the compute). All are measured on the same held-out lists.

    python studies/kwise.py --data ../shared/data --seeds 5
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from study_common import Job, carry_out, finish, recipe, sft_models, stage_of

from hizala.algorithms import algorithms
from hizala.api import recipe as checked
from hizala.pipelines.material import load_template, prepare, source_of

METRICS = ("reward/accuracy", "reward/kendall_tau", "reward/ndcg", "reward/top1")
COMMON = {"dtype": "bfloat16", "max_length": 256, "learning_rate": 5.0e-4}
SETS = {
    "world": {"data": "world:rankings?n=1500&k=4&seed={seed}", "holdout": 0.2, "epochs": 2},
    "world, 20 % noise": {"data": "world:rankings?n=1500&k=4&seed={seed}&noise=0.2", "holdout": 0.2, "epochs": 2},
    "alpaca": {"data": "{data}/kwise_alpaca/kwise_200x5.jsonl.gz", "holdout": 0.25, "epochs": 2},
    "tulu": {"data": "{data}/kwise_tulu_bon/kwise_200x5.jsonl.gz", "holdout": 0.25, "epochs": 2},
}
# What the models are measured on, where it is not what the lists held out: truth without the planted noise.
TEST = {"world, 20 % noise": "world:rankings?n=300&k=4&split=test"}


def main() -> None:
    """Run what is missing, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the real sets are")
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(SETS), choices=list(SETS))
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    starts = sft_models(options.out, seeds, options.jobs, 1.0)
    jobs = [
        Job(f"kwise-{i}-{s}", recipe(stages(name, s, options.data, starts[s]), starts[s], s))
        for s in seeds
        for i, name in enumerate(SETS)
        if name in options.only
    ]
    done = carry_out(jobs, options.out, options.jobs)
    table = {}
    for i, name in enumerate(SETS):
        paths = [done[f"kwise-{i}-{s}"] for s in seeds if f"kwise-{i}-{s}" in done]
        if paths:
            table[name] = figures(paths)
    finish(
        "kwise",
        table,
        {"seeds": options.seeds, "tokens": "as many for pl and bt", "cut": "at 256 tokens"},
        lambda: show(table),
    )


def stages(name: str, seed: int, data: Path, start: Path) -> list[dict[str, Any]]:
    """The stages of one run: three reward models and their evaluation."""
    told = SETS[name] | COMMON
    told["data"] = str(told["data"]).format(seed=seed, data=data.resolve())
    lists = {"name": "pl", **told, "batch_size": 16}
    pairs = {**told, "convert": "ranking_to_pair_all", "batch_size": 16 * (3 if "world" in name else 5)}
    steps = equal_steps(lists, pairs, start, seed)
    even = {k: v for k, v in pairs.items() if k != "epochs"}
    test = {"data": TEST[name]} if name in TEST else {"held_out_of": "pl"}
    # As many passes over all pairs of real lists take an hour on two cores and are left out.
    longer = [{"reward": {"name": "bt_long", **pairs}}] if "world" in name else []
    return [
        {"reward_kwise": lists},
        {"reward": {"name": "bt", **even, "steps": steps}},
        *longer,
        {"evaluate": {"suites": ["reward"], **test}},
    ]


def equal_steps(lists: dict[str, Any], pairs: dict[str, Any], start: Path, seed: int) -> int:
    """Steps after which Bradley-Terry on the pairs has computed as many tokens as Plackett-Luce on the lists."""
    tokens = []
    for kind, settings in (("reward_kwise", lists), ("reward", pairs)):
        given = checked(name="count", model=str(start), seed=seed, stages=[{kind: settings}]).stages[0].config
        source = source_of(given, algorithms.get(kind).data)
        template = load_template(start, given.template)
        limits = {"holdout": given.holdout, "max_holdout": given.max_holdout, "max_length": given.max_length}
        material = prepare(source, template, seed=seed, **limits)
        tokens.append((sum(group.tokens for group in material.train), len(material.train)))
    (of_lists, _), (of_pairs, count) = tokens
    return max(1, round(of_lists * float(lists["epochs"]) / (of_pairs / count * pairs["batch_size"])))


def figures(paths: list[Path]) -> dict[str, Any]:
    """Means over seeds of each model, and of Plackett-Luce minus each other with a t interval over seeds."""
    rows: dict[str, dict[str, list[float]]] = {}
    seen: dict[str, list[float]] = {}
    for path in paths:
        results = json.loads((stage_of(path, "evaluate") / "results.json").read_text(encoding="utf-8"))["models"]
        for model in [m for m in ("pl", "bt", "bt_long") if m in results]:
            for metric in METRICS:
                rows.setdefault(model, {}).setdefault(metric, []).append(results[model][metric]["value"])
            lines = (stage_of(path, model) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            steps = [json.loads(line) for line in lines]
            seen.setdefault(model, []).append(sum(s["tokens"] for s in steps if s.get("split") == "train"))
    out: dict[str, Any] = {
        model: {metric: round(float(np.mean(values)), 4) for metric, values in table.items()}
        | {"tokens": round(float(np.mean(seen[model])))}
        for model, table in rows.items()
    }
    for other in [m for m in ("bt", "bt_long") if m in rows]:
        for metric in METRICS:
            gap = np.array(rows["pl"][metric]) - np.array(rows[other][metric])
            half = float(stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5) if len(gap) > 1 else None
            interval = (
                None if half is None else [round(float(gap.mean()) - half, 4), round(float(gap.mean()) + half, 4)]
            )
            out[f"pl minus {other}, {metric}"] = {"value": round(float(gap.mean()), 4), "interval": interval}
    return out


def show(table: dict[str, Any]) -> None:
    """Print the figures, one set after another."""
    for name, rows in table.items():
        print(f"\n{name}")
        for label, row in rows.items():
            print(f"  {label:38} {row}")


if __name__ == "__main__":
    main()
