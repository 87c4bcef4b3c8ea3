"""KTO: pairs per second and peak memory, against TRL's `KTOTrainer` at its best settings; a pair is two thumbs.

python benchmarks/kto_vs_trl.py --models 4m,27m --rounds 3
python benchmarks/kto_vs_trl.py --smoke
"""

from __future__ import annotations

from bench_methods import Contest, run
from bench_race import Method

CONTEST = Contest(
    Method("kto", {"beta": 0.1}, reference=True),
    floor=3.5,
    compare={"loss": 8, "point": 8},
    whole_batch=True,
    differs="it estimates the reference point from each micro-batch by itself, ours from the whole batch: compared on "
    "one micro-batch of the whole batch, on the same mismatched responses",
)


if __name__ == "__main__":
    raise SystemExit(run(CONTEST))
