"""At unchanged weights the trainer gives every sampled token the log-prob the sampler reported, truncation included."""

from __future__ import annotations

import numpy as np
import pytest

from hizala import world
from hizala.core.distribution import Distribution
from hizala.engines.policy import load
from hizala.engines.rollout.local import LocalSampler
from hizala.engines.train.measuring import measure, measure_all
from hizala.records import TokenBranch, TokenGroup

PROMPTS = [[7, 40, 12, 9, 300], [3, 3, 60], [100, 200, 300, 400, 500, 600, 700], [15]]


@pytest.fixture(scope="module")
def policy():
    return load(world.model_dir())


def rollouts(policy, **settings):
    """Groups as they are trained on, the log-probs the sampler reported, and the distribution it drew from."""
    sampler = LocalSampler(policy, end_ids=[2], **settings)
    groups, reported = [], []
    for index, samples in enumerate(sampler.sample(PROMPTS, n=6, max_tokens=40, seed=11)):
        branches = tuple(TokenBranch(list(s.ids), [True] * len(s.ids)) for s in samples)
        groups.append(TokenGroup(PROMPTS[index], branches, id=str(index)))
        reported.append(np.array([x for s in samples for x in s.logps]))
    return groups, np.concatenate(reported), sampler.distribution


@pytest.mark.parametrize(
    "settings",
    [
        {"top_p": 0.8},
        {"temperature": 0.7, "top_p": 0.9},
        {"top_k": 20},
        {"temperature": 1.2, "top_k": 50, "min_p": 0.05},
    ],
)
def test_importance_ratios_are_one_and_would_not_be_without_the_truncation(policy, settings):
    groups, reported, distribution = rollouts(policy, **settings)
    assert len(reported) > 500
    right = np.concatenate(measure(policy, groups, 4096, distribution=distribution))
    assert np.abs(np.exp(right - reported) - 1).max() < 1e-4
    # Tempered but not truncated, as if the sampler had drawn from all tokens: what it drew seems less likely.
    wrong = Distribution(temperature=distribution.temperature)
    ratios = np.exp(np.concatenate(measure(policy, groups, 4096, distribution=wrong)) - reported)
    assert (ratios < 1 + 1e-4).all()
    assert ratios.mean() < 0.97


def test_no_sampled_token_falls_outside_and_others_do(policy):
    groups, _, distribution = rollouts(policy, top_p=0.8)
    names = ("policy", "outside")
    found = measure_all(policy, groups, names, 4096, distribution=distribution)
    assert not np.concatenate(found["outside"]).any()
    plain, _, _ = rollouts(policy)
    found = measure_all(policy, plain, names, 4096, distribution=distribution)
    outside = np.concatenate(found["outside"])
    # Drawn from all tokens, about a fifth lies outside of what holds 80 %.
    assert 0.08 < outside.mean() < 0.25
    assert np.isfinite(np.concatenate(found["policy"])).all()
