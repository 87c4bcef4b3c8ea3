"""Losses on preference pairs that correct for the length of the two responses."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.core.losses._parts import Sides, log_ratios, logistic, mean_log_ratios, positions, sums, with_reference
from hizala.registry import Bound, loss


@loss("dpo_norm", data="pair", source="Lambert et al. 2024, arXiv:2411.15124, eq. 6 (length-normalized DPO)")
def dpo_norm(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 5.0,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Length-normalised DPO: log-ratios per token in place of whole responses.

    h = beta * [(log pi - log ref)(chosen) / |chosen| - (log pi - log ref)(rejected) / |rejected|]
    loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h),  eps = label_smoothing

    Args:
        policy, reference: log-probs of the P pairs; `.mean` is used: nats a response token, 0 for an empty response.
        beta: > 0, tokens per nat; larger than in DPO by about the length of a response.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5).
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,; nats a token).
    Source: Lambert et al. 2024, arXiv:2411.15124, eq. 6 (length-normalized DPO).
    Differs: TRL 1.16 ("sigmoid_norm") computes this without smoothing and with beta 0.1 unless told otherwise.
    """
    ratios = mean_log_ratios(policy, reference)
    h = beta * ratios.gap
    return Terms(logistic(h, label_smoothing), "pair", with_reference(h, ratios))


@loss("ld_dpo", data="pair", source="Liu et al. 2024, arXiv:2409.06411, sec. 4 (length-desensitized likelihood)")
def ld_dpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    alpha: Annotated[float, Bound(ge=0, le=1)] = 0.5,
    applies_to: Literal["both", "policy"] = "both",
) -> Terms:
    """LD-DPO: tokens beyond the length that both responses reach count for less.

    log p'(y) = sum_{t <= m} log p(y_t) + alpha * sum_{t > m} log p(y_t),  m = min(|chosen|, |rejected|)
    loss = -log sigmoid(beta * [(log pi' - log ref')(chosen) - (log pi' - log ref')(rejected)])

    Args:
        policy, reference: log-probs of the P pairs, nats; `.tokens` are used. Gradient reaches `policy` only.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        alpha: [0, 1], weight of the tokens beyond m. 1 is plain DPO, 0 cuts both responses at m.
        applies_to: whose likelihoods are changed. "both": the loss starts at log 2. "policy": the reference keeps
            whole likelihoods, which shifts the margin of each pair by a constant.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,; of p').
    Source: Liu et al. 2024, arXiv:2409.06411, sec. 4 (length-desensitized likelihood).
    Differs: TRL 1.16 changes both models' likelihoods; LLaMA-Factory 0.9.5 and TRL before 1.0 the policy's alone.
    """
    shared = torch.minimum(policy.chosen.count, policy.rejected.count)
    tail = alpha if applies_to == "both" else 1.0
    ratios = Sides(
        *(
            _cut(mine, shared, alpha) - _cut(theirs, shared, tail).detach()
            for mine, theirs in ((policy.chosen, reference.chosen), (policy.rejected, reference.rejected))
        )
    )
    h = beta * ratios.gap
    return Terms(logistic(h), "pair", with_reference(h, ratios))


def _cut(logps: SeqLogps, shared: Tensor, alpha: float) -> Tensor:
    """(P,) nats: each response's log-prob with the tokens from `shared` on weighted by alpha."""
    beyond = positions(logps) >= shared[logps.segments]
    return sums(torch.where(beyond, alpha * logps.tokens, logps.tokens), logps)


@loss("rdpo", data="pair", source="Park et al. 2024, arXiv:2403.19159, eq. 9")
def rdpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    alpha: Annotated[float, Bound(ge=0)] = 0.01,
) -> Terms:
    """Length-regularised DPO: length is a known part of why a response was chosen, so less is left to learn.

    loss = -log sigmoid(beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
                        + alpha * (|chosen| - |rejected|))

    It is DPO for the reward r(y) - alpha * |y|: a chosen response that is longer is pushed up less.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used, and `.count` for the lengths.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        alpha: >= 0, nats a token: price of length. 0 is plain DPO.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (without the length term), `accuracy`, `chosen_logratio`,
        `rejected_logratio` (P,).
    Source: Park et al. 2024, arXiv:2403.19159, eq. 9.
    Differs: TRL 1.16, OpenRLHF and LLaMA-Factory have no such loss. Lengths count the end token where it is trained.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    longer = (policy.chosen.count - policy.rejected.count).to(h.dtype)
    return Terms(logistic(h + alpha * longer), "pair", with_reference(h, ratios))
