"""Online RL on the embedded world: does it learn what is rewarded, and what does a critic cost?

Every run starts from the unaligned model, with the same prompts, samples and optimiser steps: GRPO with the reward as
it is, turned, and replaced by one that every response gets (the controls); PPO with a critic of its own, RLOO and kin.
Measured on test prompts that no training sees.

python studies/online.py --seeds 5 --jobs 2
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from study_common import Job, arguments, carry_out, finish, line, over_seeds, recipe, stage_of

from hizala.core.stats.bootstrap import mean_interval

COMMON: dict[str, Any] = {
    "prompts": 16, "group_size": 8, "steps": 100, "max_tokens": 96, "learning_rate": 2.0e-4, "dtype": "bfloat16",
    "rewards": {"math": 1.0}, "save_every": 100, "eval_every": 100,
}  # fmt: skip
CONTROLS: dict[str, dict[str, Any]] = {
    "grpo, reward turned": {"rewards": {"math": -1.0}},
    "grpo, reward the same for all": {"rewards": {"math": 0.0, "regex": {"pattern": "(?s).*", "weight": 1.0}}},
}
ROWS: dict[str, dict[str, Any]] = {
    "grpo": {},
    "ppo": {"critic_learning_rate": 5.0e-4},
    "rloo": {},
    "dr_grpo": {},
    "dapo": {},
    "gspo": {},
    "cispo": {},
    "reinforce_pp": {},
    "remax": {},
}
ARITHMETIC = ("add", "sub", "mul", "word")
EVERY = 10  # steps between points of a curve


def run_name(name: str, seed: int) -> str:
    """Of a run's directory."""
    return f"online-{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def settings_of(name: str, seed: int, scale: float) -> tuple[str, dict[str, Any]]:
    """Kind of stage and its settings."""
    kind, extra = (name, ROWS[name]) if name in ROWS else ("grpo", CONTROLS[name])
    data = f"world:prompts?n=3000&tasks=arithmetic&seed={seed}"
    return kind, {"data": data, **COMMON, **extra, "steps": max(2, round(COMMON["steps"] * scale))}


def solved(path: Path, kind: str) -> tuple[dict[str, float], dict[str, float]]:
    """Prompt id -> gold score before, and its change, on the arithmetic prompts of a run's evaluation."""
    before, change = {}, {}
    for text in (stage_of(path, "evaluate") / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(text)
        if row["task"] in ARITHMETIC:
            left, right = (float(row["responses"][model]["score"]) for model in ("base", kind))
            before[row["id"]], change[row["id"]] = left, right - left
    return before, change


def curve(path: Path, kind: str) -> tuple[list[float], float, float]:
    """Mean share solved in every EVERY steps, median seconds a step, and peak memory in MB."""
    home = stage_of(path, kind)
    rows = [json.loads(text) for text in (home / "metrics.jsonl").read_text().splitlines()]
    share = [row["reward/math"] for row in rows if row["split"] == "train"]
    perf = [json.loads(text) for text in (home / "perf.jsonl").read_text().splitlines()]
    points = [float(np.mean(share[at : at + EVERY])) for at in range(0, len(share), EVERY)]
    return points, float(np.median([p["seconds"] for p in perf])), max(p["peak_memory_mb"] for p in perf)


def figures(paths: Mapping[int, Path], kind: str) -> dict[str, Any]:
    """What a setting did, over its seeds."""
    measured = {seed: solved(path, kind) for seed, path in paths.items()}
    curves = {seed: curve(path, kind) for seed, path in paths.items()}
    before = [float(np.mean(list(b.values()))) for b, _ in measured.values()]
    after = [float(np.mean([b[k] + c[k] for k in b])) for b, c in measured.values()]
    gain = over_seeds({seed: change for seed, (_, change) in measured.items()})
    points = np.array([c[0] for c in curves.values()])
    bands = [mean_interval(points[:, at], seed=0) for at in range(points.shape[1])] if len(points) > 1 else []
    return {
        **gain,
        "before": round(float(np.mean(before)), 4),
        "after": round(float(np.mean(after)), 4),
        "after_by_seed": [round(x, 4) for x in after],
        "times": round(float(np.mean(after) / np.mean(before)), 3),
        "curve": [round(float(x), 4) for x in points.mean(0)],
        "curve_interval": [[round(b.low, 4), round(b.high, 4)] for b in bands],
        "seconds_a_step": round(float(np.median([c[1] for c in curves.values()])), 4),
        "peak_memory_mb": round(max(c[2] for c in curves.values()), 1),
    }


def main() -> None:
    """Run what is missing, then print and keep the table."""
    options = arguments(__doc__ or "")
    names = options.only or [*ROWS, *CONTROLS]
    seeds = range(1, options.seeds + 1)
    jobs = []
    for seed in seeds:
        for name in names:
            kind, settings = settings_of(name, seed, options.scale)
            stages = [{kind: settings}, {"evaluate": {"suites": ["world"], "prompts": 800}}]
            jobs.append(
                Job(f"online-{name.replace(', ', '-').replace(' ', '-')}-{seed}", recipe(stages, "embedded", seed))
            )
    done = carry_out(jobs, options.out, options.jobs)
    table = {}
    for name in names:
        kind = name if name in ROWS else "grpo"
        paths = {seed: done[run_name(name, seed)] for seed in seeds if run_name(name, seed) in done}
        if paths:
            table[name] = figures(paths, kind)
    told = {"seeds": options.seeds, "scale": options.scale, "steps": round(COMMON["steps"] * options.scale)}

    def show() -> None:
        for name, found in table.items():
            print(f"{line(name, found)}  {found['before']:.3f} -> {found['after']:.3f}"
                  f"  {found['seconds_a_step']:.2f} s a step, {found['peak_memory_mb']:.0f} MB")  # fmt: skip

    finish("online", table, told, show)


if __name__ == "__main__":
    main()
