"""Real vLLM in this process: the same distribution as the local sampler, and exactly the trainer's weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy.stats import chi2, chi2_contingency

from hizala import world
from hizala.core.distribution import Distribution
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import Policy, load
from hizala.engines.rollout.local import LocalSampler
from hizala.engines.rollout.vllm.digest import digest
from hizala.engines.rollout.vllm.extension import in_use
from hizala.engines.rollout.vllm.inprocess import InProcess
from hizala.engines.rollout.vllm.sampler import VllmSampler
from hizala.errors import ConfigError, TrainError
from hizala.records import Sample, TokenBranch, TokenGroup

pytest.importorskip("vllm", reason="vLLM is not installed")
pytestmark = pytest.mark.real

TRUNCATED = Distribution(temperature=0.7, top_p=0.9)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load(world.model_dir())


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate.load(world.model_dir())


@pytest.fixture(scope="module")
def prompts(template: ChatTemplate) -> list[list[int]]:
    """Questions of the world, most of them cut early, where the model is unsure of the next token."""
    whole = [template.encode_prompt(group) for group in world.resolve("world:prompts?n=8")]
    return [ids[:length] for ids, length in zip(whole, (3, 4, 4, 5, 5, 6, 8, None), strict=True)]


@pytest.fixture(scope="module")
def sampler(policy: Policy, template: ChatTemplate) -> Iterator[VllmSampler]:
    with VllmSampler(policy, end_ids=template.end_ids(), kv_cache_bytes=1 << 26, rows=128) as made:
        yield made


@pytest.fixture
def moved(policy: Policy, sampler: VllmSampler) -> Iterator[Policy]:
    """The policy some way off from what the sampler holds; afterwards both are where they were."""
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    yield policy
    policy.load_state_dict(before)
    sampler.sync(policy, 0)


def trained(policy: Policy, prompt: list[int], samples: list[Sample], distribution: Distribution) -> list[np.ndarray]:
    """What the policy's own forward gives for the samples' tokens."""
    branches = tuple(TokenBranch(s.ids, (True,) * len(s.ids)) for s in samples)
    (tree,) = policy.pack([TokenGroup(prompt, branches)], 1 << 20)
    with torch.no_grad():
        logps = policy.logps(tree, distribution=distribution)
    return [part.numpy() for part in logps.tokens.split(logps.count.tolist())]


def next_token(policy: Policy, prompt: list[int], distribution: Distribution) -> np.ndarray:
    """(V,) exact probabilities of the next token."""
    with policy.decoder(1, len(prompt) + 1) as decoder, torch.no_grad():
        logits = decoder.prefill([prompt])[0].logits
    return distribution.logps(logits[None])[0].double().exp().numpy()


def fit(counts: Counter[int], probabilities: np.ndarray) -> float:
    """p-value of Pearson's chi-square test; tokens expected fewer than five times are one class."""
    draws = counts.total()
    expected = probabilities * draws
    common = np.flatnonzero(expected >= 5)
    seen = np.array([counts[int(i)] for i in common], dtype=float)
    wanted = expected[common]
    if (rest := draws - wanted.sum()) > 1e-6 * draws:
        seen, wanted = np.append(seen, draws - seen.sum()), np.append(wanted, rest)
    # A token that is certain fits when it is always drawn.
    distance = float(((seen - wanted) ** 2 / wanted).sum())
    return float(chi2.sf(distance, len(seen) - 1)) if len(seen) > 1 else float(distance < 1e-9)


def drawn(sampler: VllmSampler | LocalSampler, prompts: list[list[int]], n: int) -> list[Counter[int]]:
    """How often each token came next."""
    found = sampler.sample(prompts, n=n, max_tokens=1, seed=17)
    return [Counter(s.ids[0] for s in samples) for samples in found]


def test_next_tokens_have_the_distribution_of_the_local_sampler(
    sampler: VllmSampler,
    policy: Policy,
    prompts: list[list[int]],
    template: ChatTemplate,
    record_property: Callable[[str, object], None],
) -> None:
    n = 2000
    sampler.distribution = TRUNCATED
    remote = drawn(sampler, prompts, n)
    local = LocalSampler(policy, end_ids=template.end_ids(), temperature=0.7, top_p=0.9)
    here = drawn(local, prompts, n)
    values: dict[str, list[float]] = {"vllm": [], "local": [], "both": []}
    for prompt, theirs, ours in zip(prompts, remote, here, strict=True):
        exact = next_token(policy, prompt, TRUNCATED)
        # Nothing that is cut off is ever drawn.
        assert set(theirs) <= set(np.flatnonzero(exact))
        values["vllm"].append(float(fit(theirs, exact)))
        values["local"].append(float(fit(ours, exact)))
        common = [t for t, p in enumerate(exact) if n * p >= 5]
        if len(common) > 1:
            table = [[counts[t] for t in common] for counts in (theirs, ours)]
            values["both"].append(float(chi2_contingency(table).pvalue))
    record_property("p-values", values)
    assert len(values["both"]) >= 5
    assert min(min(found) for found in values.values()) > 1e-4
    # The test can tell: without the truncation, or at another temperature, it is another distribution.
    for other in (Distribution(temperature=0.7), Distribution(temperature=0.8, top_p=0.9)):
        wrong = [fit(counts, next_token(policy, p, other)) for p, counts in zip(prompts, remote, strict=True)]
        assert min(wrong) < 1e-6


