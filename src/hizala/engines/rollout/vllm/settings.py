"""How vLLM is started, and what of a sampler's settings it would do otherwise than we say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hizala.core.distribution import Distribution
from hizala.errors import ConfigError, nearest

# Where no bound on the length is given, vLLM finds the longest that its cache holds.
FITTING = -1
DTYPES = ("float32", "bfloat16")
MODES = ("inprocess", "server")
MOST_CACHE, LEAST_CACHE = 1 << 30, 1 << 24
BLOCK = 128  # tokens: vLLM's block on a CPU, the largest it uses anywhere
# Below it vLLM draws from another temperature than it was asked for.
COLDEST = 0.01
EXTENSION = "hizala.engines.rollout.vllm.extension.Extension"
# Nothing is reported home, nothing leaves this machine, and threads are bound by whoever started us.
ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # The worker runs in the engine's process, which starts a third sooner than with a process of its own.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is started with.

    Attributes:
        directory: the model, as safetensors.
        dtype: of weights, cache and computation.
        kv_cache_bytes: memory of the key-value cache.
        length: tokens of prompt and response, at most; None: as many as model and cache allow.
        rows: sequences decoded side by side, at most.
        eager: no compilation: starts in seconds, and decodes more slowly.
    """

    directory: Path
    dtype: str
    kv_cache_bytes: int
    length: int | None
    rows: int
    eager: bool

    def arguments(self) -> dict[str, Any]:
        """Names and values as `vllm.LLM` takes them."""
        return {
            "model": str(self.directory),
            "dtype": self.dtype,
            "kv_cache_memory_bytes": self.kv_cache_bytes,
            "max_model_len": FITTING if self.length is None else self.length,
            "max_num_seqs": self.rows,
            "enforce_eager": self.eager,
            "enable_prefix_caching": True,
            # A prompt computed in parts rewinds its request's random numbers, which a CPU's cannot: the engine dies.
            "enable_chunked_prefill": False,
            "skip_tokenizer_init": True,
            "load_format": "safetensors",
            # The model's own generation_config would add a top_k or a temperature of its own.
            "generation_config": "vllm",
            "logprobs_mode": "processed_logprobs",
            "worker_extension_cls": EXTENSION,
            "distributed_executor_backend": "uni",
        }

    def flags(self) -> list[str]:
        """The same for its server's command line."""
        flags = []
        for name, value in self.arguments().items():
            flag = name.replace("_", "-")
            if isinstance(value, bool):
                flags.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                flags.append(f"--{flag}={value}")
        return flags


def sampling(distribution: Distribution, end_ids: tuple[int, ...]) -> dict[str, Any]:
    """What is the same for every request, in words that both `SamplingParams` and the server know."""
    return {
        "temperature": distribution.temperature,
        "top_k": distribution.top_k,
        "top_p": distribution.top_p,
        "min_p": distribution.min_p,
        "stop_token_ids": list(end_ids),
        # The end tokens are ours alone: those of the model's config would end a response without being asked.
        "ignore_eos": True,
        "logprobs": 0,
    }


def check(distribution: Distribution, mode: str, dtype: str) -> None:
    """Raises ConfigError where vLLM would draw from another distribution than `Distribution` says, or cannot start."""
    for value, known, where in ((mode, MODES, "mode"), (dtype, DTYPES, "dtype")):
        if value not in known:
            raise ConfigError(
                f"unknown {where} '{value}'{nearest(value, known)}", where=where, fix=f"known: {', '.join(known)}"
            )
    if distribution.min_p > 0 and distribution.top_p < 1:
        raise ConfigError(
            "vLLM applies min_p before top_p, so that together they keep other tokens than is meant here",
            where="min_p",
            fix="leave one of them out, or sample with sampler: local",
        )
    if 0 < distribution.temperature < COLDEST:
        raise ConfigError(
            f"vLLM draws at temperature {COLDEST} where a lower one above 0 is asked for",
            where="temperature",
            fix=f"0 is greedy; otherwise at least {COLDEST}",
        )


def cache_bytes(config: Mapping[str, Any], dtype: str, rows: int, length: int | None) -> int:
    """Bytes of cache in which `rows` sequences of `length` tokens fit, within `MOST_CACHE`.

    Args:
        config: a model's `config.json`; where it does not say what a token takes, `MOST_CACHE` is returned.
        dtype: of the cache.
        length: None: the model's context.
    """
    length = length or config.get("max_position_embeddings")
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    if not (length and layers and heads and config.get("hidden_size")):
        return MOST_CACHE
    keys = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or config["hidden_size"] // heads
    token = 2 * layers * keys * size * (2 if dtype == "bfloat16" else 4)
    # Memory is given out in blocks; one row more than asked for, and no less than vLLM is content with.
    blocks = (rows + 1) * (length // BLOCK + 1)
    return int(min(MOST_CACHE, max(LEAST_CACHE, blocks * BLOCK * token)))
