"""The sampler's bookkeeping, on a small recurrent network: every row's logits depend on its whole history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from hizala.core.distribution import Distribution
from hizala.engines.rollout.local import LocalSampler
from hizala.errors import ConfigError

VOCAB, END = 13, 12


@dataclass
class State:
    state: Tensor
    logits: Tensor


class Recurrent:
    """h' = tanh(A h + E[token]), logits = U h / 2. Decodes, and computes whole sequences in the plain way."""

    def __init__(self, context_length: int | None = None) -> None:
        self.context_length = context_length
        generator = torch.Generator().manual_seed(0)
        self.a, self.e, self.u = (
            torch.randn(*size, generator=generator) for size in ((16, 16), (VOCAB, 16), (16, VOCAB))
        )
        self.u = self.u / 2
        self.prefilled: list[int] = []
        self.widths: list[int] = []

    def forward(self, ids: Sequence[int]) -> Tensor:
        """(len(ids), VOCAB) logits after each token."""
        h, out = torch.zeros(16), []
        for token in ids:
            h = torch.tanh(h @ self.a * 0.4 + self.e[token])
            out.append(h @ self.u)
        return torch.stack(out)

    def room(self, length: int, limit: int) -> int:
        return limit // (16 * 4)

    @contextmanager
    def decoder(self, rows: int, length: int, dtype: str) -> Iterator[RecurrentDecoder]:
        yield RecurrentDecoder(self, rows, length)


class RecurrentDecoder:
    def __init__(self, model: Recurrent, rows: int, length: int) -> None:
        self.model, self.rows, self.length = model, rows, length
        self.h, self.held = torch.zeros(rows, 16), torch.zeros(rows, dtype=torch.int64)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[State]:
        self.model.prefilled += [len(p) for p in prompts]
        out = []
        for prompt in prompts:
            h = torch.zeros(16)
            for token in prompt:
                h = torch.tanh(h @ self.model.a * 0.4 + self.model.e[token])
            out.append(State(torch.cat([h, torch.tensor([float(len(prompt))])]), h @ self.model.u))
        return out

    def load(self, prefix: State, row: int) -> None:
        self.h[row], self.held[row] = prefix.state[:16], int(prefix.state[16])

    def move(self, source: int, target: int) -> None:
        self.h[target], self.held[target] = self.h[source], self.held[source]

    def step(self, tokens: Tensor, positions: Tensor) -> Tensor:
        live = len(tokens)
        assert torch.equal(positions, self.held[:live]), "a position is not the number of tokens the row holds"
        assert int(positions.max()) < self.length
        self.model.widths.append(live)
        self.h[:live] = torch.tanh(self.h[:live] @ self.model.a * 0.4 + self.model.e[tokens])
        self.held[:live] += 1
        return self.h[:live] @ self.model.u


PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 1], [2, 2], [4], [10, 11]]


def test_greedy_samples_are_the_step_by_step_argmax_of_whole_forwards():
    model = Recurrent()
    got = LocalSampler(model, end_ids=[END], temperature=0, rows=3).sample(PROMPTS, n=1, max_tokens=9, seed=0)
    for prompt, (sample,) in zip(PROMPTS, got, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 9 and (len(ids) == len(prompt) or ids[-1] != END):
            ids.append(int(model.forward(ids)[-1].argmax()))
        assert list(sample.ids) == ids[len(prompt) :]
        assert sample.truncated == (ids[-1] != END)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6}, {"temperature": 1.3, "top_k": 6, "top_p": 0.9}])
def test_reported_log_probs_are_those_of_the_whole_forward(settings):
    model = Recurrent()
    got = LocalSampler(model, end_ids=[END], rows=4, **settings).sample(PROMPTS, n=5, max_tokens=12, seed=3)
    for prompt, samples in zip(PROMPTS, got, strict=True):
        for sample in samples:
            whole = Distribution(**settings).logps(model.forward([*prompt, *sample.ids])[len(prompt) - 1 : -1])
            expected = whole[torch.arange(len(sample.ids)), torch.tensor(sample.ids)]
            np.testing.assert_allclose(sample.logps, expected.numpy(), atol=1e-5)


def test_samples_end_at_an_end_token_or_are_marked_truncated():
    got = LocalSampler(Recurrent(), end_ids=[END, 3]).sample(PROMPTS, n=40, max_tokens=6, seed=1)
    samples = [s for row in got for s in row]
    assert {s.truncated for s in samples} == {True, False}
    for s in samples:
        assert not set(s.ids[:-1]) & {END, 3}
        assert len(s.ids) == len(s.logps)
        if s.truncated:
            assert len(s.ids) == 6
            assert s.ids[-1] not in (END, 3)
        else:
            assert s.ids[-1] in (END, 3)


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_samples_do_not_depend_on_how_many_rows_are_decoded_side_by_side(rows):
    whole = LocalSampler(Recurrent(), end_ids=[END], rows=30).sample(PROMPTS, n=5, max_tokens=12, seed=3)
    other = LocalSampler(Recurrent(), end_ids=[END], rows=rows).sample(PROMPTS, n=5, max_tokens=12, seed=3)
    assert [[s.ids for s in r] for r in whole] == [[s.ids for s in r] for r in other]


