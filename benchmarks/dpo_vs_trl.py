"""DPO pairs per second and peak memory, against TRL's `DPOTrainer` at its best settings.

Both sides train the same randomly initialised Qwen3 (4 M and 27 M weights, 4,096 tokens of vocabulary) on the same
HH pairs in the same order, with the same optimiser step of `--batch` pairs. TRL chooses its micro-batch (with
gradient accumulation up to the batch), checkpointing and stored reference log-probs for speed; ours shares prompts.
Each variant is a process with one thread; variants take turns; rounds during which others used the machine are
repeated. The losses of the two sides are compared step by step. The last line of the output is one JSON object.

    python benchmarks/dpo_vs_trl.py --models 4m,27m --rounds 3
    python benchmarks/dpo_vs_trl.py --smoke
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_common import median_rate, say, table
from bench_race import (
    OURS,
    OURS_STORED,
    TRL_DEFAULT_MICRO,
    Bench,
    Method,
    Variant,
    pair_options,
    rounded,
    trl,
)

TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2}
TARGETS = {"4m": 6.0, "27m": 4.5}
DPO = Method("dpo", {"beta": 0.1}, reference=True)
OURS_FP32 = Variant("Hizala fp32", "hizala", "float32")
FLAT_FP32 = Variant("Hizala fp32, prompt not shared", "hizala", "float32", sharing=False)
UNCOMPILED = Variant("Hizala bf16, no compiled passes", "hizala", kernels=False)
BESIDE = Variant("Hizala bf16 beside fp32", "hizala")
PADDED_FP32 = Variant("Hizala fp32, not shared, padded", "hizala", "float32", sharing=False, pad_to_block=8)


def measure(bench: Bench) -> dict[str, Any]:
    """Everything about one model size."""
    options, size = bench.options, bench.size
    say(f"\n== {size}: {bench.weights:,} weights, {options.pairs[size]} pairs a round, {options.batch} pairs a step")
    say(
        "tokens a pair: "
        + ", ".join(f"{k} {v:.0f}" for k, v in bench.tokens["sample"].items())
        + " (all pairs: "
        + ", ".join(f"{k} {v:.0f}" for k, v in bench.tokens["all"].items())
        + ")"
    )
    say("TRL's settings, one round each:")
    micros = [m for m in options.micros if m <= options.batch]
    default = trl(min(TRL_DEFAULT_MICRO, options.batch), checkpointing=True)
    scan = [trl(m) for m in micros]
    best = bench.fastest(scan)
    if not options.smoke:
        best = bench.fastest([best, trl(best.micro, checkpointing=True)])
    nearby = [m for m in micros if m != best.micro and max(m, best.micro) <= 2]
    stored = bench.fastest([trl(m, precompute=True) for m in [best.micro, *nearby]])
    finals = list(dict.fromkeys([best, stored, default, OURS, OURS_STORED]))
    say("the fastest, its default, and ours, taking turns:")
    bench.race(finals, options.rounds)
    for variant in finals:
        bench.stop(variant)
    wide = measure_float32(bench, best.micro)
    return report(bench, best, stored, default, scan, wide)


def measure_float32(bench: Bench, micro: int) -> dict[str, Variant]:
    """The float32 runs: memory and losses for every size, the shares of the gain where they are asked for."""
    default = trl(min(TRL_DEFAULT_MICRO, bench.options.batch), dtype="float32")
    chain = {"trl": default, "ours": OURS_FP32}
    if bench.size in bench.options.shares:
        chain = {"trl": default, "trl_best": trl(micro, dtype="float32"), "padded": PADDED_FP32, "flat": FLAT_FP32}
        chain |= {"ours": OURS_FP32, "uncompiled": UNCOMPILED, "ours_bf16": BESIDE}
        chain = {k: v for k, v in chain.items() if k != "trl_best" or v != default}
    say("float32" + (" and the shares of the gain, taking turns:" if len(chain) > 2 else ", one round each:"))
    bench.race(list(chain.values()), max(1, bench.options.rounds - 1) if len(chain) > 2 else 1)
    for variant in chain.values():
        bench.stop(variant)
    return chain


def shares_of(bench: Bench, wide: dict[str, Variant]) -> dict[str, float]:
    """How much each idea multiplies the rate, from TRL float32 at its default batch to ours in bf16."""
    if "padded" not in wide:
        return {}
    rate = {name: bench.rate(variant) for name, variant in wide.items()}
    return {
        "lean_loop": rate["padded"] / rate["trl"],
        "no_padding": rate["flat"] / rate["padded"],
        "shared_prompt": rate["ours"] / rate["flat"],
        "number_format": rate["uncompiled"] / rate["ours"],
        "compiled_passes": rate["ours_bf16"] / rate["uncompiled"],
        "all": rate["ours_bf16"] / rate["trl"],
        "float32_to_trl_best_micro": rate["ours"] / max(rate["trl"], rate.get("trl_best", 0.0)),
    }


def memory_of(bench: Bench, default: Variant, wide: dict[str, Variant]) -> dict[str, float]:
    """Peak resident memory in MiB of fresh processes, whole and above what the imports need."""
    figures: dict[str, float] = {}
    variants = {
        "ours": OURS_STORED,
        "ours_reference_model_in_memory": OURS,
        "trl_default": default,
        "trl_float32": wide["trl"],
    }
    for name, variant in variants.items():
        done = bench.done[variant.name]
        figures[name] = done["peak"]
        figures[name + "_above_imports"] = done["peak"] - done["base"]
    for name in ("trl_default", "trl_float32"):
        figures["ours_to_" + name] = figures["ours"] / figures[name]
        figures[f"ours_to_{name}_above_imports"] = figures["ours_above_imports"] / figures[name + "_above_imports"]
    return figures


def report(
    bench: Bench, best: Variant, stored: Variant, default: Variant, scan: Sequence[Variant], wide: dict[str, Variant]
) -> dict[str, Any]:
    """The size's table and figures. `ratio` is the smaller of the two like-for-like comparisons."""
    in_step, kept = bench.rate(OURS) / bench.rate(best), bench.rate(OURS_STORED) / bench.rate(stored)
    differences = {
        "bfloat16": bench.difference(OURS, best, "loss"),
        "float32": bench.difference(OURS_FP32, wide["trl"], "loss"),
        "bfloat16_trl_micro_batches": bench.difference(best, default, "loss"),
        "bfloat16_stored_reference": bench.difference(OURS_STORED, stored, "loss"),
    }
    say("\n" + table(bench.rows()))
    peers = [v for v in scan if v.micro >= TRL_DEFAULT_MICRO] + [default]
    return {
        "ratio": min(in_step, kept),
        "ratio_of_cpu_time": min(
            bench.rate(OURS, "cpu") / bench.rate(best, "cpu"),
            bench.rate(OURS_STORED, "cpu") / bench.rate(stored, "cpu"),
        ),
        "in_step": in_step,
        "stored_reference": kept,
        "in_step_to_trl_at_its_default_batch": bench.rate(OURS) / max(bench.rate(v) for v in peers),
        "trl_best": {"in_step": best.name, "stored": stored.name},
        "pairs_per_second": {name: median_rate(s) for name, s in bench.samples.items() if s},
        "losses": differences,
        "losses_equal": all(
            value <= TOLERANCE["float32" if key == "float32" else "bfloat16"] for key, value in differences.items()
        ),
        "rss": memory_of(bench, default, wide),
        "shares": shares_of(bench, wide),
        "samples": bench.counts(),
        "tokens_per_pair": bench.tokens,
        "kernels": bench.kernels,
    }


