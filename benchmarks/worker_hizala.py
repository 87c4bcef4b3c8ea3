"""One variant of ours: `Engine` and `Policy` with every metric measured and written, waiting at the turnstile."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_common import Turnstile
from bench_pairs import TokenPair, read_pairs

PAD_ID = 0
# What is recorded beside the loss, method by method: key -> our metric. `worker_trl.py` has the same keys.
FIGURES = {
    "dpo": {"margin": "dpo/margin"},
    "reward": {"margin": "bradley_terry/margin"},
    "simpo": {"chosen": "simpo/chosen_logp", "rejected": "simpo/rejected_logp"},
    "orpo": {"term": "orpo/loss", "chosen": "orpo/chosen_logp", "rejected": "orpo/rejected_logp"},
    "kto": {"point": "kto/z0"},
}


def groups_of(pairs: Sequence[TokenPair], pad_to_block: int) -> list[Any]:
    """Token groups; with `pad_to_block` > 0 both responses of each pair are padded, with tokens that do not count,
    until all rows of a block of so many pairs are equally long: what a padded batch computes."""
    from hizala.records import TokenBranch, TokenGroup

    groups = []
    for first in range(0, len(pairs), pad_to_block or len(pairs)):
        block = pairs[first : first + (pad_to_block or len(pairs))]
        longest = max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in block)
        for pair in block:
            branches = []
            for ids in (pair.chosen, pair.rejected):
                padding = (longest - len(pair.prompt) - len(ids)) if pad_to_block else 0
                mask = [True] * len(ids) + [False] * padding
                # What nothing asks for is not computed: the last of the padding is, and everything before it.
                mask[-1] = True
                branches.append(TokenBranch([*ids, *[PAD_ID] * padding], mask))
            groups.append(TokenGroup(pair.prompt, tuple(branches), id=str(len(groups))))
    return groups


def thumbs(groups: Sequence[Any]) -> list[Any]:
    """The pairs as thumbs: the first response of each up, the second down."""
    return [replace(g, responses=tuple(replace(r, label=not i) for i, r in enumerate(g.responses))) for g in groups]


def mismatched(batch: Sequence[Any]) -> list[Any]:
    """Each prompt of a batch with both responses of the pair before it, as TRL turns the completions of a batch."""
    before = [batch[-1], *batch[:-1]]
    return [replace(g, responses=b.responses, id=f"{g.id} with {b.id}") for g, b in zip(batch, before, strict=True)]


def main(spec: dict[str, Any]) -> None:
    gate = Turnstile(spec)
    if not spec["kernels"]:
        os.environ["HIZALA_KERNELS"] = "0"
    import torch

    torch.set_num_threads(spec.get("threads", 1))
    from hizala.algorithms import algorithms
    from hizala.engines.policy import load
    from hizala.engines.policy.native import enable
    from hizala.engines.train import Engine, MetricsLog, Objective, Settings, measure

    gate.imported()
    begun = time.perf_counter()
    groups = groups_of([tokens for _, tokens in read_pairs(Path(spec["pairs_file"]))], spec["pad_to_block"])
    if spec["method"] == "kto":
        groups = thumbs(groups)
    batches = [groups[i : i + spec["batch"]] for i in range(0, len(groups), spec["batch"])]
    others = [mismatched(batch) if spec["method"] == "kto" else [] for batch in batches]
    budget = spec["token_budget"]
    model, how = Path(spec["model"]), {"dtype": spec["dtype"], "sharing": spec["sharing"]}
    policy = load(model, checkpointing=spec["checkpointing"], **how)
    engine = Engine(policy, Settings(
        learning_rate=spec["lr"], total_steps=1_000_000, weight_decay=spec["weight_decay"],
        betas=tuple(spec["betas"]), eps=spec["eps"], max_grad_norm=1.0, token_budget=budget,
    ))  # fmt: skip
    objective = Objective.of(algorithms.get(spec["method"]), spec["params"], weights=spec["weights"])

    def columns_of(of: Any, rows: Sequence[Any]) -> dict[str, Any]:
        return {"reference": {g.id: a for g, a in zip(rows, measure(of, rows, budget), strict=True)}}

    reference = None
    stored: dict[str, Any] = {}
    if spec["precompute"]:
        stored = columns_of(policy, [g for rows in (*batches, *others) for g in rows])
    elif spec["reference"]:
        reference = load(model, **how)
        reference.module.requires_grad_(False)
    gate.extra = {"construct": time.perf_counter() - begun, "kernels": enable() or "in use"}
    figures = FIGURES[spec["method"]]
    with tempfile.TemporaryDirectory() as out:
        log = MetricsLog(Path(out))
        for number, (batch, other) in enumerate(itertools.cycle(zip(batches, others, strict=True)), start=1):
            columns = columns_of(reference, [*batch, *other]) if reference is not None else stored
            report = engine.step(batch, objective, columns, other)
            log.train(number, report.metrics, report.perf)
            m = report.metrics
            seen = {key: m[name] for key, name in figures.items()}
            if not gate.step(loss=m["loss"], grad_norm=m["grad_norm"], **seen):
                break
        log.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
