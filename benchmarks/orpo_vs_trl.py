"""ORPO: pairs per second and peak memory, against TRL's `ORPOTrainer` at its best settings.

python benchmarks/orpo_vs_trl.py --models 4m,27m --rounds 3
python benchmarks/orpo_vs_trl.py --smoke
"""

from __future__ import annotations

from bench_methods import Contest, run
from bench_race import Method

CONTEST = Contest(
    Method("orpo", weights={"orpo": 0.1}),
    floor=4.5,
    compare={"term": 1, "chosen": 1, "rejected": 1},
    differs="its likelihood term runs over the prompt too and is averaged within each micro-batch; the odds-ratio term "
    "and the log-probs are the same, and are compared before the first update",
)


if __name__ == "__main__":
    raise SystemExit(run(CONTEST))
