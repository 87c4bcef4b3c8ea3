"""A made-up run of online RL: its files as the pipeline writes them, with figures that follow from the step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hizala.ledger import Ledger

STAGE = "stages/01-grpo"
RESOLVED = """name: counting
model: embedded
seed: 7
stages:
- grpo: {data: 'world:prompts', rewards: {math: 1.0, format: {weight: 0.2}}, prompts: 4, group_size: 4}
"""


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line, as written by a strict writer."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def reward(step: int, steps: int, group: int, response: int) -> tuple[float, float]:
    """(math, format) of a response: more are right as steps pass, the last response never is."""
    right = response < 3 and (group + response) % 4 < 1 + 3 * step // steps
    return float(right), float(step > steps // 3)


def sample_rows(step: int, steps: int, groups: int = 4) -> list[dict[str, Any]]:
    """The rows of samples.jsonl of one step; in every third step one response is not scored."""
    rows = []
    for group in range(groups):
        answers = []
        for response in range(4):
            right, form = reward(step, steps, group, response)
            lost = step % 3 == 0 and group == 0 and response == 3
            answers.append(
                {
                    "text": f"<think>{step}+{group}</think>\nAnswer: {step + group if right else -1}",
                    "score": None if lost else right + 0.2 * form,
                    "parts": {"format": form} if lost else {"math": right, "format": form},
                    "reason": "math: time limit" if lost else "",
                    "tokens": 10 + step + response,
                    "truncated": response == 2 and group == 1,
                }
            )
        lang, task = ("tr", "add") if group % 2 else ("en", "mul")
        row = {"id": f"p{group}@{step}", "step": step, "version": step - 1, "prompt": f"What is {step} and {group}?"}
        rows.append({**row, "task": task, "lang": lang, "responses": answers})
    return rows


def metric_rows(step: int, steps: int, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of metrics.jsonl of one step."""
    answers = [a for row in samples for a in row["responses"]]
    scores = [a["score"] for a in answers if a["score"] is not None]
    return {
        "step": step,
        "split": "train",
        "samples/unscored": 1 - len(scores) / len(answers),
        "samples/length": sum(a["tokens"] for a in answers) / len(answers),
        "samples/truncated": 1 / 16,
        "samples/entropy": 0.5 - 0.3 * step / steps,
        "samples/staleness": 0.0,
        "samples/reflection": 0.1,
        "groups/silent": 0.25,
        "groups/count": 4.0,
        "advantages/std": 1.0,
        "advantages/zero": 0.25,
        "reward/mean": sum(scores) / len(scores),
        "reward/std": 0.5,
        "reward/math": 0.2 + 0.5 * step / steps,
        "reward/format": float(step > steps // 3),
        "pass/1": 0.2 + 0.5 * step / steps,
        "pass/4": 0.9,
        "kl_reward/token": 0.01 * step,
        "kl_reward/response": 0.2 * step,
        "kl_reward/beta": 0.02 + 0.001 * step,
        "clip/loss": 0.0,
        "clip/ratio": 1.0,
        "clip/approx_kl": 0.001 * step,
        "clip/low": 0.01,
        "clip/high": 0.02,
        "clip/dual": 0.0,
        "loss": 0.01 * (step % 2),
        "mismatch/mean": 0.002,
        "mismatch/max": 0.1,
        "mismatch/kl": 1e-5,
        "mismatch/ess": 0.999,
        "correction/weight": 0.99,
        "correction/masked": 0.01,
        "grad_norm": 0.5,
        "lr": 1e-5,
        "tokens": 400.0,
        "skipped": 0.0,
    }


def write_online_run(root: Path, *, steps: int = 30, status: str = "done") -> Path:
    """A run with one stage of online RL. A stage that is not done has no findings, and its last rows are torn."""
    place = root / STAGE
    place.mkdir(parents=True)
    (root / "recipe.yaml").write_text(RESOLVED, encoding="utf-8")
    (root / "resolved.yaml").write_text(RESOLVED, encoding="utf-8")
    sampled = {step: sample_rows(step, steps) for step in range(1, steps + 1)}
    metrics: list[dict[str, Any]] = []
    perf: list[dict[str, Any]] = []
    for step in range(steps + 1):
        if step:
            metrics.append(metric_rows(step, steps, sampled[step]))
            parts = {"sampling": 0.5, "scoring": 0.1, "waiting": 0.6, "measuring": 0.1, "training": 0.3}
            row = {f"seconds/{name}": value for name, value in parts.items()}
            perf.append({"step": step, "seconds": 1.0, **row, "sampled_tokens_per_second": 800.0} |
                        {"tokens_per_second": 500.0})  # fmt: skip
        if step % max(1, steps // 3) == 0:
            value = 0.3 + 0.5 * step / steps
            held = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 64}
            metrics.append({"step": step, "split": "eval", "reward/mean": held, "reward/math": held})
    write_lines(place / "metrics.jsonl", metrics)
    write_lines(place / "perf.jsonl", perf)
    write_lines(place / "samples.jsonl", [row for rows in sampled.values() for row in rows])
    (place / "state.json").write_text(json.dumps({"status": status, "kind": "grpo", "seconds": float(steps)}))
    if status == "done":
        told = {"calls": 480, "scored": 470, "unscored": {"time limit": 10}, "left_out": 3, "cached": 120, "seconds": 2}
        findings = {"findings": [], "rewards": {"math": told, "format": {"calls": 480, "scored": 480}}}
        (place / "findings.json").write_text(json.dumps(findings))
        (place / "done.json").write_text(json.dumps({"outputs": {}, "seconds": float(steps)}))
    else:
        for name in ("metrics.jsonl", "perf.jsonl", "samples.jsonl"):
            with (place / name).open("a", encoding="utf-8") as file:
                file.write('{"step": 31, "split": "tr')
    with Ledger(root) as ledger:
        ledger.append("run.start", {"name": "counting"}, [root / "recipe.yaml"])
    return root
