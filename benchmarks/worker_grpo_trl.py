"""TRL's `GRPOTrainer` in one setting: a plain trainer of its own that waits at the turnstile after each step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_common import Turnstile
from bench_prompts import reward


def config_of(spec: dict[str, Any], folder: str) -> Any:
    """TRL's configuration for a variant."""
    import trl

    return trl.GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=spec["micro"],
        gradient_accumulation_steps=spec["batch"] // spec["micro"],
        num_generations=spec["group"],
        max_completion_length=spec["max_tokens"],
        max_steps=1_000_000,
        learning_rate=spec["lr"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=spec["dtype"] == "bfloat16",
        gradient_checkpointing=spec["checkpointing"],
        temperature=1.0,
        top_k=0,
        beta=0.0,
        shuffle_dataset=False,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        use_cpu=True,
        seed=0,
    )


def main(spec: dict[str, Any]) -> None:
    gate = Turnstile(spec)
    import torch

    torch.set_num_threads(spec.get("threads", 1))
    import trl
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback

    gate.imported()
    times = {"sampling": 0.0, "scoring": 0.0, "sampling_cpu": 0.0, "tokens": 0.0}
    begun = [time.perf_counter()]

    class Timed(trl.GRPOTrainer):  # type: ignore[misc]
        """Notes what generation took, and what scoring took beside it."""

        def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
            start, cpu = time.perf_counter(), time.process_time()
            out = super()._generate_single_turn(*args, **kwargs)
            times["sampling"] = time.perf_counter() - start
            times["sampling_cpu"] = time.process_time() - cpu
            times["tokens"] = float(sum(len(ids) for ids in out[0]))
            return out

        def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            out = super()._generate_and_score_completions(*args, **kwargs)
            times["scoring"] = time.perf_counter() - start - times["sampling"]
            return out

    class Wait(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
            if not logs or "reward" not in logs:
                return control
            step = time.perf_counter() - begun[0]
            seen = {"reward": logs["reward"], "entropy": logs["entropy"], "step": step}
            more = gate.step(loss=logs["loss"], grad_norm=logs["grad_norm"], **seen, **times)
            begun[0] = time.perf_counter()
            control.should_training_stop = not more
            return control

    def scored(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [reward(text, right) for text, right in zip(completions, answer, strict=True)]

    rows = [json.loads(line) for line in Path(spec["prompts_file"]).read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as out:
        trainer = Timed(
            model=spec["model"],
            reward_funcs=scored,
            args=config_of(spec, out),
            train_dataset=Dataset.from_list([{"prompt": r["prompt"], "answer": r["answer"]} for r in rows]),
            processing_class=AutoTokenizer.from_pretrained(spec["model"]),
            callbacks=[Wait()],
        )
        begun[0] = time.perf_counter()
        trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
