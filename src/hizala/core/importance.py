"""When sampler and trainer disagree about the same weights: how far, and weights that correct for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hizala.core.kl import k3, steep_exp
from hizala.core.logps import SeqLogps


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How far the trainer's log-probs of some sampled tokens are from the sampler's.

    Attributes:
        mean: mean |Delta|, nats; Delta = log old - log sampler of one token.
        largest: largest |Delta|, nats.
        kl: KL(sampler || old) a token, nats, estimated on the sampler's own tokens (k3), >= 0.
        ess: effective sample size as a share of the tokens: (sum w)^2 / (N sum w^2), w = old / sampler.
        ess_response: the same of whole responses.
    """

    mean: float
    largest: float
    kl: float
    ess: float
    ess_response: float


def mismatch(old: SeqLogps, sampler: SeqLogps) -> Mismatch:
    """Compare what the trainer says of the sampled tokens with what the sampler said.

    Args:
        old: log-probs under the trainer's arithmetic, at the weights that sampled; N tokens of R responses, nats.
        sampler: the same as the sampler reported them.
    Returns:
        The figures; 0 and an effective sample size of 1 where there are no tokens.
    Source: effective sample size: Kish 1965, "Survey Sampling"; of importance weights: Kong, Liu & Wong 1994,
        doi:10.1080/01621459.1994.10476469.
    """
    delta = (old.tokens - sampler.tokens).detach().double()
    if not len(delta):
        return Mismatch(0.0, 0.0, 0.0, 1.0, 1.0)
    some = old.count > 0
    total = (old.total - sampler.total).detach().double()[some]
    kl = float(k3(sampler.tokens.detach().double(), old.tokens.detach().double()).mean())
    return Mismatch(float(delta.abs().mean()), float(delta.abs().max()), kl, _ess(delta), _ess(total))


def _ess(log_weight: Tensor) -> float:
    """(sum w)^2 / (n sum w^2) from log w, whatever its scale."""
    top = torch.logsumexp(log_weight, 0) * 2 - torch.logsumexp(2 * log_weight, 0)
    return float(top.exp()) / len(log_weight)


def weights(
    old: SeqLogps,
    sampler: SeqLogps,
    *,
    level: Literal["token", "sequence", "geometric"] = "token",
    beyond: Literal["truncate", "mask"] = "truncate",
    high: float = 2.0,
    low: float = 0.0,
) -> Tensor:
    """Importance weights of sampled tokens, held between two bounds, to be multiplied into their advantages.

    w_t = old(y_t) / sampler(y_t), or for each token of a response: the product of these ("sequence"), or their
    geometric mean ("geometric")
    truncate: min(max(w, low), high);  mask: w where low <= w <= high, else 0

    Args:
        old: log-probs under the trainer's arithmetic, at the weights that sampled; N tokens of R responses, nats.
        sampler: the same as the sampler reported them.
        level: of what the ratio is taken.
        beyond: what becomes of a weight outside the bounds.
        high: > 0, upper bound.
        low: >= 0, lower bound.
    Returns:
        (N,) weights >= 0, no gradient. A masked token leaves the numerator of a loss and not its denominator.
    Source: truncated: Ionides 2008, doi:10.1198/106186008X320456; for rollouts Yao et al. 2025,
        https://fengyao.notion.site/off-policy-rl; masked: Ling Team 2025, arXiv:2510.18855 (IcePop).
    Differs: TRL 1.16 has token and sequence, not geometric; its default is sequence, masked above 3. OpenRLHF and verl
        have all three.
    """
    if level == "token":
        log_weight = old.tokens - sampler.tokens
    elif level == "sequence":
        log_weight = (old.total - sampler.total)[old.segments]
    else:
        log_weight = (old.mean - sampler.mean)[old.segments]
    w = steep_exp(log_weight.detach())
    if beyond == "truncate":
        return w.clamp(low, high)
    return torch.where((w >= low) & (w <= high), w, 0.0)
