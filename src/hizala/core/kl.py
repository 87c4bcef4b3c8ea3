"""Estimators of the Kullback-Leibler divergence from log-probs, and the controller that steers its price."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Above this many nats an exponential goes on as its tangent: squared gradients stay finite in float32.
STEEPEST = 30.0


def steep_exp(x: Tensor) -> Tensor:
    """exp(x), straight on from x = STEEPEST at the slope it has there: finite, with a finite slope, in float32.

    exp(x) for x <= c;  exp(c) * (1 + x - c) above,  c = STEEPEST

    Args:
        x: nats, any shape.
    Returns:
        The same shape, >= 0.
    """
    inside = x.clamp(max=STEEPEST)
    return inside.exp() * (1 + (x - inside))


def k1(policy: Tensor, reference: Tensor) -> Tensor:
    """Log-ratio at each token: the plain single-sample estimate of KL(policy || reference).

    k1 = log pi - log ref

    Args:
        policy, reference: (N,) nats, log-probs of the same tokens.
    Returns:
        (N,) nats, of either sign. Unbiased where the tokens were sampled from `policy`, with the largest variance of
        the three near agreement. As a loss it teaches nothing: its expected gradient is 0.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, estimator k1.
    """
    return policy - reference


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


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """Non-negative single-sample estimate of KL(policy || reference) at each token.

    k3 = exp(d) - d - 1,  d = log ref - log pi

    Args:
        policy, reference: (N,) nats, log-probs of the same tokens.
    Returns:
        (N,) nats, >= 0. Unbiased where the tokens were sampled from `policy`; on tokens of a data set it measures
        how far the two have moved apart there, not the KL. Above d = STEEPEST the exponential goes on as its tangent.
    Source: Schulman 2020, "Approximating KL Divergence", joschu.net/blog/kl-approx.html, estimator k3.
    Differs: OpenRLHF and verl clamp the result to 10 nats, which stops its gradient there; TRL 1.16 lets it overflow.
    """
    d = reference - policy
    inside = d.clamp(max=STEEPEST)
    return torch.expm1(inside) + inside.exp() * (d - inside) - d


ESTIMATORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def adapted(beta: float, kl: float, *, target: float, rate: float = 0.1) -> float:
    """The price of KL after a step at which `kl` was measured: raised above the target, lowered below it.

    e = clip((kl - target) / target, -0.2, 0.2);  beta' = beta * (1 + rate * e)

    Args:
        beta: >= 0, price in units of reward a nat. The controller has no other state.
        kl: measured divergence of a step, nats (in the unit of `target`: a response, or a token).
        target: > 0, nats that the policy may be away from its reference.
        rate: > 0, the paper's K_beta.
    Returns:
        The next step's price.
    Source: Ziegler et al. 2019, arXiv:1909.08593, sec. 2.2.
    Differs: OpenRLHF and verl write rate as samples / horizon (10,000); the authors' code does so too.
    """
    error = min(max((kl - target) / target, -0.2), 0.2)
    return beta * (1 + rate * error)
