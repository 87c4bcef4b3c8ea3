"""Generation in this process: prompts prefilled once, a static pool of rows, finished rows refilled at once."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from hizala.core.distribution import Distribution
from hizala.errors import ConfigError
from hizala.records import Sample
from hizala.registry import Bound


class Prefix(Protocol):
    """The state after one prompt. `logits` (V,) are those of the token that follows it."""

    logits: Tensor


class Decoder(Protocol):
    """A pool of `rows` rows that each continue a prefix, at most `length` tokens long in all.

    Live rows stand at 0 … A-1; the caller keeps them so with `move`.
    """

    rows: int
    length: int

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Sequence[Prefix]:
        """The state after each prompt, computed once however many rows will continue it."""

    def load(self, prefix: Prefix, row: int) -> None:
        """Let a row continue a prefix."""

    def move(self, source: int, target: int) -> None:
        """Let row `target` be what row `source` is."""

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Append one token to each of the first A rows.

        Args:
            tokens: (A,) int64.
            positions: (A,) int64, tokens the row held before.
        Returns:
            (A, V) logits of the token after it.
        """


class Decodable(Protocol):
    """A policy that can generate."""

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and response the model was made for; None where it names no bound."""

    def room(self, length: int, limit: int) -> int:
        """How many rows of `length` tokens fit into `limit` bytes of state; at least 1."""

    def decoder(self, rows: int, length: int, dtype: str) -> AbstractContextManager[Decoder]:
        """A decoder in this dtype for the weights as they stand; while it is open the policy is not trained."""


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What one call of `sample` did: tokens generated, prompt tokens computed, decode steps, seconds."""

    tokens: int
    prompt_tokens: int
    steps: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


@dataclass(slots=True)
class _Request:
    """One prompt still in work: its state is dropped when the last of its n rows has taken it.

    A response to it has at most `most` tokens; `entropy` seeds its random numbers.
    """

    index: int
    prompt: Sequence[int]
    most: int
    entropy: tuple[int, ...]
    taken: int = 0


