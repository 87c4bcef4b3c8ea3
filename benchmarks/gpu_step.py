"""DPO and SFT steps on a GPU: ours against TRL, a randomly initialised 0.6 B Qwen 3 in bfloat16, HH-like lengths.

Both sides train the same weights on the same token ids, with the reference in the step (DPO) and AdamW. Model FLOP
utilisation counts 6 floating-point operations a parameter and token of the row in which every prompt stands once (8
where a reference forward is part of the step), against the speed of a large bfloat16 matrix product measured first.

    python benchmarks/gpu_step.py            # needs a CUDA GPU
    python benchmarks/gpu_step.py --smoke    # a tiny model on the CPU, to see that it runs; its figures mean nothing

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

QWEN3_600M = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 40_960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
TINY = {**QWEN3_600M, "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}  # fmt: skip
BETA = 0.1


def pairs(n: int, vocab: int, seed: int = 0) -> list[tuple[list[int], list[int], list[int]]]:
    """(prompt, chosen, rejected) of random tokens with the mean lengths of HH harmless: 152, 52 and 65."""
    rng = random.Random(seed)

    def tokens(mean: float) -> list[int]:
        n = max(4, min(400, round(rng.lognormvariate(0.0, 0.7) * mean / 1.278)))
        return [rng.randrange(1, vocab) for _ in range(n)]

    return [(tokens(152), tokens(52), tokens(65)) for _ in range(n)]


def matmul_peak(device: str, size: int) -> float:
    """FLOP/s of a square bfloat16 matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    wait(device)
    begun, rounds = time.perf_counter(), 10
    for _ in range(rounds):
        a @ b
    wait(device)
    return rounds * 2 * size**3 / (time.perf_counter() - begun)


