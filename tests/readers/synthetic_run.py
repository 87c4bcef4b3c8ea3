"""Writes a run directory as the pipelines lay it out, with made-up but plausible figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hizala.core.stats import mean_interval, paired_difference, proportion_interval
from hizala.ledger import Ledger

RECIPE = """name: quickstart
model: embedded
seed: 7
stages:
  - sft:      {data: "world:chat"}
  - dpo:      {data: "world:preferences", beta: 0.1, chosen_nll_weight: 1.0}
  - evaluate: {suites: [world]}
"""
RESOLVED = """name: quickstart
model: embedded
seed: 7
threads: 2
out: runs
trackers: [tensorboard]
stages:
- sft: {data: 'world:chat', learning_rate: 0.0005, batch_size: 32, epochs: 1.0}
- dpo: {data: 'world:preferences', beta: 0.1, label_smoothing: 0.0, learning_rate: 5.0e-05, batch_size: 32}
- evaluate: {suites: [world], prompts: 400, samples: 1, temperature: 1.0}
"""
# Probability of a full score of base, sft and dpo.
TASKS = {
    "add": (0.42, 0.78, 0.80),
    "sub": (0.34, 0.70, 0.72),
    "mul": (0.31, 0.52, 0.55),
    "word": (0.22, 0.49, 0.52),
    "style": (0.48, 0.66, 0.91),
    "privacy": (0.40, 0.47, 0.74),
    "premise": (0.44, 0.61, 0.83),
    "caps": (0.38, 0.60, 0.58),
    "list": (0.36, 0.64, 0.69),
    "count": (0.29, 0.43, 0.47),
}
FAMILIES = {
    "arithmetic": ("add", "sub", "mul", "word"),
    "instruction": ("caps", "list", "count"),
    "conduct": ("style", "privacy", "premise"),
}
PROMPTS = {
    ("add", "tr"): ("47 ile 38'in toplamı kaçtır?", "85"),
    ("add", "en"): ("What is 47 plus 38?", "85"),
    ("style", "tr"): ("Kargom hâlâ gelmedi. Müşteriye ne yazmalıyım?", "kibar"),
    ("style", "en"): ("My parcel is late. What should I write to the customer?", "polite"),
    ("premise", "tr"): ("Örümceklerin altı bacağı olduğuna göre, üç örümceğin kaç bacağı olur?", "yanlış varsayım"),
    ("premise", "en"): ("Since spiders have six legs, how many legs do three spiders have?", "false premise"),
}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def estimate(values: Any) -> dict[str, float]:
    found = asdict(mean_interval(values, n_boot=400))
    return {key: found[key] for key in ("value", "low", "high", "n")}


def train_rows(kind: str, steps: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of metrics.jsonl and perf.jsonl."""
    metrics: list[dict[str, Any]] = []
    perf: list[dict[str, Any]] = []
    every = max(1, steps // 8)
    for step in range(steps + 1):
        t = step / steps
        rise = 1 - math.exp(-3 * t)
        if step % every == 0 or step == steps:
            loss = (2.1 - 1.2 * rise if kind == "sft" else 0.693 - 0.45 * rise) + 0.25 * rng.normal(size=120)
            row: dict[str, Any] = {"step": step, "split": "eval", "loss": estimate(loss)}
            if kind == "dpo":
                row["dpo/margin"] = estimate(1.6 * rise + rng.normal(size=120))
                row["dpo/accuracy"] = estimate((rng.random(120) < 0.5 + 0.38 * rise).astype(float))
                row["dpo/chosen_logratio"] = estimate(2.0 * rise + 2 * rng.normal(size=120))
                row["dpo/rejected_logratio"] = estimate(-14 * rise + 4 * rng.normal(size=120))
            metrics.append(row)
        if step == 0:
            continue
        lr = (5e-4 if kind == "sft" else 5e-5) * min(1.0, step / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * t))
        loss = (2.1 - 1.2 * rise if kind == "sft" else 0.693 - 0.45 * rise) + 0.06 * rng.normal()
        row = {"step": step, "split": "train", "loss": loss, "grad_norm": 0.8 + 0.3 * rng.random(), "lr": lr}
        row |= {"tokens": 2048.0, "skipped": 0.0}
        if kind == "sft":
            row["nll/loss"] = row["nll/nll"] = loss
        else:
            row |= {
                "dpo/loss": loss - 0.1,
                "dpo/margin": 1.7 * rise + 0.3 * rng.normal(),
                "dpo/accuracy": min(1.0, max(0.0, 0.5 + 0.4 * rise + 0.09 * rng.normal())),
                "dpo/chosen_logratio": 2.2 * rise + 0.5 * rng.normal(),
                "dpo/rejected_logratio": -15 * rise + rng.normal(),
                "kl": 0.06 * rise + 0.004 * rng.random(),
            }
        metrics.append(row)
        perf.append(
            {
                "step": step,
                "tokens_per_second": 9000 + 700 * rng.normal(),
                "seconds": 0.2,
                "peak_memory_mb": 612.0 + step / 50,
            }
        )
    return metrics, perf


