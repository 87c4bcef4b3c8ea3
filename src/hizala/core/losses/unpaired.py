"""Losses on single responses that were judged alone: thumbs and scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hizala.core.logps import SeqLogps, Terms
from hizala.registry import Bound, loss


@loss(
    "kto",
    data="thumb",
    source="Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8",
    running={"mismatch": "mismatch"},
)
def kto(
    policy: SeqLogps,
    reference: SeqLogps,
    labels: Tensor,
    mismatch: Tensor,
    running: Mapping[str, float],
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    desirable_weight: Annotated[float, Bound(gt=0)] = 1.0,
    undesirable_weight: Annotated[float, Bound(gt=0)] = 1.0,
    decay: Annotated[float, Bound(ge=0, lt=1)] = 0.0,
) -> Terms:
    """Kahneman-Tversky Optimization: gains and losses against what the policy gives to responses of other prompts.

    s = log pi - log ref,  z = max(0, decay * running + (1 - decay) * mismatch)
    loss = w_D * (1 - sigmoid(beta * (s - z))) thumb up,  w_U * (1 - sigmoid(beta * (z - s))) thumb down

    Args:
        policy, reference: log-probs of the R responses; `.total` is used. Gradient reaches `policy` through s alone.
        labels: (R,) bool, thumb up.
        mismatch: scalar, nats: mean log-ratio over the whole batch of responses to other prompts; no gradient.
        running: `mismatch`, its mean over earlier steps, 0 at the first.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        desirable_weight: w_D, weight of thumbs up. The paper wants w_D n_D / (w_U n_U) in [1, 3/2].
        undesirable_weight: w_U, weight of thumbs down.
        decay: [0, 1), share of the earlier estimate of z kept; 0 takes each batch's own, as the paper.
    Returns:
        Terms: loss (R,); metrics `logratio`, `margin` (towards the right side), `accuracy`, `z0`, `mismatch` (R,).
    Source: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8 and the estimate of z0 below it.
    Differs: TRL 1.16 estimates z from each device's micro-batch; here from the whole batch.
    """
    s = policy.total - reference.total.detach()
    mean = mismatch.detach()
    z0 = (decay * running["mismatch"] + (1 - decay) * mean).clamp(min=0)
    margin = torch.where(labels, 1.0, -1.0).to(s.dtype) * beta * (s - z0)
    weight = _weights(labels, desirable_weight, undesirable_weight, s)
    metrics = _metrics(s, margin) | {"z0": z0.expand_as(s), "mismatch": mean.expand_as(s)}
    return Terms(weight * torch.sigmoid(-margin), "response", metrics)


@loss(
    "bco",
    data="thumb",
    source="Jung et al. 2024, arXiv:2404.04656, sec. 3 (binary cross-entropy with reward shift)",
    running={"up": "up", "down": "down", "up_reward": "up_reward", "down_reward": "down_reward"},
)
def bco(
    policy: SeqLogps,
    reference: SeqLogps,
    labels: Tensor,
    running: Mapping[str, float],
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    desirable_weight: Annotated[float, Bound(gt=0)] = 1.0,
    undesirable_weight: Annotated[float, Bound(gt=0)] = 1.0,
    decay: Annotated[float, Bound(ge=0, lt=1)] = 0.9,
) -> Terms:
    """Binary Classifier Optimization: tell good responses from bad ones by their implicit reward, shifted.

    r = beta * (log pi - log ref),  delta = (mean of r over thumbs up + mean of r over thumbs down) / 2
    loss = -w_D * log sigmoid(r - delta) thumb up,  -w_U * log sigmoid(delta - r) thumb down

    delta comes from the steps before (0 at the first); a kind of thumb not met yet leaves it to the other.

    Args:
        policy, reference: log-probs of the R responses; `.total` is used. Gradient reaches `policy` only.
        labels: (R,) bool, thumb up.
        running: over earlier steps, the mean of: thumb `up` (0 or 1), `down`, r of thumbs up, r of thumbs down.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        desirable_weight: w_D, weight of thumbs up.
        undesirable_weight: w_U, weight of thumbs down; the paper averages each kind by itself (w n equal).
        decay: [0, 1), share of the earlier statistics kept at each step.
    Returns:
        Terms: loss (R,), nats; metrics `logratio`, `margin`, `accuracy`, `shift`, and the four of `running` (R,).
    Source: Jung et al. 2024, arXiv:2404.04656, sec. 3 (binary cross-entropy with reward shift).
    Differs: TRL 1.16's "bco_pair" has no shift; LLaMA-Factory's running shift is the mean over both kinds pooled.
        The paper's density ratio for prompts that differ between the kinds is not part of this loss.
    """
    s = policy.total - reference.total.detach()
    known = [running[f"{kind}_reward"] / running[kind] for kind in ("up", "down") if running[kind] > 0]
    shift = sum(known) / len(known) if known else 0.0
    up = labels.to(s.dtype)
    margin = (2 * up - 1) * (beta * s - shift)
    weight = _weights(labels, desirable_weight, undesirable_weight, s)
    reward = beta * s.detach()
    metrics = _metrics(s, margin) | {"shift": torch.full_like(reward, shift)}
    metrics |= {"up": up, "down": 1 - up, "up_reward": up * reward, "down_reward": (1 - up) * reward}
    return Terms(weight * -logsigmoid(margin), "response", metrics)


@loss(
    "desirable_nll",
    data="thumb",
    unit="token",
    source="Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5 (supervised fine-tuning), on good responses",
)
def desirable_nll(policy: SeqLogps, labels: Tensor) -> Terms:
    """Negative log-likelihood of the responses with a thumb up, to be added to a loss on thumbs.

    loss_t = -log pi(y_t | x, y_<t) thumb up,  0 thumb down

    Args:
        policy: log-probs of R responses, N counted tokens in all.
        labels: (R,) bool, thumb up.
    Returns:
        Terms: loss (N,), nats a token, averaged over all N, thumbs down included; metric `nll` (N,).
    Source: Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5, on good responses alone.
    Differs: LLaMA-Factory adds its likelihood term to KTO averaged over the good responses of a micro-batch.
    """
    terms = torch.where(labels[policy.segments], -policy.tokens, 0.0)
    return Terms(terms, "token", {"nll": terms.detach()}, policy.segments)


@loss("sppo_soft", data="scored", source="Wu et al. 2024, arXiv:2405.00675, eq. 4.7")
def sppo_soft(
    policy: SeqLogps, reference: SeqLogps, grades: Tensor, *, beta: Annotated[float, Bound(gt=0)] = 0.1
) -> Terms:
    """Self-Play Preference Optimization: regress each log-ratio on how often the response wins.

    loss = (log pi - log ref - (P - 1/2) / beta)^2,  P = estimated probability to beat the reference's responses

    Args:
        policy, reference: log-probs of the R responses; `.total` is used. Gradient reaches `policy` only.
        grades: (R,) P in [0, 1], such as a judge's mean verdict against the other responses of the prompt.
        beta: > 0, per nat: 1 / eta of the paper, which trains 8B models with 0.001.
    Returns:
        Terms: loss (R,), nats squared; metrics `logratio`, `margin`, `accuracy` (R,): the log-ratio's sign is right.
    Source: Wu et al. 2024, arXiv:2405.00675, eq. 4.7.
    Differs: TRL 1.16 has only the form with P = 1 and 0 on pairs, our "sppo".
    """
    s = policy.total - reference.total.detach()
    wanted = (grades.detach().to(s.dtype) - 0.5) / beta
    return Terms((s - wanted).square(), "response", _metrics(s, beta * s * wanted.sign()))


def _weights(labels: Tensor, up: float, down: float, like: Tensor) -> Tensor:
    """(R,) the weight of each thumb, in the precision of `like`: two bare numbers in `torch.where` make float32."""
    return torch.where(labels, torch.full_like(like, up), torch.full_like(like, down))


def _metrics(s: Tensor, margin: Tensor) -> dict[str, Tensor]:
    margin = margin.detach()
    return {"logratio": s.detach(), "margin": margin, "accuracy": (margin > 0).to(margin.dtype)}
