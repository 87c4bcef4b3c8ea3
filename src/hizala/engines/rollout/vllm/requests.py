"""Prompts as requests to an engine, each with a seed of its own, and what an engine has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from hizala.errors import ConfigError
from hizala.records import Sample


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt: n responses of at most `most` tokens are sampled to it, response i with seed `seed` + i."""

    index: int
    prompt: tuple[int, ...]
    most: int
    seed: int


class Engine(Protocol):
    """A running vLLM, here or in another process."""

    length: int
    restarts: int

    def generate(
        self, requests: Sequence[Request], n: int, sampling: Mapping[str, Any], done: Callable[[int], None]
    ) -> dict[int, list[Sample]]:
        """n samples to each request, by its index; `done` is told how many requests are answered."""

    def load(self, tensors: Mapping[str, Tensor], version: int) -> dict[str, Any]:
        """Take new weights and forget what was cached under the old; what `Extension.hizala_load` returns."""

    def probe(self, ids: Sequence[int]) -> list[float]:
        """Log-probs (nats) of ids[1:], each after those before it, untempered."""

    def close(self) -> None:
        """End it; harmless when repeated."""


def requests_of(prompts: Sequence[Sequence[int]], max_tokens: int, length: int, seed: int) -> list[Request]:
    """The prompts as requests.

    A seed comes from the given one, the prompt's tokens, and how often the prompt stood in the list before: a sample
    does not depend on where its prompt stands.

    Raises:
        ConfigError: a prompt is empty, or leaves no room in the engine's context.
    """
    seen: Counter[bytes] = Counter()
    requests = []
    for index, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ConfigError("a prompt has no tokens", where=f"prompt {index}")
        most = min(max_tokens, length - len(prompt))
        if most < 1:
            raise ConfigError(
                f"a prompt of {len(prompt)} tokens leaves no room in the engine's context of {length}",
                where=f"prompt {index}",
                fix="leave the prompt out, shorten it, or start the sampler with a larger length or kv_cache_bytes",
            )
        tokens = sha256(np.asarray(prompt, dtype=np.int64).tobytes()).digest()
        whole = sha256(f"{seed} {seen[tokens]} ".encode() + tokens).digest()
        seen[tokens] += 1
        # Below 2^62, so that every response's seed fits into 64 bits with a sign.
        requests.append(Request(index, tuple(prompt), most, int.from_bytes(whole[:8], "little") >> 2))
    return requests