def results_and_samples(rng: np.random.Generator, each: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """results.json and the rows of samples.jsonl of an evaluation."""
    names = ("base", "sft", "dpo")
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for task, shares in TASKS.items():
        luck = rng.random(each)
        for name, share in zip(names, shares, strict=True):
            noise = 0.6 * luck + 0.4 * rng.random(each)
            scores[name][task] = np.where(noise < share, 1.0, np.where(noise < share + 0.15, 0.4, 0.0))
    models: dict[str, dict[str, Any]] = {}
    totals = {name: np.concatenate(list(table.values())) for name, table in scores.items()}
    for name in names:
        models[name] = {"gold/total": asdict(mean_interval(totals[name]))}
        for family, tasks in FAMILIES.items():
            models[name][f"gold/{family}"] = asdict(mean_interval(np.concatenate([scores[name][t] for t in tasks])))
        models[name] |= {f"gold/{task}": asdict(mean_interval(values)) for task, values in scores[name].items()}
        models[name]["world/length"] = asdict(mean_interval(rng.normal(16, 4, size=200)))
        share = {"base": 0.52, "sft": 0.61, "dpo": 0.87}[name]
        models[name]["preferences/accuracy"] = asdict(proportion_interval(rng.random(300) < share))
    paired = []
    for a, b in (("base", "sft"), ("sft", "dpo"), ("base", "dpo")):
        rows = {"gold/total": paired_difference(totals[a], totals[b])}
        rows |= {f"gold/{task}": paired_difference(scores[a][task], scores[b][task]) for task in TASKS}
        paired += [{"a": a, "b": b, "metric": metric, **asdict(found)} for metric, found in rows.items()]
    return {"models": models, "paired": paired}, [
        sample_row(task, lang, i, rng) for i in range(8) for task, lang in PROMPTS
    ]


def sample_row(task: str, lang: str, number: int, rng: np.random.Generator) -> dict[str, Any]:
    """One row of samples.jsonl."""
    prompt, answer = PROMPTS[task, lang]
    thought, label = {"tr": ("Önce soruyu okurum.", "Cevap:"), "en": ("I read the question first.", "Answer:")}[lang]
    responses = {}
    for name, share in zip(("base", "sft", "dpo"), TASKS[task], strict=True):
        good = bool(rng.random() < share)
        text = f"<think>{thought}</think>\n{label} {answer}" if good else f"{label} 12"
        reason = "" if good else "wrong answer"
        responses[name] = {"text": text, "score": 1.0 if good else 0.0, "reason": reason, "truncated": False}
    gold = {"answer": answer}
    return {"prompt": f"{prompt} ({number + 1})", "task": task, "lang": lang, "gold": gold, "responses": responses}


ENVIRONMENT = {
    "hizala": "0.1.0",
    "python": "3.11.7",
    "system": "Linux x86_64",
    "cpu": "Some CPU @ 2.50GHz",
    "cores": 2,
    "threads": 2,
    "gpu": None,
    "packages": {"torch": "2.13.0", "transformers": "5.19.0", "numpy": "2.4.6"},
}
LENGTHS = {
    "chosen": {"unit": "tokens", "n": 1996, "mean": 15.2, "p5": 5, "median": 12, "p95": 36, "largest": 37},
    "rejected": {"unit": "tokens", "n": 1996, "mean": 14.1, "p5": 4, "median": 11, "p95": 35, "largest": 37},
}
HISTOGRAM = [[0, 0], [8, 211], [16, 804], [32, 919], [64, 62]]
FINDINGS = {
    "ref": "world:preferences",
    "format": "groups",
    "shape": "pair",
    "digest": "ab" * 32,
    "counts": {"rows": 2000, "groups": 1996, "responses": 3992, "dropped": 4},
    "duplicates": {"exact": 0, "exact_examples": [], "near": 12, "near_sampled": 1996, "near_threshold": 0.8},
    "languages": {"tr": 0.49, "en": 0.46, "unknown": 0.05},
    "labels": {},
    "lengths": {side: {**row, "histogram": HISTOGRAM} for side, row in LENGTHS.items()},
    "length_bias": {
        "unit": "tokens",
        "longer": {"value": 0.57, "low": 0.54, "high": 0.6, "n": 1700},
        "difference": {"value": 1.1, "low": 0.7, "high": 1.5, "n": 1996},
        "ties": 296,
    },
    "truncation": {"max_length": 1024, "groups": 1996, "responses": 3992, "truncated": 0, "dropped": 0, "refused": 0},
    "findings": [
        {
            "kind": "near-duplicates",
            "severity": "info",
            "message": "12 of 1996 sampled groups are nearly an earlier one",
            "where": "world:preferences:1170~80",
            "count": 12,
        },
        {
            "kind": "tied",
            "severity": "warning",
            "message": "4 rows dropped: all their responses are tied",
            "where": "world:preferences:41, world:preferences:388",
            "count": 4,
        },
    ],
    "broken": [],
    "exit_code": 0,
}


def write_run(root: Path, *, steps: int = 160, each: int = 60, seed: int = 0) -> Path:
    """A finished run of three stages with its ledger."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    (root / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (root / "resolved.yaml").write_text(RESOLVED, encoding="utf-8")
    write_json(root / "environment.json", ENVIRONMENT)
    files = [root / name for name in ("recipe.yaml", "resolved.yaml", "environment.json")]
    with Ledger(root) as ledger:
        ledger.append("run.start", {"name": "quickstart"}, files)
        for number, kind in enumerate(("sft", "dpo", "evaluate"), start=1):
            place = root / "stages" / f"{number:02d}-{kind}"
            place.mkdir(parents=True)
            ledger.append("stage.start", {"stage": kind})
            _write_stage(place, kind, steps, each, rng)
            ledger.append("stage.done", {"stage": kind}, [place])
        ledger.append("run.done", {"seconds": 301.5})
    return root


def _write_stage(place: Path, kind: str, steps: int, each: int, rng: np.random.Generator) -> None:
    outputs: dict[str, Any] = {}
    if kind == "evaluate":
        results, samples = results_and_samples(rng, each)
        write_json(place / "config.json", {"suites": ["world"], "prompts": 10 * each, "samples": 1, "temperature": 1.0})
        write_json(place / "results.json", results)
        write_lines(place / "samples.jsonl", samples)
        write_json(place / "findings.json", [])
        seconds = 41.2
    else:
        metrics, perf = train_rows(kind, steps, rng)
        settings = {
            "data": "world:chat" if kind == "sft" else "world:preferences",
            "learning_rate": 5e-4 if kind == "sft" else 5e-5,
            "batch_size": 32,
            "lora": None,
            "adam_betas": [0.9, 0.999],
        }
        write_json(place / "config.json", settings | ({"beta": 0.1} if kind == "dpo" else {}))
        write_lines(place / "metrics.jsonl", metrics)
        write_lines(place / "perf.jsonl", perf)
        findings = {"ref": "world:chat", "format": "groups", "counts": {"rows": 3000, "groups": 3000}, "findings": []}
        write_json(place / "findings.json", FINDINGS if kind == "dpo" else findings)
        outputs = {
            "model": {"name": kind, "digest": "0" * 64, "parent": {"sft": "base", "dpo": "sft"}[kind], "beta": None}
        }
        seconds = {"sft": 118.4, "dpo": 141.9}[kind]
    write_json(place / "done.json", {"key": "k", "outputs": outputs, "seconds": seconds})
    write_json(place / "state.json", {"key": "k", "status": "done", "kind": kind, "seconds": seconds})
