"""Reward models on pairs: pairs per second and peak memory, against TRL's `RewardTrainer` at its best settings.

python benchmarks/rm_vs_trl.py --models 4m,27m --rounds 3
python benchmarks/rm_vs_trl.py --smoke
"""

from __future__ import annotations

from bench_methods import Contest, run
from bench_race import Method

CONTEST = Contest(
    Method("reward", classifier=True),
    floor=3.5,
    compare={"loss": 8, "margin": 8},
)


if __name__ == "__main__":
    raise SystemExit(run(CONTEST))
