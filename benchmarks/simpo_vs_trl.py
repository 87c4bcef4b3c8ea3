"""SimPO: pairs per second and peak memory, against TRL's `CPOTrainer` at its best settings.

python benchmarks/simpo_vs_trl.py --models 4m,27m --rounds 3
python benchmarks/simpo_vs_trl.py --smoke
"""

from __future__ import annotations

from bench_methods import Contest, run
from bench_race import Method

CONTEST = Contest(
    Method("simpo", {"beta": 2.0, "gamma": 1.0}),
    floor=4.5,
    compare={"loss": 8, "chosen": 1, "rejected": 1},
)


if __name__ == "__main__":
    raise SystemExit(run(CONTEST))
