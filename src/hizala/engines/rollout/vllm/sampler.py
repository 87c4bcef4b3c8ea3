"""The sampler that asks vLLM: same protocol as the local one, weights handed over and checked at every `sync`."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hizala.core.distribution import Distribution
from hizala.core.logps import SeqLogps
from hizala.engines.rollout.vllm import settings as engine_settings
from hizala.engines.rollout.vllm.digest import digest
from hizala.engines.rollout.vllm.inprocess import InProcess
from hizala.engines.rollout.vllm.requests import Engine, requests_of
from hizala.engines.rollout.vllm.server import Server
from hizala.errors import ConfigError, TrainError
from hizala.records import Sample, TokenBranch, TokenGroup
from hizala.registry import Bound

PROBE_TOKENS = 64
# Mean gap (nats a token) between trainer and engine on the probe that is arithmetic; a stale tied head gives 0.2 and
# more on a trained model. The coarser of the two computations decides.
ARITHMETIC = {"float64": 1e-4, "float32": 1e-4, "bfloat16": 0.1}


class Exports(Protocol):
    """A policy whose weights can be handed to another engine."""

    @property
    def module(self) -> nn.Module:
        """What is set to evaluation while it is measured."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its `config.json`."""

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and response the model was made for; None where it names no bound."""

    @property
    def facts(self) -> Mapping[str, str]:
        """How it computes; `dtype` is looked at."""

    def pack(self, groups: Sequence[TokenGroup], token_budget: int) -> Sequence[Any]:
        """See `protocols.Policy.pack`."""

    def logps(self, tree: Any) -> SeqLogps:
        """See `protocols.Policy.logps`."""

    def tensors(self, dtype: str | None = None) -> Mapping[str, Tensor]:
        """The weights under the names of a Hugging Face directory, adapters added in."""

    def export(self, path: Path, dtype: str | None = None) -> None:
        """Write them as a Hugging Face directory."""


@dataclass(frozen=True, slots=True)
class VllmReport:
    """What one call of `sample` did.

    Attributes:
        tokens, prompt_tokens: generated, and given (a prefix computed before is counted again).
        seconds: of the call, restarts included.
        version: of the weights that sampled.
        restarts: of the server during the call.
    """

    tokens: int
    prompt_tokens: int
    seconds: float
    version: int
    restarts: int

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one call of `sync` found.

    Attributes:
        version: of the weights now in use.
        digest: of the weights; the engine computed the same one over what it received.
        compared: layers whose weights in use were read back and are those received, bit for bit.
        unknown: layers that could not be read back.
        gap: mean |log-prob of the engine - of the policy| over a fixed sequence, nats a token.
        seconds: of the call.
    """

    version: int
    digest: str
    compared: int
    unknown: tuple[str, ...]
    gap: float
    seconds: float


