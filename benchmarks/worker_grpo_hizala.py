"""One variant of ours: sampler, rewards, advantages and `Engine` step after step, waiting at the turnstile."""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_common import Turnstile
from bench_prompts import reward


def main(spec: dict[str, Any]) -> None:
    gate = Turnstile(spec)
    if not spec["kernels"]:
        os.environ["HIZALA_KERNELS"] = "0"
    import numpy as np
    import torch

    torch.set_num_threads(spec.get("threads", 1))
    from tokenizers import Tokenizer

    from hizala.algorithms import algorithms
    from hizala.core.advantages import grpo
    from hizala.engines.policy import load
    from hizala.engines.policy.native import enable
    from hizala.engines.rollout.local import LocalSampler
    from hizala.engines.train import Engine, MetricsLog, Objective, Settings
    from hizala.records import TokenBranch, TokenGroup

    gate.imported()
    model, group = Path(spec["model"]), spec["group"]
    text = Tokenizer.from_file(str(model / "tokenizer.json"))
    policy = load(model, dtype=spec["dtype"])
    engine = Engine(policy, Settings(
        learning_rate=spec["lr"], total_steps=1_000_000, weight_decay=0.0, max_grad_norm=1.0,
        token_budget=spec["token_budget"],
    ))  # fmt: skip
    objective = Objective.of(algorithms.get("grpo"), {}, reduction="token")
    sampler = LocalSampler(policy, end_ids=spec["ends"], dtype=spec["rollout"])
    gate.extra = {"kernels": enable() or "in use"}
    rows = [json.loads(line) for line in Path(spec["prompts_file"]).read_text(encoding="utf-8").splitlines()]
    batches = [rows[i : i + spec["batch"] // group] for i in range(0, len(rows), spec["batch"] // group)]
    place = torch.arange(len(batches[0])).repeat_interleave(group)
    with tempfile.TemporaryDirectory() as out:
        log = MetricsLog(Path(out))
        begun = time.perf_counter()
        for number, batch in enumerate(itertools.cycle(batches), start=1):
            prompts = [row["ids"] for row in batch]
            cpu = time.process_time()
            groups = sampler.sample(prompts, n=group, max_tokens=spec["max_tokens"], seed=number)
            sampled, cpu = time.perf_counter(), time.process_time() - cpu
            samples = [s for of in groups for s in of]
            texts = text.decode_batch([list(s.ids) for s in samples])
            answers = [row["answer"] for row in batch for _ in range(group)]
            rewards = torch.tensor([reward(*pair) for pair in zip(texts, answers, strict=True)], dtype=torch.float64)
            advantages = grpo(rewards, place).view(-1, group)
            trained: list[TokenGroup] = []
            columns: dict[str, dict[str, Any]] = {"advantages": {}, "sampler": {}}
            for index, (prompt, of) in enumerate(zip(prompts, groups, strict=True)):
                branches = tuple(TokenBranch(list(s.ids), [True] * len(s.ids)) for s in of)
                trained.append(TokenGroup(prompt, branches, id=str(index)))
                lengths = [len(s.ids) for s in of]
                columns["advantages"][str(index)] = np.repeat(advantages[index].numpy(), lengths).astype(np.float32)
                columns["sampler"][str(index)] = np.array([x for s in of for x in s.logps], dtype=np.float32)
            scored = time.perf_counter()
            report = engine.step(trained, objective, columns)
            sampler.sync(policy, number)
            spread = -float(np.mean([x for s in samples for x in s.logps]))
            log.train(number, report.metrics | {"reward": float(rewards.mean()), "entropy": spread}, report.perf)
            ended = time.perf_counter()
            m = report.metrics
            more = gate.step(
                loss=m["loss"], grad_norm=m["grad_norm"], reward=float(rewards.mean()),
                entropy=spread, step=ended - begun, sampling=sampled - begun,
                scoring=scored - sampled, sampling_cpu=cpu, tokens=float(sum(len(s.ids) for s in samples)),
            )  # fmt: skip
            if not more:
                break
            begun = time.perf_counter()
        log.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[2]))