@pytest.mark.parametrize(
    "distribution",
    [TRUNCATED, Distribution(), Distribution(1.3, top_k=20), Distribution(1.1, top_k=30, min_p=0.05)],
    ids=str,
)
def test_log_probs_are_those_the_trainer_computes(
    sampler: VllmSampler,
    policy: Policy,
    prompts: list[list[int]],
    distribution: Distribution,
    record_property: Callable[[str, object], None],
) -> None:
    sampler.distribution = distribution
    gaps = []
    for prompt, samples in zip(prompts, sampler.sample(prompts, n=8, max_tokens=40, seed=3), strict=True):
        for sample, ours in zip(samples, trained(policy, prompt, samples, distribution), strict=True):
            gaps.append(np.abs(np.array(sample.logps) - ours))
    gap = np.concatenate(gaps)
    record_property("gap", {"mean": float(gap.mean()), "max": float(gap.max()), "tokens": len(gap)})
    assert len(gap) > 500
    assert gap.mean() < 1e-5
    assert gap.max() < 1e-3


def test_greedy_samples_are_the_local_ones_and_certain(
    sampler: VllmSampler, policy: Policy, prompts: list[list[int]], template: ChatTemplate
) -> None:
    sampler.distribution = Distribution(temperature=0)
    remote = sampler.sample(prompts, n=1, max_tokens=24, seed=0)
    local = LocalSampler(policy, end_ids=template.end_ids(), temperature=0).sample(prompts, n=1, max_tokens=24, seed=0)
    assert remote == local
    assert {x for (sample,) in remote for x in sample.logps} == {0.0}


def test_a_sample_depends_on_its_seed_and_prompt_alone(sampler: VllmSampler, prompts: list[list[int]]) -> None:
    sampler.distribution = Distribution()
    first = sampler.sample(prompts, n=4, max_tokens=12, seed=5)
    turned = sampler.sample(prompts[::-1], n=4, max_tokens=12, seed=5)[::-1]
    assert [[s.ids for s in group] for group in first] == [[s.ids for s in group] for group in turned]
    fewer = sampler.sample(prompts[2:3], n=2, max_tokens=12, seed=5)
    assert [s.ids for s in fewer[0]] == [s.ids for s in first[2][:2]]
    assert sampler.sample(prompts, n=4, max_tokens=12, seed=6) != first
    # A prompt that stands in the list twice is two questions.
    twice = sampler.sample([prompts[0], prompts[0]], n=4, max_tokens=12, seed=5)
    assert twice[0] != twice[1]
    assert len({s.ids for group in first for s in group}) > 12


def test_responses_end_at_our_end_tokens_and_at_the_limits(
    sampler: VllmSampler, prompts: list[list[int]], template: ChatTemplate
) -> None:
    sampler.distribution = Distribution()
    ends = set(template.end_ids())
    found = [s for group in sampler.sample(prompts, n=8, max_tokens=30, seed=1) for s in group]
    assert {s.truncated for s in found} == {True, False}
    for sample in found:
        assert len(sample.ids) == len(sample.logps) <= 30
        assert (sample.ids[-1] in ends) is not sample.truncated
        assert not ends & set(sample.ids[:-1])
        assert sample.truncated is (len(sample.ids) == 30 and sample.ids[-1] not in ends)
    # The end token of the model's config is one token among others where it is not ours.
    kept, sampler.end_ids = sampler.end_ids, (found[0].ids[0],)
    try:
        other = [s for group in sampler.sample(prompts, n=8, max_tokens=30, seed=1) for s in group]
    finally:
        sampler.end_ids = kept
    assert any(ends & set(s.ids[:-1]) for s in other)


def test_the_context_bounds_a_response(policy: Policy, sampler: VllmSampler, template: ChatTemplate) -> None:
    length = policy.context_length or 0
    sampler.distribution = Distribution()
    (sample,) = sampler.sample([[40] * (length - 3)], n=1, max_tokens=50, seed=0)[0]
    assert len(sample.ids) <= 3


