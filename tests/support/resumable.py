"""A run that can be killed at any moment and started again: `resumable.py DIRECTORY STEPS [rank]`."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import torch
from toy_policy import make_groups

from hizala.algorithms import algorithms
from hizala.engines.policy import random_init
from hizala.engines.train import Engine, MetricsLog, Objective, Settings, join, measure

VOCAB = 512
CONFIG = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "initializer_range": 0.05,
}


def main(directory: Path, steps: int) -> None:
    torch.set_num_threads(1)
    world = join()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    # Dropout on adapters draws from torch's generator, the choice of groups from Python's: both must be restored.
    policy = random_init(CONFIG, 1, lora={"rank": 4, "dropout": 0.1} if "lora" in sys.argv else None)
    groups = make_groups(24, vocab=VOCAB, seed=3)
    columns = {"reference": {g.id: m for g, m in zip(groups, measure(policy, groups, 512), strict=True)}}
    settings = Settings(
        learning_rate=3e-3,
        total_steps=steps,
        schedule="cosine",
        warmup=0.1,
        weight_decay=0.01,
        token_budget=64,
        keep_last=2,
        identity="resumable",
    )
    engine = Engine(policy, settings)
    objective = Objective.of(algorithms.get("dpo"), {"beta": 0.2}, weights={"chosen_nll": 0.1})
    state = engine.load(directory / "checkpoints")
    log = MetricsLog(directory, write=world.first, offset=state["metrics"] if state else None)
    for step in range(engine.steps, steps):
        report = engine.step([groups[random.randrange(24)] for _ in range(6)], objective, columns)
        log.train(step + 1, report.metrics, report.perf)
        if (step + 1) % 3 == 0 or step + 1 == steps:
            engine.save(directory / "checkpoints", {"metrics": log.offset()})
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
