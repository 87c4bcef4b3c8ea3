"""Losses on preference pairs that read each response's own log-ratio, not their difference alone."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.nn.functional import logsigmoid

from hizala.core.logps import Pairs, Terms
from hizala.core.losses._parts import log_ratios, with_reference
from hizala.registry import Bound, loss


@loss("apo_zero", data="pair", source="D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7")
def apo_zero(policy: Pairs, reference: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Anchored Preference Optimization, zero: chosen responses up, rejected ones down.

    r = beta * (log pi - log ref)
    loss = -sigmoid(r(chosen)) + sigmoid(r(rejected))

    For pairs whose chosen response is better than what the model writes.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
    Returns:
        Terms: loss (P,) in (-1, 1); metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7.
    Differs: TRL 1.16 adds the constant 1; the gradient is the same.
    """
    ratios = log_ratios(policy, reference)
    terms = torch.sigmoid(beta * ratios.rejected) - torch.sigmoid(beta * ratios.chosen)
    return Terms(terms, "pair", with_reference(beta * ratios.gap, ratios))


@loss("apo_down", data="pair", source="D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8")
def apo_down(policy: Pairs, reference: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Anchored Preference Optimization, down: chosen responses a little down, rejected ones more.

    r = beta * (log pi - log ref)
    loss = sigmoid(r(chosen)) - sigmoid(r(chosen) - r(rejected))

    For pairs whose chosen response is worse than what the model writes: it anchors the chosen one from above.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
    Returns:
        Terms: loss (P,) in (-1, 1); metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8.
    Differs: TRL 1.16 adds the constant 1; the gradient is the same.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    terms = torch.sigmoid(beta * ratios.chosen) - torch.sigmoid(h)
    return Terms(terms, "pair", with_reference(h, ratios))


@loss("nca", data="pair", source="Chen et al. 2024, arXiv:2402.05369, sec. 4 (NCA on pairs)")
def nca(policy: Pairs, reference: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Noise Contrastive Alignment on a pair: classify each response as the better policy's or the reference's.

    r = beta * (log pi - log ref)
    loss = -log sigmoid(r(chosen)) - 1/2 * [log sigmoid(-r(chosen)) + log sigmoid(-r(rejected))]

    The chosen response's own likelihood is held: at r(rejected) fixed the least loss is at sigmoid(r(chosen)) = 2/3.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Chen et al. 2024, arXiv:2402.05369, sec. 4 (NCA on pairs).
    Differs: TRL 1.16 ("nca_pair") computes this equation.
    """
    ratios = log_ratios(policy, reference)
    chosen, rejected = beta * ratios.chosen, beta * ratios.rejected
    terms = -logsigmoid(chosen) - 0.5 * (logsigmoid(-chosen) + logsigmoid(-rejected))
    return Terms(terms, "pair", with_reference(chosen - rejected, ratios))


@loss("sppo", data="pair", source="Wu et al. 2024, arXiv:2405.00675, eq. 4.7 (win probabilities 1 and 0)")
def sppo(policy: Pairs, reference: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Self-Play Preference Optimization with hard wins: regress each log-ratio on half the inverse of beta.

    s = log pi - log ref
    loss = (s(chosen) - 1 / (2 beta))^2 + (s(rejected) + 1 / (2 beta))^2

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens. In the
            paper the reference is the policy of the round before.
        beta: > 0, per nat: 1 / eta of the paper, which trains 8B models with 0.001.
    Returns:
        Terms: loss (P,), nats squared; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Wu et al. 2024, arXiv:2405.00675, eq. 4.7, with P = 1 for the chosen and 0 for the rejected response.
    Differs: the paper estimates P with a preference model over several samples: that is our "sppo_soft". TRL 1.16
        ("sppo_hard") computes this equation.
    """
    ratios = log_ratios(policy, reference)
    target = 1 / (2 * beta)
    terms = (ratios.chosen - target).square() + (ratios.rejected + target).square()
    return Terms(terms, "pair", with_reference(beta * ratios.gap, ratios))