class LocalSampler:
    """Samples from a policy in this process. See `protocols.Sampler`.

    Every sample has random numbers of its own, derived from the seed, the prompt's tokens and the sample's number, so
    a sample does not depend on which rows it was decoded with or where its prompt stands in the list (up to the last
    bits of the arithmetic). Two models asked with one seed draw with the same numbers.

    Args:
        policy: what can generate, see `Decodable`.
        end_ids: tokens that end a response; the end token is kept and its log-prob counts.
        temperature, top_k, top_p, min_p: see `Distribution`. Reported log-probs are of that distribution: at
            temperature 0 it has one token, whose log-prob is 0.
        dtype: what decoding computes in. bfloat16 is faster; log-probs are then those of a bfloat16 forward, which the
            trainer's differ from by its rounding.
        rows: rows decoded side by side, at most.
        cache_bytes: memory for the rows' states; fewer rows where they would not fit.
        progress: called with (samples finished, samples in all).
    Raises:
        ConfigError: a setting out of bounds, or no end token.
    """

    def __init__(
        self,
        policy: Decodable,
        *,
        end_ids: Iterable[int],
        temperature: Annotated[float, Bound(ge=0)] = 1.0,
        top_k: Annotated[int, Bound(ge=0)] = 0,
        top_p: Annotated[float, Bound(gt=0, le=1)] = 1.0,
        min_p: Annotated[float, Bound(ge=0, lt=1)] = 0.0,
        dtype: Literal["float32", "bfloat16"] = "float32",
        rows: Annotated[int, Bound(ge=1)] = 256,
        cache_bytes: Annotated[int, Bound(ge=1)] = 1 << 30,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.policy = policy
        self.end_ids = tuple(sorted(set(end_ids)))
        self.distribution = Distribution(temperature, top_k, top_p, min_p)
        self.dtype, self.rows, self.cache_bytes, self.progress = dtype, rows, cache_bytes, progress
        self.report = SampleReport(0, 0, 0, 0.0)
        self.version = 0
        if not self.end_ids:
            raise ConfigError("a sampler needs at least one end token", where="end_ids")
        if rows < 1 or cache_bytes < 1:
            raise ConfigError("rows and cache_bytes must be at least 1", where="rows")

    def sync(self, policy: Decodable, version: int) -> None:
        """Sample from this policy, whose weights are read where they stand at each call."""
        self.policy, self.version = policy, version

    def close(self) -> None:
        """Nothing is held between calls."""

    @torch.inference_mode()
    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, max_tokens: int, seed: int) -> list[list[Sample]]:
        """n samples for each prompt, in the order of the prompts.

        Args:
            prompts: token ids, at least one each.
            n: samples a prompt, >= 1.
            max_tokens: a response that has not ended after so many tokens, or where the model's context ends, is cut
                and marked truncated; >= 1.
            seed: >= 0; the same seed gives the same samples.
        Raises:
            ConfigError: n, max_tokens or seed out of bounds, an empty prompt, or one too long for the model.
        """
        if n < 1 or max_tokens < 1 or seed < 0:
            raise ConfigError(f"n and max_tokens must be >= 1 and seed >= 0, not {n}, {max_tokens}, {seed}")
        if any(len(prompt) == 0 for prompt in prompts):
            raise ConfigError("a prompt has no tokens")
        if not prompts:
            return []
        started = time.perf_counter()
        requests = _requests(prompts, max_tokens, self.policy.context_length, seed)
        length = max(len(r.prompt) + r.most for r in requests)
        rows = min(self.rows, len(prompts) * n, max(1, self.policy.room(length, self.cache_bytes)))
        with self.policy.decoder(rows, length, self.dtype) as decoder:
            work = _Work(self, decoder, requests, n, max_tokens)
            for done in work.run():
                if self.progress is not None:
                    self.progress(done, len(prompts) * n)
        tokens = sum(len(s.ids) for samples in work.samples for s in samples)
        seconds = time.perf_counter() - started
        self.report = SampleReport(tokens, sum(len(p) for p in prompts), work.steps, seconds)
        return work.samples


def _requests(prompts: Sequence[Sequence[int]], max_tokens: int, context: int | None, seed: int) -> list[_Request]:
    """The prompts by falling length: rows decoded side by side are then of like length."""
    seen: Counter[bytes] = Counter()
    requests = []
    for index, prompt in enumerate(prompts):
        room = max_tokens if context is None else min(max_tokens, context - len(prompt))
        if room < 1:
            raise ConfigError(
                f"a prompt of {len(prompt)} tokens leaves no room in the model's context of {context}",
                where=f"prompt {index}",
                fix="leave the prompt out or shorten it",
            )
        digest = sha256(np.asarray(prompt, dtype=np.int64).tobytes()).digest()
        # A prompt that stands in the list again draws other numbers than before.
        entropy = (seed, int.from_bytes(digest[:16], "little"), seen[digest])
        seen[digest] += 1
        requests.append(_Request(index, prompt, room, entropy))
    return sorted(requests, key=lambda r: -len(r.prompt))


