"""Losses on preference pairs."""

from __future__ import annotations

from typing import Annotated

from torch.nn.functional import logsigmoid

from hizala.core.logps import Pairs, Terms
from hizala.registry import Bound, loss


@loss("dpo", data="pair", source="Rafailov et al. 2023, arXiv:2305.18290, eq. 7; Mitchell 2023, cDPO note, eq. 3")
def dpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Direct Preference Optimization: logistic regression on the implicit reward margin.

    h = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
    loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h),  eps = label_smoothing

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
            Gradient reaches `policy` only.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5). 0 is plain DPO, above is cDPO.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Raises:
        ConfigError: a bound above is violated (when the recipe loads, not here).
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; smoothing from Mitchell 2023, cDPO note, eq. 3.
    Differs: TRL 1.16 ignores label_smoothing for its "sigmoid" loss; its "robust" loss is another one (the unbiased
        estimate of Chowdhury et al. 2024). Metric `margin` is what TRL logs as rewards/margins (beta times nats).
    """
    chosen = policy.chosen.total - reference.chosen.total.detach()
    rejected = policy.rejected.total - reference.rejected.total.detach()
    h = beta * (chosen - rejected)
    terms = -(1 - label_smoothing) * logsigmoid(h) - label_smoothing * logsigmoid(-h)
    margin = h.detach()
    metrics = {
        "margin": margin,
        "accuracy": (margin > 0).to(margin.dtype),
        "chosen_logratio": chosen.detach(),
        "rejected_logratio": rejected.detach(),
    }
    return Terms(terms, "pair", metrics)