def wait(device: str) -> None:
    """Let the device finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(step: Callable[[int], float], rounds: int, device: str) -> dict[str, Any]:
    """Median seconds of a step, the losses, and the highest memory, after two steps of warm-up."""
    losses, seconds = [], []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for i in range(rounds + 2):
        wait(device)
        begun = time.perf_counter()
        losses.append(step(i))
        wait(device)
        seconds.append(time.perf_counter() - begun)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    return {"seconds": sorted(seconds[2:])[rounds // 2], "losses": losses, "peak_mib": memory}


def ours(model: Path, algorithm: str, batches: list[Any], rounds: int, device: str, budget: int) -> dict[str, Any]:
    """Steps of our engine, metrics on."""
    from hizala.algorithms import algorithms
    from hizala.engines.policy import load
    from hizala.engines.train import Engine, Objective, Settings, measure
    from hizala.records import TokenBranch, TokenGroup

    def branch(ids: list[int]) -> TokenBranch:
        return TokenBranch(ids, [True] * len(ids))

    def groups(batch: list[Any]) -> list[TokenGroup]:
        sides = slice(0, 2) if algorithm == "dpo" else slice(0, 1)
        return [TokenGroup(p, tuple(map(branch, r[sides])), id=str(i)) for i, (p, *r) in enumerate(batch)]

    policy = load(model, dtype="bfloat16", device=device)
    reference = load(model, dtype="bfloat16", device=device) if algorithm == "dpo" else None
    settings = Settings(learning_rate=1e-6, total_steps=1000, token_budget=budget, weight_decay=0.0)
    engine = Engine(policy, settings)
    objective = Objective.of(algorithms.get(algorithm), {"beta": BETA} if algorithm == "dpo" else {})

    def step(i: int) -> float:
        batch = groups(batches[i % len(batches)])
        columns: dict[str, Any] = {}
        if reference is not None:
            measured = measure(reference, batch, budget)
            columns = {"reference": {g.id: a for g, a in zip(batch, measured, strict=True)}}
        return engine.step(batch, objective, columns).metrics["loss"]

    return timed(step, rounds, device)


def trl(model: Path, algorithm: str, batches: list[Any], rounds: int, device: str, micro: int) -> dict[str, Any]:
    """Steps of TRL's trainer on the same batches; `micro` rows a forward."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    size = len(batches[0])
    flat = [row for batch in batches for row in batch]
    if algorithm == "dpo":
        rows = [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in flat]
    else:
        rows = [{"input_ids": p + c, "labels": [-100] * len(p) + c} for p, c, _ in flat]
    marks: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            wait(device)
            marks.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            wait(device)
            marks.append(time.perf_counter())

        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if logs and "loss" in logs:
                losses.append(logs["loss"])

    with tempfile.TemporaryDirectory() as out:
        common = {
            "output_dir": out, "per_device_train_batch_size": micro, "gradient_accumulation_steps": size // micro,
            "max_steps": rounds + 2, "learning_rate": 1e-6, "lr_scheduler_type": "constant", "bf16": True,
            "gradient_checkpointing": False, "logging_steps": 1, "save_strategy": "no", "report_to": [],
            "disable_tqdm": True, "max_length": 1024, "use_cpu": device == "cpu", "weight_decay": 0.0, "seed": 0,
            "train_sampling_strategy": "sequential",
        }  # fmt: skip
        config = (DPOConfig, SFTConfig)[algorithm == "sft"]
        known = config.__dataclass_fields__
        arguments = config(**{k: v for k, v in common.items() if k in known})
        if algorithm == "dpo":
            arguments.beta = BETA
        weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        base: Any = (DPOTrainer, SFTTrainer)[algorithm == "sft"]

        class Prepared(base):  # type: ignore[misc]
            """The trainer, given tokens instead of text."""

            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

        trainer = Prepared(
            model=weights, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer(model),
            callbacks=[Clock()],
        )  # fmt: skip
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    seconds = sorted(b - a for a, b in zip(marks[::2], marks[1::2], strict=True))
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    return {"seconds": seconds[len(seconds) // 2], "losses": losses, "peak_mib": memory}


def tokenizer(model: Path) -> Any:
    """A tokenizer that TRL can hold; the data is tokens already."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "x": 1}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<pad>"
    )


def flex_equals_tree(model: Path, batch: list[Any], device: str) -> float:
    """Largest difference (nats) of log-probs between FlexAttention and rectangles, float32, forward only."""
    from hizala.engines.policy import load
    from hizala.records import TokenBranch, TokenGroup

    groups = [TokenGroup(p, tuple(TokenBranch(r, [True] * len(r)) for r in rest)) for p, *rest in batch]
    found = {}
    for kind in ("tree", "flex"):
        policy = load(model, device=device, attention=kind)
        with torch.no_grad():
            found[kind] = torch.cat([policy.logps(t).tokens for t in policy.pack(groups, 8192)])
    return float((found["tree"] - found["flex"]).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64, help="pairs a step")
    parser.add_argument("--micro", type=int, default=16, help="TRL: pairs a forward")
    parser.add_argument("--budget", type=int, default=16_384, help="ours: tokens a forward")
    args = parser.parse_args()
    device = "cpu" if args.smoke else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here; --smoke runs a tiny model on the CPU")
    if args.smoke:
        args.rounds, args.batch, args.micro, args.budget = 2, 4, 2, 2048
        torch.set_num_threads(1)
    config: dict[str, Any] = TINY if args.smoke else QWEN3_600M
    batches = [pairs(args.batch, config["vocab_size"], seed) for seed in range(args.rounds + 2)]
    peak = matmul_peak(device, 512 if args.smoke else 8192)
    result: dict[str, Any] = {"benchmark": "gpu_step", "device": device, "peak_tflops": peak / 1e12, "ratios": {}}
    with tempfile.TemporaryDirectory() as folder:
        from hizala.engines.policy import random_init

        model = Path(folder)
        policy = random_init(config, 0)
        parameters = sum(p.numel() for p in policy.trainable().values())
        policy.save(model)
        del policy
        result["flex_difference"] = flex_equals_tree(model, batches[0][:8], device)
        for algorithm in ("dpo", "sft"):
            sides = 2 if algorithm == "dpo" else 1
            tokens = sum(len(p) + sum(map(len, r[:sides])) for p, *r in batches[0])
            found = {"hizala": ours(model, algorithm, batches, args.rounds, device, args.budget)}
            gc.collect()
            found["trl"] = trl(model, algorithm, batches, args.rounds, device, args.micro)
            gc.collect()
            flops = (8 if algorithm == "dpo" else 6) * parameters * tokens
            for side in found.values():
                side["mfu"] = flops / side["seconds"] / peak
            result[algorithm] = found
            result["ratios"][algorithm] = found["trl"]["seconds"] / found["hizala"]["seconds"]
            for name, side in found.items():
                shown = f"{side['seconds'] * 1e3:9.1f} ms a step, MFU {side['mfu']:6.1%}, {side['peak_mib']:8.0f} MiB"
                print(f"{algorithm} {name:8}{shown}, first loss {side['losses'][0]:.4f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
