"""What is added to a policy loss on rollouts: the divergence from the reference, and entropy."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hizala.core.kl import ESTIMATORS, k2, steep_exp
from hizala.core.logps import SeqLogps, Terms
from hizala.registry import loss


@loss("kl", data="rollout", source="Shao et al. 2024, arXiv:2402.03300, eq. 4")
def kl(
    policy: SeqLogps,
    reference: SeqLogps,
    old: SeqLogps,
    *,
    estimator: Literal["k3", "k2", "k1", "k3_plus", "k1_plus"] = "k3",
    unbiased: bool = False,
) -> Terms:
    """Divergence from the reference at each sampled token, as a loss.

    k1 = log pi - log ref;  k2 = k1^2 / 2;  k3 = exp(-k1) + k1 - 1
    loss_t = k_t, or with unbiased: (pi / old)(y_t) * k_t

    On the policy's own samples the expected gradient of k2 is that of KL(pi || ref), that of k1 is 0, that of k3 is
    that of KL(ref || pi). k3_plus and k1_plus report k3 or k1 and have the gradient of k2. With unbiased, k1 and k3
    have the gradient of KL(pi || ref) exactly, also on samples of `old`.

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        reference: the same under the reference.
        old: the same under the weights that sampled; read with `unbiased` alone.
        estimator: which k, or whose value with k2's gradient.
        unbiased: weigh by the importance ratio, with its gradient.
    Returns:
        Terms: loss (N,), nats; metrics `k1`, `k3` (N,).
    Source: Shao et al. 2024, arXiv:2402.03300, eq. 4 (k3); the three: Schulman 2020,
        https://joschu.net/blog/kl-approx.html; weighed: DeepSeek-AI 2025, arXiv:2512.02556, sec. 3.1, eq. 7.
    Differs: TRL 1.16 has k3 alone (weighed with use_bias_correction_kl); verl calls the plus forms "k1+" and "k3+",
        and clamps to 10 nats.
    """
    held = reference.tokens.detach()
    kind, _, plus = estimator.partition("_")
    terms = ESTIMATORS[kind](policy.tokens, held)
    if plus:
        slope = k2(policy.tokens, held)
        terms = terms.detach() + slope - slope.detach()
    if unbiased:
        terms = steep_exp(policy.tokens - old.tokens.detach()) * terms
    with torch.no_grad():
        metrics = {name: ESTIMATORS[name](policy.tokens, held) for name in ("k1", "k3")}
    return Terms(terms, "token", metrics, policy.segments)


@loss("entropy", data="rollout", source="Mnih et al. 2016, arXiv:1602.01783, sec. 4")
def entropy(entropy: Tensor, old: SeqLogps) -> Terms:
    """Entropy bonus: less loss where the policy is less sure, so that it goes on exploring.

    loss_t = -H(pi(. | x, y_<t))

    Args:
        entropy: (N,) nats, entropy of the policy's distribution before each sampled token, with gradient.
        old: says which response each token belongs to; its values are not read.
    Returns:
        Terms: loss (N,), nats; metric `entropy` (N,).
    Source: Mnih et al. 2016, arXiv:1602.01783, sec. 4 (the term beta * H).
    Differs: TRL 1.16 averages over the tokens of a micro-batch, whatever the reduction of its policy loss.
    """
    return Terms(-entropy, "token", {"entropy": entropy.detach()}, old.segments)
