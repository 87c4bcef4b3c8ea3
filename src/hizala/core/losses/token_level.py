"""Losses on preference pairs that look at the policy's distribution at every token, not only at its log-probs."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.core.losses._parts import log_ratios, logistic, totals, with_reference
from hizala.registry import Bound, loss


@loss("wpo", data="pair", source="Zhou et al. 2024, arXiv:2406.11827, eq. 2 (sampled alignment of the weights)")
def wpo(
    policy: Pairs,
    reference: Pairs,
    collision: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Weighted Preference Optimization: DPO with pairs weighted by how likely the policy is to write them.

    w(y) = exp(mean over tokens of [log pi(y_t) - log sum_v pi(v)^2]), without gradient
    loss = w(chosen) * w(rejected) * dpo(chosen, rejected)

    Dividing by sum_v pi(v)^2 gives responses that the policy sampled itself a weight of about 1.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        collision: log sum_v pi(v)^2 at each counted token, nats; no gradient.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5).
    Returns:
        Terms: loss (P,), nats, averaged over pairs, not over weights; metrics `margin`, `accuracy`,
        `chosen_logratio`, `rejected_logratio`, `weight` (P,).
    Source: Zhou et al. 2024, arXiv:2406.11827, eq. 2 (sampled alignment of the weights).
    Differs: TRL 1.16 (use_weighting) computes this weight; the authors' code and TRL before 1.0 hold the product at
        most 1. An empty response has weight 1.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    weight = (_aligned(policy.chosen, collision.chosen) + _aligned(policy.rejected, collision.rejected)).exp()
    metrics = with_reference(h, ratios) | {"weight": weight}
    return Terms(weight * logistic(h, label_smoothing), "pair", metrics)


def _aligned(logps: SeqLogps, collision: SeqLogps) -> Tensor:
    """(P,) nats a token by which a response is likelier than the policy's own samples are on average."""
    return (logps.mean - collision.mean).detach()


@loss("tdpo1", data="pair", source="Zeng et al. 2024, arXiv:2404.11999, sec. 4.3 (TDPO1)")
def tdpo1(policy: Pairs, reference: Pairs, divergence: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Token-level DPO, first form: the Bradley-Terry model of token rewards, exactly.

    u = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
    D(y) = beta * sum_t KL(ref || pi)(. | x, y_<t)
    loss = -log sigmoid(u - [D(rejected) - D(chosen)])

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        divergence: KL(ref || pi) over the vocabulary at each counted token, nats; its gradient reaches the policy.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (u), `accuracy`, `chosen_logratio`, `rejected_logratio`,
        `chosen_divergence`, `rejected_divergence` (P,; nats a response).
    Source: Zeng et al. 2024, arXiv:2404.11999, sec. 4.3 (TDPO1).
    Differs: TRL 1.16, OpenRLHF and LLaMA-Factory have no such loss.
    """
    ratios, away = log_ratios(policy, reference), totals(divergence)
    u = beta * ratios.gap
    delta = beta * (away.rejected - away.chosen)
    return Terms(logistic(u - delta), "pair", with_reference(u, ratios) | _divergences(divergence))


@loss("tdpo2", data="pair", source="Zeng et al. 2024, arXiv:2404.11999, sec. 4.3 (TDPO2)")
def tdpo2(
    policy: Pairs,
    reference: Pairs,
    divergence: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    alpha: Annotated[float, Bound(ge=0)] = 0.5,
) -> Terms:
    """Token-level DPO, second form: only the rejected response's divergence is trained, and weighed.

    u = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
    D(y) = beta * sum_t KL(ref || pi)(. | x, y_<t)
    loss = -log sigmoid(u - alpha * [D(rejected) - stop_gradient(D(chosen))])

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        divergence: KL(ref || pi) over the vocabulary at each counted token, nats; its gradient reaches the policy
            through the rejected response alone.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        alpha: >= 0, weight of the difference in divergence; the paper's value is 0.5. 0 is plain DPO.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (u), `accuracy`, `chosen_logratio`, `rejected_logratio`,
        `chosen_divergence`, `rejected_divergence` (P,; nats a response).
    Source: Zeng et al. 2024, arXiv:2404.11999, sec. 4.3 (TDPO2).
    Differs: TRL 1.16, OpenRLHF and LLaMA-Factory have no such loss.
    """
    ratios, away = log_ratios(policy, reference), totals(divergence)
    u = beta * ratios.gap
    delta = beta * (away.rejected - away.chosen.detach())
    return Terms(logistic(u - alpha * delta), "pair", with_reference(u, ratios) | _divergences(divergence))


def _divergences(divergence: Pairs) -> dict[str, Tensor]:
    with torch.no_grad():
        away = totals(divergence)
    return {"chosen_divergence": away.chosen, "rejected_divergence": away.rejected}
