"""The race of one preference method against TRL's trainer for it. `rm_vs_trl.py` and its siblings are its settings.

Both sides train the same randomly initialised Qwen3 (4 M and 27 M weights, 4,096 tokens of vocabulary) on the same HH
pairs in the same order, with the same optimiser step of `--batch` pairs, in bfloat16 over float32 weights. TRL has
its best micro-batch (tried: `--micros`, with accumulation up to the batch), no checkpointing and, where there is a
reference, stored log-probs on both sides too. Each variant is a process with one thread; variants take turns; rounds
during which others used the machine are repeated. The last line of the output is one JSON object.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_common import median_rate, say, table
from bench_race import (
    OURS,
    OURS_STORED,
    TRL_DEFAULT_MICRO,
    Bench,
    Method,
    Options,
    Variant,
    pair_options,
    rounded,
    trl,
)

TOLERANCE = 1e-2


@dataclass(frozen=True)
class Contest:
    """A method, what both sides must agree on, and how much faster ours is to be.

    Attributes:
        method: what is trained.
        floor: the least ratio to TRL's best.
        compare: recorded figure -> over how many first steps both sides must agree on it.
        whole_batch: compare with TRL on one micro-batch, where its loss depends on how the batch is cut.
        differs: where TRL computes something else, in words.
    """

    method: Method
    floor: float
    compare: dict[str, int]
    whole_batch: bool = False
    differs: str = ""


def measure(bench: Bench, contest: Contest) -> dict[str, Any]:
    """Everything about one model size."""
    options, size = bench.options, bench.size
    say(f"\n== {contest.method.name}, {size}: {bench.weights:,} weights, {options.pairs[size]} pairs a round")
    say("TRL's micro-batches, one round each:")
    best = bench.fastest([trl(m) for m in options.micros if m <= options.batch])
    finals = [best, OURS]
    if contest.method.reference:
        stored = trl(best.micro, precompute=True)
        finals += [stored, OURS_STORED]
    say("the fastest and ours, taking turns:")
    bench.race(finals, options.rounds)
    for variant in finals:
        bench.stop(variant)
    default = trl(min(TRL_DEFAULT_MICRO, options.batch), checkpointing=True)
    peers = [default, *([whole_batch(options)] if contest.whole_batch else [])]
    say("TRL at its default" + (" and on the whole batch" if len(peers) > 1 else "") + ", one round:")
    for variant in peers:
        if variant.name not in bench.done:
            bench.race([variant], 1)
            bench.stop(variant)
    return report(bench, contest, best, default)


def whole_batch(options: Options) -> Variant:
    """TRL on one micro-batch of the whole batch: compared, not raced, so it may save memory by checkpointing."""
    return trl(options.batch, checkpointing=True)


def report(bench: Bench, contest: Contest, best: Variant, default: Variant) -> dict[str, Any]:
    """The size's table and figures. `ratio` is the smaller one where there are two like-for-like comparisons."""
    opponents = {"in_step": (OURS, best)}
    if contest.method.reference:
        opponents["stored_reference"] = (OURS_STORED, trl(best.micro, precompute=True))
    wall = {name: bench.rate(a) / bench.rate(b) for name, (a, b) in opponents.items()}
    cpu = {name: bench.rate(a, "cpu") / bench.rate(b, "cpu") for name, (a, b) in opponents.items()}
    equal_to = whole_batch(bench.options) if contest.whole_batch else best
    differences = {key: bench.difference(OURS, equal_to, key, steps) for key, steps in contest.compare.items()}
    say("\n" + table(bench.rows()))
    peak = {"ours": OURS, "trl_best": best, "trl_default": default}
    memory = {name: bench.done[variant.name]["peak"] for name, variant in peak.items()}
    above = {name: memory[name] - bench.done[variant.name]["base"] for name, variant in peak.items()}
    return {
        "ratio": min(wall.values()),
        "ratio_of_cpu_time": min(cpu.values()),
        "by_reference": wall,
        "to_trl_at_its_default": bench.rate(OURS) / bench.rate(default),
        "trl_best": best.name,
        "differences": differences,
        "equal": all(value <= TOLERANCE for value in differences.values()),
        "rss": {
            **memory,
            **{f"{name}_above_imports": value for name, value in above.items()},
            **{f"ours_to_{name}": memory["ours"] / memory[name] for name in ("trl_best", "trl_default")},
        },
        "pairs_per_second": {name: median_rate(samples) for name, samples in bench.samples.items() if samples},
        "samples": bench.counts(),
        "tokens_per_pair": bench.tokens["sample"],
        "kernels": bench.kernels,
    }


def gather(contest: Contest, results: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The JSON object: figure -> size -> value."""
    names = {
        "ratios": "ratio",
        "ratios_of_cpu_time": "ratio_of_cpu_time",
        "ratios_by_reference": "by_reference",
        "ratios_to_trl_at_its_default": "to_trl_at_its_default",
        "trl_best": "trl_best",
        "max_diff": "differences",
        "equal": "equal",
        "rss": "rss",
        "pairs_per_second": "pairs_per_second",
        "samples": "samples",
        "tokens_per_pair": "tokens_per_pair",
        "compiled_passes": "kernels",
    }
    figures: dict[str, Any] = {name: {size: r[key] for size, r in results.items()} for name, key in names.items()}
    return {
        "method": contest.method.name,
        **rounded(figures),
        "floor": contest.floor,
        "met": {size: r["ratio"] >= contest.floor for size, r in results.items()},
        "compared_steps": contest.compare,
        "tolerance": TOLERANCE,
        "differs": contest.differs,
        "seconds": round(seconds),
    }


def run(contest: Contest, arguments: Sequence[str] | None = None) -> int:
    """Run a contest; 0 when both sides agree on what they compute."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from bench_pairs import hh_pairs, make_tokenizer, synthetic_pairs, tokenise, whole

    options, begun, results = pair_options(__doc__, arguments), time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = synthetic_pairs(48) if options.data == "synthetic" else hh_pairs(Path(options.data))
        tokenizer = make_tokenizer(texts, folder / "tokenizer", 512 if options.smoke else 4096)
        rows = whole(list(tokenise(texts, tokenizer, options.max_length)), tokenizer)
        for size in options.models:
            bench = Bench(size, options, folder, tokenizer, rows, contest.method)
            try:
                results[size] = measure(bench, contest)
            finally:
                bench.close()
    say("")
    for size, r in results.items():
        which = ", ".join(f"{name} {value:.2f}" for name, value in r["by_reference"].items())
        say(
            f"{contest.method.name} {size}: {r['ratio']:.2f} x TRL's best ({which}), floor {contest.floor}; peak RSS "
            f"{r['rss']['ours_to_trl_best']:.2f} of its best, {r['rss']['ours_to_trl_default']:.2f} of its default; "
            f"differences {r['differences']}, equal: {r['equal']}"
        )
    if contest.differs:
        say(f"TRL differs: {contest.differs}")
    say(json.dumps(gather(contest, results, time.perf_counter() - begun)))
    return 0 if all(r["equal"] for r in results.values()) else 1
