"""Estimators of the Kullback-Leibler divergence from log-probs."""

from __future__ import annotations

import torch
from torch import Tensor


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """Non-negative single-sample estimate of KL(policy || reference) at each token.

    k3 = exp(d) - d - 1,  d = log ref - log pi

    Args:
        policy, reference: (N,) nats, log-probs of the same tokens.
    Returns:
        (N,) nats, >= 0. Unbiased where the tokens were sampled from `policy`; on tokens of a data set it measures
        how far the two have moved apart there, not the KL.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, estimator k3.
    """
    d = reference - policy
    return torch.expm1(d) - d


def k2(policy: Tensor, reference: Tensor) -> Tensor:
    """Squared log-ratio at each token: a low-variance, second-order estimate of KL(policy || reference).

    k2 = (log pi - log ref)^2 / 2

    Args:
        policy, reference: (N,) nats, log-probs of the same tokens.
    Returns:
        (N,) nats, >= 0. Biased: its mean over the policy's own tokens differs from the KL in the third order of the
        log-ratio. On tokens of a data set it measures how far the two have moved apart there.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, estimator k2.
    """
    return (policy - reference).square() / 2
