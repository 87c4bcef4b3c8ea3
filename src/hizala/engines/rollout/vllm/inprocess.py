"""vLLM in this process. What it changes for the whole process is changed back."""

from __future__ import annotations

import gc
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hizala.engines.rollout.vllm.requests import Request
from hizala.engines.rollout.vllm.settings import ENVIRONMENT, EngineSettings
from hizala.errors import ConfigError, HizalaError, TrainError
from hizala.records import Sample


class InProcess:
    """An engine whose scheduler and worker run in the calling thread. See `requests.Engine`.

    vLLM seeds the process's random numbers, draws from them at every token, replaces `torch.set_num_threads`, freezes
    the garbage collector's heap, and opens a process group of one; a trainer beside it sees none of this.

    Raises:
        ConfigError: vLLM is not installed, or this process is one of several that train together.
        TrainError: it does not start.
    """

    restarts = 0

    def __init__(self, settings: EngineSettings) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            raise ConfigError(
                "vLLM cannot start inside a process that already belongs to a group",
                where="sampler",
                fix="use mode: server (sampler: vllm_server), which runs it in a process of its own",
            )
        self._eager, self._thread = settings.eager, threading.get_ident()
        with _environment(), _process_kept():
            try:
                from vllm import LLM, SamplingParams
            except ImportError as error:
                raise missing() from error
            self._params = SamplingParams
            try:
                # vLLM's own layers only: for the others it patches classes of transformers, and a trainer's models
                # in this process are made of the same classes.
                kept_apart = {"model_impl": "vllm", "disable_log_stats": True, "use_tqdm_on_load": False}
                self._llm: Any = LLM(**settings.arguments(), **kept_apart)
            except HizalaError:
                raise
            except Exception as error:
                _leave_group()
                fix = "a smaller length or a larger kv_cache_bytes often helps; mode: server knows more architectures"
                raise TrainError(f"vLLM does not start: {error}", where=str(settings.directory), fix=fix) from error
        self.length = int(self._llm.llm_engine.model_config.max_model_len)

    def generate(
        self, requests: Sequence[Request], n: int, sampling: Mapping[str, Any], done: Callable[[int], None]
    ) -> dict[int, list[Sample]]:
        """See `Engine.generate`."""
        prompts = [{"prompt_token_ids": list(r.prompt)} for r in requests]
        params = [
            self._params(n=n, max_tokens=r.most, seed=r.seed, detokenize=False, **_known(sampling)) for r in requests
        ]
        with self._running():
            outputs = self._llm.generate(prompts, params, use_tqdm=False)
        done(len(requests))
        return {r.index: [_sample(o) for o in out.outputs] for r, out in zip(requests, outputs, strict=True)}

    def load(self, tensors: Mapping[str, Tensor], version: int) -> dict[str, Any]:
        """See `Engine.load`."""
        with self._running():
            answer: dict[str, Any] = self._llm.collective_rpc("hizala_load", args=(tensors, version))[0]
            self._llm.reset_prefix_cache()
        return answer

    def probe(self, ids: Sequence[int]) -> list[float]:
        """See `Engine.probe`."""
        params = self._params(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        with self._running():
            (output,) = self._llm.generate([{"prompt_token_ids": list(ids)}], [params], use_tqdm=False)
        found = output.prompt_logprobs[1:]
        return [float(at[token].logprob) for at, token in zip(found, ids[1:], strict=True)]

    def close(self) -> None:
        """See `Engine.close`."""
        if self._llm is None:
            return
        with _process_kept():
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            _leave_group()

    @contextmanager
    def _running(self) -> Iterator[None]:
        if self._llm is None:
            raise TrainError("the sampler was closed", fix="make another one")
        if threading.get_ident() != self._thread:
            raise ConfigError(
                "vLLM in this process samples in one thread: another would share its random numbers with the trainer",
                where="sampler",
                fix="use mode: server (sampler: vllm_server)",
            )
        # One of its helpers is compiled on its own even when all else is eager: twelve seconds for a count.
        stance = "force_eager" if self._eager else "default"
        with torch.random.fork_rng(devices=[]), torch.compiler.set_stance(stance), torch.no_grad():
            try:
                yield
            except Exception as error:
                raise TrainError(f"vLLM failed: {type(error).__name__}: {error}") from error


def missing() -> ConfigError:
    """What to say where vLLM is not installed."""
    return ConfigError(
        "sampler: vllm needs the vllm package",
        where="sampler",
        fix="on a GPU: pip install 'hizala[vllm]'; on a CPU: see docs/rollouts.md; or use sampler: local",
    )


def _known(sampling: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list) else value for name, value in sampling.items()}


def _sample(output: Any) -> Sample:
    ids = tuple(int(i) for i in output.token_ids)
    logps = tuple(float(at[token].logprob) for at, token in zip(output.logprobs, ids, strict=True))
    return Sample(ids, logps, output.finish_reason == "length")


@contextmanager
def _environment() -> Iterator[None]:
    """While open, vLLM's environment says: no process of its own, no reports home, and only what goes wrong is told."""
    wanted = {"VLLM_LOGGING_LEVEL": "ERROR", **ENVIRONMENT}
    if "VLLM_LOGGING_LEVEL" in os.environ:
        del wanted["VLLM_LOGGING_LEVEL"]
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _process_kept() -> Iterator[None]:
    """Random numbers, thread count and torch's own functions are afterwards what they were."""
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Of vLLM's own calls: nothing a user could do about them.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        gc.unfreeze()
        torch.set_num_threads = set_threads
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)


def _leave_group() -> None:
    """Close the process group of one that vLLM opened, so that a trainer can open its own."""
    from vllm.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

    destroy_model_parallel()
    destroy_distributed_environment()