def test_samples_do_not_depend_on_the_order_of_the_prompts():
    order = [3, 0, 2, 5, 1]
    whole = LocalSampler(Recurrent(), end_ids=[END]).sample(PROMPTS, n=3, max_tokens=12, seed=3)
    other = LocalSampler(Recurrent(), end_ids=[END]).sample([PROMPTS[i] for i in order], n=3, max_tokens=12, seed=3)
    assert [[s.ids for s in whole[i]] for i in order] == [[s.ids for s in r] for r in other]


def test_another_seed_gives_other_samples_and_the_same_seed_the_same():
    draw = lambda seed: LocalSampler(Recurrent(), end_ids=[END]).sample(PROMPTS, n=4, max_tokens=12, seed=seed)  # noqa: E731
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_samples_of_a_prompt_and_of_its_repetition_differ():
    got = LocalSampler(Recurrent(), end_ids=[END]).sample([[4, 5]] * 2, n=6, max_tokens=12, seed=0)
    assert {s.ids for s in got[0]} != {s.ids for s in got[1]}


def test_first_tokens_follow_the_model_over_many_samples():
    model = Recurrent()
    got = LocalSampler(model, end_ids=[END], rows=512).sample([[1, 2]], n=8000, max_tokens=1, seed=5)[0]
    expected = 8000 * model.forward([1, 2])[-1].softmax(0).double().numpy()
    seen = np.bincount([s.ids[0] for s in got], minlength=VOCAB)
    assert ((seen - expected) ** 2 / expected).sum() < VOCAB + 6 * np.sqrt(2 * VOCAB)


def test_a_prompt_is_computed_once_and_finished_rows_are_refilled():
    model = Recurrent()
    sampler = LocalSampler(model, end_ids=[END], rows=4)
    sampler.sample(PROMPTS, n=10, max_tokens=12, seed=3)
    assert sorted(model.prefilled) == sorted(map(len, PROMPTS))
    # Until the queue is empty no row stands idle, so the pool narrows only at the end.
    assert model.widths == sorted(model.widths, reverse=True)
    assert max(model.widths) == 4
    assert sampler.report.steps == len(model.widths)


def test_memory_bounds_the_rows():
    model = Recurrent()
    LocalSampler(model, end_ids=[END], cache_bytes=2 * 16 * 4).sample(PROMPTS, n=3, max_tokens=12, seed=3)
    assert max(model.widths) == 2


def test_progress_counts_up_to_all_samples():
    seen: list[tuple[int, int]] = []
    sampler = LocalSampler(Recurrent(), end_ids=[END], rows=4, progress=lambda *x: seen.append(x))
    sampler.sample(PROMPTS, n=3, max_tokens=12, seed=3)
    assert seen[0][0] < seen[-1][0]
    assert seen == sorted(seen)
    assert seen[-1] == (18, 18)


def test_the_report_counts_the_tokens():
    sampler = LocalSampler(Recurrent(), end_ids=[END])
    got = sampler.sample(PROMPTS, n=3, max_tokens=12, seed=3)
    assert sampler.report.tokens == sum(len(s.ids) for row in got for s in row)
    assert sampler.report.prompt_tokens == sum(map(len, PROMPTS))
    assert sampler.report.tokens_per_second > 0


def test_responses_are_cut_where_the_model_s_context_ends():
    model = Recurrent(context_length=8)
    got = LocalSampler(model, end_ids=[99], rows=4).sample(PROMPTS, n=2, max_tokens=6, seed=3)
    for prompt, samples in zip(PROMPTS, got, strict=True):
        assert [len(s.ids) for s in samples] == [min(6, 8 - len(prompt))] * 2
        assert all(s.truncated for s in samples)


def test_a_prompt_that_fills_the_context_is_refused():
    with pytest.raises(ConfigError, match="a prompt of 6 tokens leaves no room in the model's context of 6"):
        LocalSampler(Recurrent(context_length=6), end_ids=[END]).sample(PROMPTS, n=1, max_tokens=6, seed=3)


def test_no_prompts_give_no_samples():
    assert LocalSampler(Recurrent(), end_ids=[END]).sample([], n=3, max_tokens=12, seed=3) == []


@pytest.mark.parametrize("wrong", [{"n": 0}, {"max_tokens": 0}, {"seed": -1}, {"prompts": [[1], []]}])
def test_impossible_requests_are_refused(wrong):
    asked = {"prompts": PROMPTS, "n": 1, "max_tokens": 2, "seed": 0} | wrong
    with pytest.raises(ConfigError):
        LocalSampler(Recurrent(), end_ids=[END]).sample(asked.pop("prompts"), **asked)


@pytest.mark.parametrize("wrong", [{"end_ids": []}, {"rows": 0}, {"temperature": -1}])
def test_impossible_samplers_are_refused(wrong):
    with pytest.raises(ConfigError):
        LocalSampler(Recurrent(), **({"end_ids": [END]} | wrong))
