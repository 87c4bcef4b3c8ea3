"""One TRL variant: a plain `DPOTrainer` that waits at the turnstile after each logged step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_common import Turnstile
from bench_pairs import read_pairs


def check_ids(dataset: Any, expected: list[Any], max_length: int) -> None:
    """TRL's own tokenisation gives the ids the other side trains on.

    Raises:
        ValueError: it does not.
    """
    if len(dataset) != len(expected):
        raise ValueError(f"TRL kept {len(dataset)} pairs of {len(expected)}")
    for i, (row, pair) in enumerate(zip(dataset, expected, strict=True)):
        room = max_length - len(row["prompt_ids"])
        ids = (row["prompt_ids"], row["chosen_ids"][:room], row["rejected_ids"][:room])
        if ids != (pair.prompt, pair.chosen, pair.rejected):
            raise ValueError(f"pair {i}: TRL's token ids differ")


def main(spec: dict[str, Any]) -> None:
    gate = Turnstile(spec)
    import torch

    torch.set_num_threads(spec.get("threads", 1))
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    gate.imported()
    rows = read_pairs(Path(spec["pairs_file"]))
    micro = spec["micro"]

    class Wait(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
            if logs and "loss" in logs:
                record = {
                    "loss": logs["loss"],
                    "margin": logs["rewards/margins"],
                    "chosen": logs["logps/chosen"],
                    "rejected": logs["logps/rejected"],
                    "grad_norm": logs["grad_norm"],
                }
                if not gate.step(**record):
                    control.should_training_stop = True
            return control

    with tempfile.TemporaryDirectory() as out:
        config = DPOConfig(
            output_dir=out,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=spec["batch"] // micro,
            max_steps=1_000_000,
            learning_rate=spec["lr"],
            lr_scheduler_type="constant",
            weight_decay=spec["weight_decay"],
            adam_beta1=spec["betas"][0],
            adam_beta2=spec["betas"][1],
            adam_epsilon=spec["eps"],
            max_grad_norm=1.0,
            beta=spec["beta"],
            max_length=spec["max_length"],
            bf16=spec["dtype"] == "bfloat16",
            gradient_checkpointing=spec["checkpointing"],
            precompute_ref_log_probs=spec["precompute"],
            train_sampling_strategy="sequential",
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=True,
            seed=0,
        )
        begun = time.perf_counter()
        trainer = DPOTrainer(
            model=spec["model"],
            args=config,
            train_dataset=Dataset.from_list([vars(text) for text, _ in rows]),
            processing_class=AutoTokenizer.from_pretrained(spec["model"]),
            callbacks=[Wait()],
        )
        check_ids(trainer.train_dataset, [tokens for _, tokens in rows], spec["max_length"])
        gate.extra = {"construct": time.perf_counter() - begun, "weights": str(trainer.model.dtype)}
        trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
