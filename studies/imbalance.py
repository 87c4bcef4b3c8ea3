"""Thumbs at 1 : 10: KTO with and without weights for the rarer kind, both ways round.

    python studies/imbalance.py --seeds 3

The paper asks for desirable_weight * n_up / (undesirable_weight * n_down) between 1 and 3/2 (sec. 4.3, eq. 9).
"""

from __future__ import annotations

from study_common import Job, arguments, carry_out, differences, finish, line, over_seeds, recipe, scaled, sft_models

COMMON = {"batch_size": 64, "learning_rate": 2.0e-4, "dtype": "bfloat16"}
# share of thumbs up -> weights that even them out
SHARES = {
    "1 up : 10 down": (1 / 11, {"desirable_weight": 10.0}),
    "10 up : 1 down": (10 / 11, {"undesirable_weight": 10.0}),
}


def main() -> None:
    """Run what is missing, then print and keep the table."""
    options = arguments(__doc__ or "", seeds=3)
    seeds = range(1, options.seeds + 1)
    starts = sft_models(options.out, seeds, options.jobs, options.scale)
    jobs = []
    for seed in seeds:
        for index, (share, weights) in enumerate(SHARES.values()):
            for name, extra in (("plain", {}), ("weighted", weights)):
                data = f"world:thumbs?n=8000&seed={seed}&up={share:.4f}"
                settings = scaled({"data": data, **COMMON, **extra}, options.scale)
                stages = [{"kto": settings}, {"evaluate": {"suites": ["world"], "prompts": 800}}]
                jobs.append(Job(f"imbalance-{index}-{name}-{seed}", recipe(stages, starts[seed], seed)))
    done = carry_out(jobs, options.out, options.jobs)
    table = {}
    for index, label in enumerate(SHARES):
        runs = {
            name: {s: differences(done[f"imbalance-{index}-{name}-{s}"], "base", "kto") for s in seeds}
            for name in ("plain", "weighted")
        }
        table |= {f"{label}, {name}": over_seeds(found) for name, found in runs.items()}
        gap = {s: {k: runs["weighted"][s][k] - v for k, v in runs["plain"][s].items()} for s in seeds}
        table[f"{label}, weighted minus plain"] = over_seeds(gap)
    settings = {"seeds": options.seeds, "scale": options.scale, "thumbs": 8000}
    finish("imbalance", table, settings, lambda: print(*(line(name, gain) for name, gain in table.items()), sep="\n"))


if __name__ == "__main__":
    main()
