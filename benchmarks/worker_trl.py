"""One TRL variant: a plain trainer of its own that waits at the turnstile after each logged step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench_common import Turnstile
from bench_pairs import TextPair, TokenPair, read_pairs

# What is recorded beside the loss, method by method: key -> TRL's name. `worker_hizala.py` has the same keys.
FIGURES = {
    "dpo": {"margin": "rewards/margins", "chosen": "logps/chosen", "rejected": "logps/rejected"},
    "reward": {"margin": "margin"},
    "simpo": {"chosen": "logps/chosen", "rejected": "logps/rejected"},
    "orpo": {"term": "log_odds_ratio", "chosen": "logps/chosen", "rejected": "logps/rejected"},
    "kto": {"point": "kl"},
}
# TRL logs the log-likelihood of the odds ratio, not the loss.
NEGATED = {"term"}


def trainer_of(method: str, params: dict[str, float], weights: dict[str, float]) -> tuple[type, type, dict[str, Any]]:
    """TRL's trainer, its configuration, and what the parameters of our losses are called there."""
    if method in ("simpo", "orpo"):
        if method == "orpo":
            from trl.experimental.orpo import ORPOConfig, ORPOTrainer

            return ORPOTrainer, ORPOConfig, {"beta": weights["orpo"]}
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        # Without cpo_alpha=0 it would be SimPO with a likelihood term.
        named = {"beta": params["beta"], "simpo_gamma": params["gamma"], "loss_type": "simpo", "cpo_alpha": 0.0}
        return CPOTrainer, CPOConfig, named
    import trl

    if method == "reward":
        return trl.RewardTrainer, trl.RewardConfig, {}
    if method == "kto":
        return trl.KTOTrainer, trl.KTOConfig, dict(params)
    return trl.DPOTrainer, trl.DPOConfig, dict(params)


def texts_of(method: str, rows: Sequence[TextPair], batch: int) -> list[dict[str, Any]]:
    """The pairs as the trainer takes them; thumbs with all the chosen responses of a batch before its rejected ones.

    TRL estimates KTO's reference point from the completion of the row before: in this order that is always the
    completion of another prompt.
    """
    if method != "kto":
        return [vars(row) for row in rows]
    out = []
    for first in range(0, len(rows), batch):
        for side, label in (("chosen", True), ("rejected", False)):
            part = rows[first : first + batch]
            out += [{"prompt": row.prompt, "completion": getattr(row, side), "label": label} for row in part]
    return out


def ids_of(method: str, dataset: Any, pairs: Sequence[TokenPair], max_length: int, batch: int) -> tuple[Any, Any]:
    """(the ids TRL trains on, the ids the other side trains on), row by row."""
    if method == "kto":
        theirs = [(r["prompt_ids"], r["completion_ids"], r["label"]) for r in dataset]
        ours: list[Any] = []
        for first in range(0, len(pairs), batch):
            ours += [(p.prompt, p.chosen, True) for p in pairs[first : first + batch]]
            ours += [(p.prompt, p.rejected, False) for p in pairs[first : first + batch]]
        return theirs, ours
    names = {"simpo": "input_ids", "orpo": "input_ids", "reward": "ids"}
    if method in names:
        theirs = [tuple(row[f"{side}_{names[method]}"] for side in ("chosen", "rejected")) for row in dataset]
        return theirs, [(p.prompt + p.chosen, p.prompt + p.rejected) for p in pairs]
    theirs = []
    for row in dataset:
        room = max_length - len(row["prompt_ids"])
        theirs.append((row["prompt_ids"], row["chosen_ids"][:room], row["rejected_ids"][:room]))
    return theirs, [(p.prompt, p.chosen, p.rejected) for p in pairs]


def check_ids(theirs: Sequence[Any], ours: Sequence[Any]) -> None:
    """TRL's own tokenisation gives the ids the other side trains on.

    Raises:
        ValueError: it does not.
    """
    if len(theirs) != len(ours):
        raise ValueError(f"TRL kept {len(theirs)} rows of {len(ours)}")
    for i, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        if a != b:
            raise ValueError(f"row {i}: TRL's token ids differ")


def waiting(gate: Turnstile, figures: dict[str, str]) -> Callable[[dict[str, float]], bool]:
    """What is told to the gate of a logged step."""

    def told(logs: dict[str, float]) -> bool:
        seen = {key: -logs[name] if key in NEGATED else logs[name] for key, name in figures.items()}
        return gate.step(loss=logs["loss"], grad_norm=logs["grad_norm"], **seen)

    return told


def main(spec: dict[str, Any]) -> None:
    gate = Turnstile(spec)
    import torch

    torch.set_num_threads(spec.get("threads", 1))
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    method = spec["method"]
    trainer_class, config_class, named = trainer_of(method, spec["params"], spec["weights"])
    gate.imported()
    rows = read_pairs(Path(spec["pairs_file"]))
    # A pair is two thumbs.
    rows_each = 2 if method == "kto" else 1
    told = waiting(gate, FIGURES[method])

    class Wait(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> Any:
            if logs and "loss" in logs and not told(logs):
                control.should_training_stop = True
            return control

    if spec["reference"]:
        named["precompute_ref_log_probs"] = spec["precompute"]
    with tempfile.TemporaryDirectory() as out:
        config = config_class(
            output_dir=out,
            per_device_train_batch_size=spec["micro"] * rows_each,
            gradient_accumulation_steps=spec["batch"] // spec["micro"],
            max_steps=1_000_000,
            learning_rate=spec["lr"],
            lr_scheduler_type="constant",
            weight_decay=spec["weight_decay"],
            adam_beta1=spec["betas"][0],
            adam_beta2=spec["betas"][1],
            adam_epsilon=spec["eps"],
            max_grad_norm=1.0,
            max_length=spec["max_length"],
            bf16=spec["dtype"] == "bfloat16",
            gradient_checkpointing=spec["checkpointing"],
            train_sampling_strategy="sequential",
            logging_steps=1,
            logging_nan_inf_filter=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=True,
            seed=0,
            **named,
        )
        begun = time.perf_counter()
        model: Any = spec["model"]
        if method in ("simpo", "orpo"):
            model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        trainer = trainer_class(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(texts_of(method, [text for text, _ in rows], spec["batch"])),
            processing_class=AutoTokenizer.from_pretrained(spec["model"]),
            callbacks=[Wait()],
        )
        check_ids(
            *ids_of(method, trainer.train_dataset, [tokens for _, tokens in rows], spec["max_length"], spec["batch"])
        )
        gate.extra = {"construct": time.perf_counter() - begun, "weights": str(trainer.model.dtype)}
        trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
