"""Tokens sampled per second on the same prompts, by vLLM's CPU build or by ours: rounds in a process of its own.

Standard library and whichever side is asked for; prints one JSON line.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 4


def with_vllm(spec: dict[str, Any]) -> Callable[[list[list[int]], int], int]:
    """Samples, and says how many tokens."""
    import os

    # In this process, without a port or a second process to start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM, SamplingParams, TokensPrompt

    model = LLM(model=spec["model"], dtype=spec["rollout"], max_model_len=1024, seed=0, enable_prefix_caching=True)

    # No seed of its own for a request: the CPU build has no such generators.
    def run(prompts: list[list[int]], _seed: int) -> int:
        how = SamplingParams(
            n=spec["group"], max_tokens=spec["max_tokens"], temperature=1.0, logprobs=0,
            stop_token_ids=spec["ends"], detokenize=False,
        )  # fmt: skip
        found = model.generate([TokensPrompt(prompt_token_ids=p) for p in prompts], how, use_tqdm=False)
        return sum(len(o.token_ids) for request in found for o in request.outputs)

    return run


def with_hizala(spec: dict[str, Any]) -> Callable[[list[list[int]], int], int]:
    """Samples, and says how many tokens."""
    import torch

    from hizala.engines.policy import load
    from hizala.engines.rollout.local import LocalSampler

    torch.set_num_threads(spec["threads"])
    sampler = LocalSampler(load(Path(spec["model"])), end_ids=spec["ends"], dtype=spec["rollout"])

    def run(prompts: list[list[int]], seed: int) -> int:
        found = sampler.sample(prompts, n=spec["group"], max_tokens=spec["max_tokens"], seed=seed)
        return sum(len(s.ids) for samples in found for s in samples)

    return run


def main(spec: dict[str, Any]) -> None:
    lines = Path(spec["prompts_file"]).read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["ids"] for line in lines]
    run = (with_vllm if spec["side"] == "vllm" else with_hizala)(spec)
    rates = []
    for number in range(ROUNDS):
        part = prompts[number * spec["prompts"] : (number + 1) * spec["prompts"]]
        begun = time.perf_counter()
        tokens = run(part, number)
        rates.append(tokens / (time.perf_counter() - begun))
    # The first call warms up.
    print(json.dumps({"tokens_per_second": statistics.median(rates[1:]), "first": rates[0]}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
