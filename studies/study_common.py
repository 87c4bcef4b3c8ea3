"""What the studies share: recipes run side by side in processes of one thread, and gains with intervals.

A study is many small runs through the same command that a user types. Every run directory stays; a study that is
started again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hizala.core.stats.crossed import crossed_interval
from hizala.pipelines.progress import Bar

ROOT = Path(__file__).resolve().parent.parent
SFT = {"data": "world:chat?n=4000&seed={seed}", "dtype": "bfloat16"}


@dataclass(frozen=True)
class Job:
    """One run: its name and its recipe without name and output."""

    name: str
    recipe: Mapping[str, Any]


def arguments(summary: str, *, seeds: int = 5) -> argparse.Namespace:
    """The options of every study."""
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--out", type=Path, default=Path("runs/studies"), help="where run directories go")
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="runs of each setting, with data and order of their own"
    )
    parser.add_argument("--jobs", type=int, default=max(os.cpu_count() or 1, 1), help="runs at once, one thread each")
    parser.add_argument("--only", nargs="*", default=[], help="these settings alone")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data: small for a trial")
    return parser.parse_args()


def carry_out(jobs: Sequence[Job], out: Path, workers: int) -> dict[str, Path]:
    """Run every job; the directories of those that came to their end. What failed is named with its last words."""
    out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Path] = {}
    failures: list[str] = []

    def one(job: Job) -> None:
        path = out / f"{job.name}.yaml"
        path.write_text(yaml.safe_dump({"name": job.name, **job.recipe}, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "hizala", "run", str(path), "--out", str(out), "--no-report"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if told.returncode == 0:
            done[job.name] = out / job.name
        else:
            failures.append(f"{job.name}: {told.stderr.strip()[-300:]}")

    with Bar("runs", len(jobs)) as bar, ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(one, jobs):
            bar.advance(1)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return done


def sft_models(out: Path, seeds: Iterable[int], workers: int, scale: float) -> dict[int, Path]:
    """The SFT model of each seed, from which every method starts."""
    jobs = [Job(f"sft-{s}", recipe([{"sft": scaled(filled(SFT, s), scale)}], "embedded", s)) for s in seeds]
    done = carry_out(jobs, out, workers)
    if len(done) < len(jobs):
        raise SystemExit("an SFT model is missing; is another study at work in the same folder?")
    return {s: done[f"sft-{s}"] / "stages" / "01-sft" / "model" for s in seeds}


def recipe(stages: Sequence[Mapping[str, Any]], model: str | Path, seed: int) -> dict[str, Any]:
    """The body of a recipe."""
    return {"model": str(model), "seed": seed, "threads": 1, "stages": list(stages)}


def filled(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Settings with the seed put into their data, so that each seed draws its own."""
    data = str(settings["data"])
    if "{seed}" not in data and data.startswith("world:"):
        data += ("&" if "?" in data else "?") + "seed={seed}"
    return {**settings, "data": data.replace("{seed}", str(seed))}


def scaled(settings: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Settings on a share of their data."""
    if scale == 1.0:
        return dict(settings)
    head, _, query = str(settings["data"]).partition("?")
    options = dict(part.split("=") for part in query.split("&") if part)
    options["n"] = str(max(64, round(int(options["n"]) * scale)))
    return {**settings, "data": head + "?" + "&".join(f"{k}={v}" for k, v in options.items())}


def stage_of(path: Path, name: str) -> Path:
    """The directory of a run's stage by the stage's name."""
    return next(place for place in sorted((path / "stages").iterdir()) if place.name.partition("-")[2] == name)


def differences(path: Path, base: str, other: str) -> dict[str, float]:
    """Prompt id -> gold score of `other` minus that of `base`, of a run's evaluation."""
    found: dict[str, float] = {}
    with (stage_of(path, "evaluate") / "samples.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            left, right = row["responses"][base]["score"], row["responses"][other]["score"]
            if left is not None and right is not None:
                found[row["id"]] = right - left
    return found


def over_seeds(runs: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """A gain over several seeds, with an interval for new seeds and new prompts together.

    Args:
        runs: seed -> prompt id -> difference.
    Returns:
        value, low, high, n_seeds, n_prompts, by_seed; `clear` says where the interval lies: "up", "down" or "no".
    """
    common = sorted(set.intersection(*(set(run) for run in runs.values())))
    table = np.array([[run[key] for key in common] for run in runs.values()])
    gain = crossed_interval(table)
    return {
        "value": round(gain.value, 4),
        "low": round(gain.low, 4),
        "high": round(gain.high, 4),
        "n_seeds": len(table),
        "n_prompts": len(common),
        "by_seed": [round(float(mean), 4) for mean in table.mean(axis=1)],
        "clear": "up" if gain.low > 0 else "down" if gain.high < 0 else "no",
    }


def finish(name: str, table: Mapping[str, Any], settings: Mapping[str, Any], show: Callable[[], None]) -> None:
    """Keep a study's figures beside the docs and print them, the JSON line last."""
    place = ROOT / "docs" / "studies" / f"{name}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    text = {"study": name, "settings": dict(settings), "figures": dict(table)}
    place.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    show()
    print(json.dumps(text, ensure_ascii=False))


def line(name: str, gain: Mapping[str, Any]) -> str:
    """A gain as a row for people."""
    words = {"up": "improves", "down": "worsens", "no": "no clear change"}[gain["clear"]]
    return f"{name:40} {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]  {words}"
