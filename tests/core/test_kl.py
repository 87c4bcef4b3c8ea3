"""The estimator of the divergence."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hizala.core.kl import k3


@given(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0)), min_size=1, max_size=20))
def test_estimate_is_never_negative_and_zero_only_where_they_agree(pairs: list[tuple[float, float]]) -> None:
    policy, reference = torch.tensor(pairs, dtype=torch.float64).T
    estimate = k3(policy, reference)
    assert bool((estimate >= 0).all())
    assert bool((estimate[policy == reference] == 0).all())


def test_mean_over_the_policy_is_the_exact_divergence() -> None:
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.ones(7)), generator.dirichlet(np.ones(7))
    exact = float((p * np.log(p / q)).sum())
    estimate = k3(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))).numpy()
    assert abs(float((p * estimate).sum()) - exact) < 1e-12
