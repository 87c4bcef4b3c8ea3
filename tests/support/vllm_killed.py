"""Starts a sampler with a server, says where, and waits to be killed."""

from __future__ import annotations

import time

from hizala import world
from hizala.engines.policy import load
from hizala.engines.rollout.vllm.sampler import VllmSampler
from hizala.engines.rollout.vllm.server import Server


def main() -> None:
    """Print the directory and the guard's process id once the server answers."""
    sampler = VllmSampler(load(world.model_dir()), end_ids=[2045], mode="server", kv_cache_bytes=1 << 26)
    assert isinstance(sampler._engine, Server)
    print(sampler._store, sampler._engine.pid, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