def test_weights_handed_over_are_in_use_in_every_layer(
    sampler: VllmSampler, moved: Policy, prompts: list[list[int]]
) -> None:
    """Also with a long prompt cached under the old weights."""
    sampler.distribution = TRUNCATED
    long = (prompts[0] + prompts[1] + prompts[2]) * 4
    before = sampler.sample([long], n=2, max_tokens=8, seed=0)
    old = sampler.synced.digest
    sampler.sync(moved, 7)
    assert sampler.version == sampler.synced.version == 7
    assert sampler.synced.digest == digest(moved.tensors("float32")) != old
    assert sampler.synced.unknown == ()
    assert sampler.synced.compared == 4 * 8 + 3
    assert sampler.synced.gap < 1e-4
    samples = sampler.sample([long], n=2, max_tokens=8, seed=0)[0]
    assert sampler.report.version == 7
    for sample, ours in zip(samples, trained(moved, long, samples, TRUNCATED), strict=True):
        np.testing.assert_allclose(sample.logps, ours, atol=1e-3)
    assert samples != before[0]


def test_an_output_layer_tied_to_the_embedding_is_packed_again(sampler: VllmSampler, moved: Policy) -> None:
    """vLLM's own reload leaves it with the old weights, and log-probs that are wrong without a word."""
    engine = sampler._engine
    assert isinstance(engine, InProcess)
    tensors = moved.tensors("float32")
    model = engine._llm.llm_engine.model_executor.driver_worker.worker.get_model()
    with engine._running():
        engine._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(tensors.items())})
        engine._llm.reset_prefix_cache()
    found = in_use(model, tensors)
    assert found["stale"] == ["lm_head"]
    assert sampler._gap(moved, engine) > 0.05
    with engine._running():
        answer = engine._llm.collective_rpc("hizala_load", args=(tensors, 8))[0]
        engine._llm.reset_prefix_cache()
    assert answer["stale"] == []
    assert sampler._gap(moved, engine) < 1e-4


def test_weights_that_are_not_in_use_are_refused(
    sampler: VllmSampler, policy: Policy, moved: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hizala.engines.rollout.vllm import extension

    monkeypatch.setattr(extension, "repack_vocabulary", lambda model: None)
    with pytest.raises(TrainError, match="old weights: lm_head"):
        sampler.sync(moved, 9)
    monkeypatch.undo()
    monkeypatch.setattr(moved, "tensors", lambda dtype: load(world.model_dir()).tensors(dtype))
    with pytest.raises(TrainError, match="nats a token from the policy"):
        sampler.sync(moved, 9)
    monkeypatch.undo()
    sampler.sync(moved, 9)
    assert sampler.version == 9


def test_a_trainer_in_the_same_process_sees_nothing_of_it(
    sampler: VllmSampler, policy: Policy, prompts: list[list[int]]
) -> None:
    set_threads, threads = torch.set_num_threads, torch.get_num_threads()
    state, numbers = torch.get_rng_state(), np.random.get_state(legacy=True)
    sampler.sample(prompts, n=2, max_tokens=4, seed=0)
    sampler.sync(policy, sampler.version)
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state(legacy=True)) == str(numbers)
    assert torch.set_num_threads is set_threads
    assert torch.set_num_threads.__module__ != "vllm.v1.worker.cpu_worker"
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_it_stays_in_its_thread_and_alone(sampler: VllmSampler, policy: Policy, prompts: list[list[int]]) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(sampler.sample, prompts, n=1, max_tokens=1, seed=0)
        with pytest.raises(ConfigError, match="samples in one thread"):
            asked.result()
    with pytest.raises(ConfigError, match="already belongs to a group"):
        VllmSampler(policy, end_ids=[0])
    sampler.sample(prompts, n=1, max_tokens=1, seed=0)


def test_more_prompts_than_fit_into_one_batch_are_sampled_all_the_same(
    sampler: VllmSampler, policy: Policy, prompts: list[list[int]]
) -> None:
    """Where a prompt is computed in parts, a request with a seed ends vLLM's CPU engine."""
    sampler.distribution = Distribution()
    many = [[*prompts[0], *([40 + index] * 150)] for index in range(96)]
    samples = sampler.sample(many, n=1, max_tokens=2, seed=0)
    assert sampler.report.prompt_tokens > 2 * 4096
    for prompt, group in zip(many, samples, strict=True):
        np.testing.assert_allclose(
            np.concatenate([s.logps for s in group]),
            np.concatenate(trained(policy, prompt, group, Distribution())),
            atol=1e-3,
        )