class VllmSampler:
    """Samples with vLLM. See `protocols.Sampler`; close it, or use it in a `with` statement.

    Each sample has a seed of its own, from the call's seed, the prompt's tokens and the sample's number. Its tokens
    are repeatable as far as vLLM's arithmetic is: the last bits of a logit depend on what was batched with it.

    Args:
        policy: whose weights are sampled from, as version 0; it must write `tensors` and `export`.
        end_ids: tokens that end a response; the end token is kept and its log-prob counts. No others end one.
        temperature, top_k, top_p, min_p: see `Distribution`; log-probs are of that distribution, 0 at temperature 0.
        mode: inprocess (starts sooner; one such sampler at a time, used in the thread that made it) or server (a
            process of its own: a crash of it costs a restart, and it can sample while this process trains).
        dtype: float32 or bfloat16: of vLLM's weights, cache and computation.
        kv_cache_bytes: memory of the key-value cache; None: what `rows` of `length` tokens take, 1 GiB at most.
        length: tokens of prompt and response, at most; None: as many as the model and the cache allow.
        rows: sequences decoded side by side, at most.
        eager: False compiles, which takes half a minute at the start.
        threads: of the server; None: OMP_NUM_THREADS, or all cores.
        patience: seconds a server may make no progress while it has work, before it counts as hung.
        limit: seconds the server may take to start, and to load weights.
        restarts: of the server, at most, in one call.
        progress: called with (samples finished, samples in all).
    Raises:
        ConfigError: a setting out of bounds or one that vLLM would understand otherwise, or no vLLM installed.
        TrainError: the engine does not start, or does not hold the policy's weights.
    Differs: min_p with top_p < 1 is refused: vLLM applies min_p first. Temperatures between 0 and 0.01 are refused:
        vLLM replaces them by 0.01.
    """

    def __init__(
        self,
        policy: Exports,
        *,
        end_ids: Iterable[int],
        temperature: Annotated[float, Bound(ge=0)] = 1.0,
        top_k: Annotated[int, Bound(ge=0)] = 0,
        top_p: Annotated[float, Bound(gt=0, le=1)] = 1.0,
        min_p: Annotated[float, Bound(ge=0, lt=1)] = 0.0,
        mode: str = "inprocess",
        dtype: str = "float32",
        kv_cache_bytes: Annotated[int, Bound(ge=1 << 20)] | None = None,
        length: Annotated[int, Bound(ge=2)] | None = None,
        rows: Annotated[int, Bound(ge=1)] = 256,
        eager: bool = True,
        threads: Annotated[int, Bound(ge=1)] | None = None,
        patience: Annotated[float, Bound(gt=0)] = 60.0,
        limit: Annotated[float, Bound(gt=0)] = 300.0,
        restarts: Annotated[int, Bound(ge=0)] = 3,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.end_ids = tuple(sorted(set(end_ids)))
        if not self.end_ids:
            raise ConfigError("a sampler needs at least one end token", where="end_ids")
        if (
            rows < 1
            or (kv_cache_bytes is not None and kv_cache_bytes < 1)
            or patience <= 0
            or limit <= 0
            or restarts < 0
        ):
            raise ConfigError("rows, kv_cache_bytes, patience and limit must be above 0, restarts not below")
        if mode == "inprocess" and threads is not None:
            raise ConfigError("in this process vLLM uses torch's threads", where="threads", fix="leave it out")
        self.distribution = Distribution(temperature, top_k, top_p, min_p)
        engine_settings.check(self.distribution, mode, dtype)
        self.mode, self.dtype, self.progress = mode, dtype, progress
        self.version = 0
        self.report = VllmReport(0, 0, 0.0, 0, 0)
        # Private to this user: weights lie here, and the server's socket.
        self._store = Path(tempfile.mkdtemp(prefix="hizala-vllm-"))
        weakref.finalize(self, shutil.rmtree, self._store, ignore_errors=True)
        self._engine: Engine | None = None
        try:
            base = self._store / "base"
            policy.export(base, dtype)
            cache = kv_cache_bytes or engine_settings.cache_bytes(policy.config, dtype, rows, length)
            settings = engine_settings.EngineSettings(base, dtype, cache, length, rows, eager)
            if mode == "server":
                self._engine = Server(
                    settings, self._store, threads=threads, patience=patience, limit=limit, restarts=restarts
                )
            else:
                self._engine = InProcess(settings)
            self.synced = self._hand_over(policy, 0)
            # The engine holds them; a server that is started again starts from what `sync` wrote last.
            for weights in base.glob("*.safetensors"):
                weights.unlink()
        except BaseException:
            self.close()
            raise

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, max_tokens: int, seed: int) -> list[list[Sample]]:
        """n samples for each prompt, in the order of the prompts.

        Args:
            prompts: token ids, at least one each.
            n: samples a prompt, >= 1.
            max_tokens: a response that has not ended after so many tokens, or where the context ends, is cut and
                marked truncated; >= 1.
            seed: >= 0; the same seed gives the same samples.
        Raises:
            ConfigError: n, max_tokens or seed out of bounds, an empty prompt, or one too long for the engine.
            TrainError: the server could not be brought back.
        """
        if n < 1 or max_tokens < 1 or seed < 0:
            raise ConfigError(f"n and max_tokens must be >= 1 and seed >= 0, not {n}, {max_tokens}, {seed}")
        engine = self._live()
        started, restarts = time.perf_counter(), engine.restarts
        requests = requests_of(prompts, max_tokens, engine.length, seed)
        # Again here: the distribution of a sampler may be set between calls.
        engine_settings.check(self.distribution, self.mode, self.dtype)
        asked = engine_settings.sampling(self.distribution, self.end_ids)

        def done(finished: int) -> None:
            if self.progress is not None:
                self.progress(finished * n, len(prompts) * n)

        found = engine.generate(requests, n, asked, done) if requests else {}
        samples = [found[index] for index in range(len(prompts))]
        if self.distribution.greedy:
            samples = [[replace(s, logps=(0.0,) * len(s.ids)) for s in group] for group in samples]
        tokens = sum(len(s.ids) for group in samples for s in group)
        seconds = time.perf_counter() - started
        self.report = VllmReport(tokens, sum(map(len, prompts)), seconds, self.version, engine.restarts - restarts)
        return samples

    def sync(self, policy: Exports, version: int) -> None:
        """Sample from this policy's weights as they stand, and call them `version`; see `synced` for what was found.

        Three things are checked: the engine's digest of what it received is the policy's; each layer, read back,
        computes with it bit for bit; and the engine's log-probs of a fixed sequence are the policy's.

        Raises:
            TrainError: one of them fails: nothing may be sampled from such an engine.
        """
        self.synced = self._hand_over(policy, version)
        self.version = version

    def close(self) -> None:
        """End the engine and remove what was written; harmless when repeated."""
        engine, self._engine = self._engine, None
        try:
            if engine is not None:
                engine.close()
        finally:
            shutil.rmtree(self._store, ignore_errors=True)

    def __enter__(self) -> VllmSampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _live(self) -> Engine:
        if self._engine is None:
            raise TrainError("the sampler was closed", fix="make another one")
        return self._engine

    def _hand_over(self, policy: Exports, version: int) -> SyncReport:
        engine, started = self._live(), time.perf_counter()
        tensors = policy.tensors(self.dtype)
        told = digest(tensors)
        answer = engine.load(tensors, version)
        where = f"weights {version}"
        if answer["digest"] != told:
            raise TrainError("vLLM received other weights than it was sent", where=where)
        if answer["stale"]:
            stale: Collection[str] = answer["stale"]
            raise TrainError(f"vLLM still computes with old weights: {', '.join(list(stale)[:3])}", where=where)
        gap = self._gap(policy, engine)
        coarse = "bfloat16" if "bfloat16" in (self.dtype, policy.facts["dtype"]) else self.dtype
        if not gap <= ARITHMETIC[coarse]:
            raise TrainError(
                f"vLLM's log-probs are {gap:.2g} nats a token from the policy's, more than arithmetic explains",
                where=where,
                fix="vLLM may compute this architecture otherwise (its CPU build does so with experts that were loaded "
                "again); use sampler: local",
            )
        seconds = time.perf_counter() - started
        return SyncReport(version, told, int(answer["compared"]), tuple(answer["unknown"]), gap, seconds)

    def _gap(self, policy: Exports, engine: Engine) -> float:
        """Mean |difference| of log-probs over a fixed sequence of random tokens, nats a token."""
        count = min(PROBE_TOKENS, engine.length - 1)
        ids = np.random.Generator(np.random.Philox(0)).integers(policy.vocab_size, size=count).tolist()
        branch = TokenBranch(ids[1:], [True] * (count - 1))
        training = policy.module.training
        policy.module.eval()
        try:
            with torch.no_grad():
                (tree,) = policy.pack([TokenGroup(ids[:1], (branch,), id="probe")], count)
                ours = policy.logps(tree).tokens.double().cpu()
        finally:
            policy.module.train(training)
        theirs = torch.tensor(engine.probe(ids), dtype=torch.float64)
        return float((ours - theirs).abs().mean())
