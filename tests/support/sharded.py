"""One batch's gradient and some steps, on one process or several: `sharded.py OUT DTYPE METHOD STEPS [CHECKPOINTS]`.

METHOD is `full` or `lora` (DPO), or `reward` (an ensemble of score heads). With CHECKPOINTS the run continues from
the newest checkpoint there, if any, and writes one at its end. OUT gets gradients, metrics, measured
log-probs and final weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from resumable import CONFIG, VOCAB
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from toy_policy import make_groups

from hizala.algorithms import algorithms
from hizala.engines.policy import random_init
from hizala.engines.policy.heads import member_labels
from hizala.engines.train import Engine, Objective, Settings, join, leave, measure


def whole(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return tensor.detach().clone()


def main(out: Path, dtype: str, method: str, steps: int, checkpoints: Path | None) -> None:
    torch.set_num_threads(1)
    world = join()
    torch.manual_seed(0)
    lora = {"rank": 4} if method == "lora" else None
    heads = {"heads": ("score",), "labels": member_labels(3)} if method == "reward" else {}
    policy = random_init(CONFIG, 1, dtype=dtype, lora=lora, **heads)
    if lora:  # B starts at zero, where A has no gradient
        with torch.no_grad():
            for name, parameter in policy.trainable().items():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    groups = make_groups(7, vocab=VOCAB, seed=3, weights=True, empty=True)
    columns = {"reference": {g.id: 0.9 * m for g, m in zip(groups, measure(policy, groups, 512), strict=True)}}
    settings = Settings(learning_rate=1e-3, total_steps=10, token_budget=40, max_grad_norm=0.5, weight_decay=0.01)
    engine = Engine(policy, settings)
    objective = Objective.of(algorithms.get("dpo"), {"beta": 0.5}, weights={"chosen_nll": 0.3})
    if method == "reward":
        objective = Objective.of(algorithms.get("reward"), weights={"reward_centre": 0.1})
    if checkpoints:
        engine.load(checkpoints)
    tensors: dict[str, torch.Tensor] = {}
    engine.accumulate(groups, objective, columns)
    for name, parameter in policy.module.named_parameters():
        if parameter.grad is not None:
            tensors[f"gradient:{name}"] = whole(parameter.grad)
    reports = [engine.step(groups, objective, columns).metrics for _ in range(steps)]
    one = engine.step(groups[:1], objective, columns).metrics  # fewer groups than processes
    evaluated = engine.evaluate(groups, objective, columns)
    measured = engine.measure(groups)
    if checkpoints:
        engine.save(checkpoints)
    for name, parameter in policy.module.named_parameters():
        tensors[f"weight:{name}"] = whole(parameter)
    for number, values in enumerate(measured):
        tensors[f"measured:{number}"] = torch.from_numpy(values)
    with engine.whole():
        plain = all(not isinstance(p, DTensor) for p in policy.module.parameters())
        total = float(sum(p.detach().double().sum() for p in policy.module.parameters()))
    if world.first:
        save_file(tensors, out.with_suffix(".safetensors"))
        rows = {name: values.tolist() for name, values in evaluated.items()}
        sizes = {"world": world.size, "plain": plain, "total": total, "steps": engine.steps}
        out.with_suffix(".json").write_text(json.dumps({"reports": [*reports, one], "evaluated": rows, **sizes}))


if __name__ == "__main__":
    where = Path(sys.argv[5]) if len(sys.argv) > 5 else None
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), where)
    leave(0)
