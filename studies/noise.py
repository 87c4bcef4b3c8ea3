"""Turned labels: what DPO, cDPO, robust DPO and IPO keep of their gain when 0 to 30 % of the pairs are the wrong way.

python studies/noise.py --seeds 3
"""

from __future__ import annotations

from study_common import Job, arguments, carry_out, differences, finish, line, over_seeds, recipe, scaled, sft_models

NOISE = (0.0, 0.1, 0.2, 0.3)
COMMON = {"batch_size": 32, "learning_rate": 2.0e-4, "dtype": "bfloat16"}


def stages_at(noise: float) -> dict[str, tuple[str, dict[str, float]]]:
    """Method -> kind of stage and settings; the smoothing is told the true share."""
    told = {"label_smoothing": noise} if noise else {}
    stages: dict[str, tuple[str, dict[str, float]]] = {"dpo": ("dpo", {}), "ipo": ("ipo", {})}
    if noise:
        stages |= {"cdpo": ("cdpo", told), "robust_dpo": ("robust_dpo", told)}
    return stages


def main() -> None:
    """Run what is missing, then print and keep the table."""
    options = arguments(__doc__ or "", seeds=3)
    seeds = range(1, options.seeds + 1)
    starts = sft_models(options.out, seeds, options.jobs, options.scale)
    jobs = []
    for seed in seeds:
        for noise in NOISE:
            for name, (kind, extra) in stages_at(noise).items():
                data = f"world:preferences?n=4000&seed={seed}&noise={noise}"
                settings = scaled({"data": data, **COMMON, **extra}, options.scale)
                stages = [{kind: settings}, {"evaluate": {"suites": ["world"], "prompts": 800}}]
                jobs.append(Job(f"noise-{noise}-{name}-{seed}", recipe(stages, starts[seed], seed)))
    done = carry_out(jobs, options.out, options.jobs)
    table = {}
    for noise in NOISE:
        for name, (kind, _) in stages_at(noise).items():
            paths = {seed: done.get(f"noise-{noise}-{name}-{seed}") for seed in seeds}
            runs = {seed: differences(path, "base", kind) for seed, path in paths.items() if path is not None}
            if not runs:
                continue
            table[f"{name}@{noise}"] = over_seeds(runs)
            dpo = {seed: done.get(f"noise-{noise}-dpo-{seed}") for seed in runs}
            if name != "dpo" and all(dpo.values()):
                plain = {seed: differences(path, "base", "dpo") for seed, path in dpo.items() if path is not None}
                gap = {s: {k: runs[s][k] - plain[s][k] for k in runs[s].keys() & plain[s].keys()} for s in runs}
                table[f"{name}@{noise} minus dpo"] = over_seeds(gap)
    settings = {"seeds": options.seeds, "scale": options.scale, "smoothing": "the true share of turned labels"}
    finish("noise", table, settings, lambda: print(*(line(name, gain) for name, gain in table.items()), sep="\n"))


if __name__ == "__main__":
    main()