class _Work:
    """One call of `sample`: the queue, the pool of live rows and what they have generated."""

    PREFILL_TOKENS = 8192  # prompt tokens computed ahead in one batch

    def __init__(
        self, sampler: LocalSampler, decoder: Decoder, requests: list[_Request], n: int, max_tokens: int
    ) -> None:
        self.distribution, self.decoder, self.n, self.max_tokens = sampler.distribution, decoder, n, max_tokens
        self.waiting = deque(requests)
        self.ready: deque[tuple[_Request, Prefix]] = deque()
        self.samples: list[list[Sample]] = [[Sample((), (), False)] * n for _ in requests]
        self.done = self.steps = self.live = 0
        rows = decoder.rows
        self.owner: list[tuple[int, int]] = [(0, 0)] * rows
        self.ids = torch.zeros(rows, max_tokens, dtype=torch.int64)
        self.logps = torch.zeros(rows, max_tokens)
        self.uniforms = torch.zeros(rows, max_tokens, dtype=torch.float64)
        self.count = torch.zeros(rows, dtype=torch.int64)
        self.most = torch.zeros(rows, dtype=torch.int64)
        self.prompt_length = torch.zeros(rows, dtype=torch.int64)
        self.ends = torch.tensor(sampler.end_ids)

    def run(self) -> Iterator[int]:
        """Decode until every sample is finished; yields how many are, after each step that finished some."""
        before = -1
        while True:
            self._admit()
            if self.done != before:
                before = self.done
                yield self.done
            if self.live == 0:
                return
            rows = torch.arange(self.live)
            last = self.ids[rows, self.count[: self.live] - 1]
            positions = self.prompt_length[: self.live] + self.count[: self.live] - 1
            logits = self.decoder.step(last, positions)
            self.steps += 1
            self._extend(rows, logits)

    def _admit(self) -> None:
        """Fill the free rows; each new row draws its first token from its prefix and may end with it at once."""
        while self.live < self.decoder.rows and (self.ready or self.waiting):
            first = self.live
            logits = []
            while self.live < self.decoder.rows and (self.ready or self.waiting):
                if not self.ready:
                    self._prefill()
                request, prefix = self.ready[0]
                self._load(request, prefix)
                logits.append(prefix.logits)
                if request.taken == self.n:
                    self.ready.popleft()
            self._extend(torch.arange(first, self.live), torch.stack(logits))

    def _prefill(self) -> None:
        # No more than the pool itself holds, so that what waits to be loaded at most doubles the memory.
        bound = min(self.PREFILL_TOKENS, self.decoder.rows * self.decoder.length)
        batch = [self.waiting.popleft()]
        while self.waiting and (len(batch) + 1) * len(batch[0].prompt) <= bound:
            batch.append(self.waiting.popleft())
        self.ready.extend(zip(batch, self.decoder.prefill([r.prompt for r in batch]), strict=True))

    def _load(self, request: _Request, prefix: Prefix) -> None:
        row = self.live
        self.decoder.load(prefix, row)
        self.owner[row] = (request.index, request.taken)
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((*request.entropy, request.taken))))
        self.uniforms[row] = torch.from_numpy(random.random(self.max_tokens))
        self.count[row] = 0
        self.most[row] = request.most
        self.prompt_length[row] = len(request.prompt)
        request.taken += 1
        self.live += 1

    def _extend(self, rows: Tensor, logits: Tensor) -> None:
        """Draw the next token of these rows and retire those that end."""
        count = self.count[rows]
        uniforms = self.uniforms[rows, count].to(logits.device)
        drawn, logps = self.distribution.draw(logits, uniforms)
        tokens = drawn.cpu()
        self.ids[rows, count] = tokens
        self.logps[rows, count] = logps.cpu()
        self.count[rows] = count + 1
        ended = torch.isin(tokens, self.ends)
        finished = ended | (count + 1 == self.most[rows])
        if finished.any():
            which = finished.nonzero()[:, 0]
            # From the last row down, so that the row moved into a hole is never one that is to be retired.
            for row, whole in reversed(list(zip(rows[which].tolist(), ended[which].tolist(), strict=True))):
                self._retire(row, truncated=not whole)

    def _retire(self, row: int, *, truncated: bool) -> None:
        index, number = self.owner[row]
        count = int(self.count[row])
        self.samples[index][number] = Sample(
            tuple(self.ids[row, :count].tolist()), tuple(self.logps[row, :count].tolist()), truncated
        )
        self.done += 1
        self.live -= 1
        if row != self.live:
            self.decoder.move(self.live, row)
            self.owner[row] = self.owner[self.live]
            for column in (self.ids, self.logps, self.uniforms, self.count, self.most, self.prompt_length):
                column[row] = column[self.live]
