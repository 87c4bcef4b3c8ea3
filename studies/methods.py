"""What each method of `recipes/methods` adds to the gold score of an SFT model of the embedded world.

Every run starts from the SFT model of its seed, sees the same number of responses (8,000, 64 a step) at the same
rate, and is measured on the same test prompts against the model it started from.

    python studies/methods.py --seeds 5
    python studies/methods.py --only dpo ipo --seeds 2 --scale 0.1
"""

from __future__ import annotations

from typing import Any

import yaml
from study_common import (
    ROOT,
    Job,
    arguments,
    carry_out,
    differences,
    filled,
    finish,
    line,
    over_seeds,
    recipe,
    scaled,
    sft_models,
)

SKIPPED = ("reward", "reward_kwise", "reward_process", "reward_attributes", "reward_margin", "reward_grades")


def main() -> None:
    """Run what is missing, then print and keep the table."""
    options = arguments(__doc__ or "")
    methods: dict[str, Any] = {}
    for path in sorted((ROOT / "recipes" / "methods").glob("*.yaml")):
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
        if path.stem not in SKIPPED and (not options.only or path.stem in options.only):
            methods[path.stem] = next(stage for stage in stages if not {"sft", "evaluate"} & stage.keys())
    # The control: as many steps of plain SFT on the chosen sides, at the same rate.
    if not options.only or "control" in options.only:
        chosen = {"name": "control", "data": "world:preferences?n=4000", "side": "chosen"}
        methods["control"] = {"sft": {**chosen, "batch_size": 32, "learning_rate": 2.0e-4}}
    seeds = range(1, options.seeds + 1)
    starts = sft_models(options.out, seeds, options.jobs, options.scale)
    jobs = []
    for seed in seeds:
        for name, stage in methods.items():
            ((kind, settings),) = stage.items()
            told = {"dtype": "bfloat16", **scaled(filled(settings, seed), options.scale)}
            stages = [{kind: told}, {"evaluate": {"suites": ["world"], "prompts": 800}}]
            jobs.append(Job(f"method-{name}-{seed}", recipe(stages, starts[seed], seed)))
    done = carry_out(jobs, options.out, options.jobs)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for name, stage in methods.items():
        ((kind, told),) = stage.items()
        made = told.get("name", kind)
        paths = {seed: done.get(f"method-{name}-{seed}") for seed in seeds}
        runs = {seed: differences(path, "base", made) for seed, path in paths.items() if path is not None}
        if runs:
            found[name] = runs
    table = {name: {**over_seeds(runs), "over_control": over_control(runs, found)} for name, runs in found.items()}
    order = sorted(table, key=lambda name: -table[name]["value"])
    settings = {
        "seeds": options.seeds,
        "scale": options.scale,
        "prompts": 800,
        "start": f"SFT on {round(4000 * options.scale):,} demonstrations",
    }
    finish("methods", {name: table[name] for name in order}, settings, lambda: print(*rows(order, table), sep="\n"))


def over_control(
    runs: dict[int, dict[str, float]], found: dict[str, dict[int, dict[str, float]]]
) -> dict[str, Any] | None:
    """What a method gains beyond SFT on the chosen sides, of the same seeds and prompts."""
    control = found.get("control")
    if control is None or runs is control:
        return None
    both = runs.keys() & control.keys()
    return over_seeds({s: {k: runs[s][k] - control[s][k] for k in runs[s].keys() & control[s].keys()} for s in both})


def rows(order: list[str], table: dict[str, Any]) -> list[str]:
    """The table for people, best first."""
    return [line(name, table[name]) for name in order]


if __name__ == "__main__":
    main()
