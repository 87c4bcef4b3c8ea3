"""Published benchmarks from stored annotations: figures with intervals, no model and no judge needed.

`score("alpaca_eval", "annotations.jsonl")` in Python is `hizala eval score alpaca_eval --annotations
annotations.jsonl` on the command line. A suite is one module with one decorated function.
"""

from hizala.readers.score import (
    agreement,
    alpaca_eval,
    arena,
    arena_hard,
    gsm8k,
    judgebench,
    kwise,
    mt_bench,
    process,
    reward_bench,
    reward_bench_2,
    rm_bench,
)
from hizala.readers.score.suite import Scored, Scores, score, suite, suites

__all__ = [
    "Scored",
    "Scores",
    "agreement",
    "alpaca_eval",
    "arena",
    "arena_hard",
    "gsm8k",
    "judgebench",
    "kwise",
    "mt_bench",
    "process",
    "reward_bench",
    "reward_bench_2",
    "rm_bench",
    "score",
    "suite",
    "suites",
]
