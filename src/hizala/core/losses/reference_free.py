"""Losses on preference pairs that need no reference model."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import relu

from hizala.core.logps import Pairs, Terms
from hizala.core.losses._parts import logistic, means, totals, without_reference
from hizala.registry import Bound, loss


@loss("simpo", data="pair", source="Meng et al. 2024, arXiv:2405.14734, eq. 6")
def simpo(
    policy: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 2.0,
    gamma: Annotated[float, Bound(ge=0)] = 1.0,
) -> Terms:
    """Simple Preference Optimization: the reward is the mean log-prob of a token, and must win by a target margin.

    loss = -log sigmoid(beta / |chosen| * log pi(chosen) - beta / |rejected| * log pi(rejected) - gamma)

    Args:
        policy: log-probs of the P pairs; `.mean` is used: nats a response token, 0 for an empty response.
        beta: > 0, scale of the reward; the paper's range is 2 to 10.
        gamma: >= 0, target reward margin, in the unit of beta times nats. 0 asks for no margin.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (before gamma), `accuracy`, `chosen_logp`, `rejected_logp` (P,).
    Source: Meng et al. 2024, arXiv:2405.14734, eq. 6.
    Differs: no likelihood term is added: TRL 1.16's CPOTrainer adds one by default (cpo_alpha 1). open-instruct's
        gamma is our gamma / beta.
    """
    h = beta * means(policy).gap
    return Terms(logistic(h - gamma), "pair", without_reference(h, policy))


@loss("cpo", data="pair", source="Xu et al. 2024, arXiv:2401.08417, eq. 3 (the preference term)")
def cpo(policy: Pairs, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Contrastive Preference Optimization, its preference term: DPO with a uniform reference.

    loss = -log sigmoid(beta * log pi(chosen) - beta * log pi(rejected))

    The whole method adds a likelihood term on the chosen response: see the row `cpo`.

    Args:
        policy: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logp`, `rejected_logp` (P,; nats a token).
    Source: Xu et al. 2024, arXiv:2401.08417, eq. 3 (the preference term).
    Differs: TRL 1.16's CPOTrainer is this plus cpo_alpha (1 unless set) times the mean cross-entropy of the chosen
        response's tokens, averaged within each micro-batch.
    """
    h = beta * totals(policy).gap
    return Terms(logistic(h), "pair", without_reference(h, policy))


@loss("slic", data="pair", source="Zhao et al. 2023, arXiv:2305.10425, sec. 2 (rank calibration loss)")
def slic(policy: Pairs, *, delta: Annotated[float, Bound(gt=0)] = 1.0) -> Terms:
    """SLiC-HF's calibration: the chosen response must be likelier than the rejected one by a margin.

    loss = max(0, delta - log pi(chosen) + log pi(rejected))

    The whole method adds lambda times a likelihood term: see the row `slic`.

    Args:
        policy: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        delta: > 0, nats by which the chosen response must lead.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logp`, `rejected_logp` (P,; nats a token).
    Source: Zhao et al. 2023, arXiv:2305.10425, sec. 2 (rank calibration loss).
    Differs: what TRL 1.16 calls "hinge" in DPO compares log-ratios to a reference: that is our "hinge".
    """
    gap = totals(policy).gap
    return Terms(relu(delta - gap), "pair", without_reference(gap, policy))


@loss("orpo", data="pair", source="Hong et al. 2024, arXiv:2403.07691, eqs. 4 and 7")
def orpo(policy: Pairs) -> Terms:
    """Odds Ratio Preference Optimization, its odds-ratio term.

    P(y) = exp(mean over tokens of log pi(y_t)),  odds(y) = P(y) / (1 - P(y))
    loss = -log sigmoid(log odds(chosen) - log odds(rejected))

    The whole method is the likelihood term of the chosen response plus lambda times this: see the row `orpo`.

    Args:
        policy: log-probs of the P pairs; `.mean` is used. P is held one rounding step below 1, where odds are finite;
            an empty response stands there.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (the log odds ratio), `accuracy`, `chosen_logp`, `rejected_logp`.
    Source: Hong et al. 2024, arXiv:2403.07691, eq. 7 with odds as in eq. 4 and P as in eq. 3.
    Differs: TRL 1.16 takes the likelihood term over prompt and response; here, as in LLaMA-Factory, it is a loss of
        its own on the response's tokens alone. TRL calls lambda beta.
    """
    logps = means(policy)
    h = _log_odds(logps.chosen) - _log_odds(logps.rejected)
    return Terms(logistic(h), "pair", without_reference(h, policy))


def _log_odds(logp: Tensor) -> Tensor:
    """log(P / (1 - P)) of a log-prob, exact near P = 0 and near P = 1."""
    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    near_one = torch.log(-torch.expm1(logp))
    return logp - torch.where(logp > -math.log(2), near_one, torch.log1p(-torch.exp(logp)))
