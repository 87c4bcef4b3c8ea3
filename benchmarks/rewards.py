"""Responses scored per second by each rule, on answers of the embedded world and on real solutions where they are.

Standard library and Hizala. The last line is one JSON object: {"rules": {name: per second}, …}. Nothing is cached:
every response is another one.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path
from random import Random
from typing import Any

from hizala import world
from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import build
from hizala.records import Group, Message, Response

RULES: dict[str, dict[str, Any]] = {
    "gold": {},
    "math": {},
    "format": {"style": "answer"},
    "language": {},
    "overlong": {"limit": 90, "buffer": 20, "unit": "words"},
    "cosine": {"limit": 96, "unit": "words"},
    "repetition": {},
    "regex": {"pattern": "(?s)^.*[0-9].*$"},
    "json_schema": {"shape": {"type": "object"}},
}
GROUP = 8


def worlds(number: int) -> list[Group]:
    """Arithmetic of the world with eight responses each, no two alike."""
    rng, found = Random(1), []
    for place, group in enumerate(world.prompts(number // GROUP, seed=1, tasks=["arithmetic"])):
        texts = [world.respond(group, rng.choice(("good", "half", "bad")), rng, True) for _ in range(GROUP)]
        said = tuple(Response((Message("assistant", f"{t}{' ' * i}"),)) for i, t in enumerate(texts))
        found.append(Group(group.prompt, said, f"{place}", group.meta))
    return found


def solutions(folder: Path) -> list[Group]:
    """Published solutions to GSM8K problems, four a problem."""
    with gzip.open(folder / "gsm8k" / "graded_model_solutions.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file.read().split("\n") if line]
    found = []
    for row in rows:
        said = [Response((Message("assistant", v["solution"]),)) for v in row.values() if isinstance(v, dict)]
        answer = row["ground_truth"].rpartition("A:")[2].strip()
        meta = {"answer": answer, "lang": "en"}
        found.append(Group((Message("user", row["question"]),), tuple(said), str(row["i"]), meta))
    return found


def per_second(spec: dict[str, Any], groups: list[Group], workers: int, rounds: int) -> float:
    """Responses scored in a second, the median of several rounds after a first one."""
    composed = build(spec, RewardContext(workers=workers, cache=0))
    count = sum(len(group.responses) for group in groups)
    rates = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        composed.score(groups)
        rates.append(count / (time.perf_counter() - start))
    composed.close()
    return statistics.median(rates[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    given = parser.parse_args()
    groups = worlds(given.responses)
    told: dict[str, Any] = {"workers": given.workers, "rules": {}}
    for name, settings in RULES.items():
        told["rules"][name] = round(per_second({name: settings}, groups, given.workers, given.rounds))
        print(f"{name:12} {told['rules'][name]:>8} a second", flush=True)
    several = {"math": 1.0, "format": {"weight": 0.2, "style": "answer"}, "language": 0.1, "repetition": 0.1}
    told["math_format_language_repetition"] = round(per_second(several, groups, given.workers, given.rounds))
    roots = {"math": 1.0}
    hard = [
        Group(
            (Message("user", "?"),),
            tuple(Response((Message("assistant", f"\\boxed{{{k}\\sqrt{{{n}}}}}"),)) for k in range(1, 9)),
            str(n),
            {"answer": f"{n}\\sqrt{{2}}", "lang": "en"},
        )
        for n in range(2, 34)
    ]
    told["math_expressions"] = round(per_second(roots, hard, given.workers, given.rounds))
    if (given.data / "gsm8k").is_dir():
        told["math_gsm8k"] = round(per_second(roots, solutions(given.data), given.workers, given.rounds))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