def gather(results: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The JSON object: figure -> size -> value."""
    names = {
        "ratios": "ratio",
        "ratios_of_cpu_time": "ratio_of_cpu_time",
        "ratios_in_step": "in_step",
        "ratios_stored_reference": "stored_reference",
        "ratios_to_trl_at_its_default_batch": "in_step_to_trl_at_its_default_batch",
        "trl_best": "trl_best",
        "rss": "rss",
        "shares": "shares",
        "loss_max_diff": "losses",
        "losses_equal": "losses_equal",
        "pairs_per_second": "pairs_per_second",
        "samples": "samples",
        "tokens_per_pair": "tokens_per_pair",
        "compiled_passes": "kernels",
    }
    figures: dict[str, Any] = {name: {size: r[key] for size, r in results.items()} for name, key in names.items()}
    return {**rounded(figures), "targets": TARGETS, "tolerance": TOLERANCE, "seconds": round(seconds)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 when the losses of both sides agree."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from bench_pairs import hh_pairs, make_tokenizer, synthetic_pairs, tokenise

    options, begun, results = pair_options(__doc__, arguments, micros="1,2,4,8", shares="4m"), time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = synthetic_pairs(48) if options.data == "synthetic" else hh_pairs(Path(options.data))
        tokenizer = make_tokenizer(texts, folder / "tokenizer", 512 if options.smoke else 4096)
        rows = list(tokenise(texts, tokenizer, options.max_length))
        for size in options.models:
            bench = Bench(size, options, folder, tokenizer, rows, DPO)
            try:
                results[size] = measure(bench)
            finally:
                bench.close()
    figures = gather(results, time.perf_counter() - begun)
    say("")
    for size, r in results.items():
        say(
            f"{size}: {r['ratio']:.2f} x TRL's best ({r['in_step']:.2f} reference in the step, "
            f"{r['stored_reference']:.2f} stored), {r['in_step_to_trl_at_its_default_batch']:.2f} x TRL at its default "
            f"batch; peak RSS {r['rss']['ours_to_trl_default']:.2f} of its default, "
            f"{r['rss']['ours_to_trl_float32']:.2f} of its float32; losses equal: {r['losses_equal']}"
        )
    say(json.dumps(figures))
    return 0 if all(r["losses_equal"] for r in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
