"""The estimator of the divergence."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hizala.core.kl import k2, k3


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


def test_the_squared_log_ratio_agrees_with_the_divergence_to_second_order() -> None:
    generator = np.random.default_rng(1)
    p, direction = generator.dirichlet(np.ones(9)), generator.normal(size=9)
    errors = []
    for step in (1e-2, 1e-3):
        q = p * np.exp(step * direction)
        q /= q.sum()
        exact = float((p * np.log(p / q)).sum())
        estimate = k2(torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))).numpy()
        errors.append(abs(float((p * estimate).sum()) - exact) / exact)
    assert errors[0] < 2e-2
    assert errors[1] < errors[0] / 5, "the relative error falls with the distance"


def test_the_squared_log_ratio_stays_tame_where_the_policy_avoids_a_token() -> None:
    policy, reference = torch.tensor([-12.0]), torch.tensor([-2.0])
    assert float(k2(policy, reference)) == 50.0
    assert float(k3(policy, reference)) > 2e4
