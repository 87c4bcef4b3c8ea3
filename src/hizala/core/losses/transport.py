"""Alignment via Optimal Transport: losses that compare sorted batches, so that a batch cannot be split."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.core.losses._parts import log_ratios, logistic, totals, with_reference
from hizala.registry import Bound, loss


@loss("aot", data="pair", separable=False, source="Melnyk et al. 2024, arXiv:2406.05882, sec. 2 (AOT, paired)")
def aot(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Alignment via Optimal Transport on pairs: the policy's margins must dominate the reference's as a distribution.

    u = sorted over the batch of log pi(chosen) - log pi(rejected),  v = the same of the reference, sorted by itself
    loss_i = -(1 - eps) * log sigmoid(beta * (u_i - v_i)) - eps * log sigmoid(-beta * (u_i - v_i))

    Each term stands at the pair whose policy margin it holds. Group weights weigh these pairs; the sorting does not
    know them.

    Args:
        policy, reference: log-probs of the P pairs of the whole batch; `.total` is used: nats summed over tokens.
        beta: > 0, per nat: steepness of the logistic cost.
        label_smoothing: eps, assumed probability that a label is flipped, [0, 0.5).
    Returns:
        Terms: loss (P,), nats; metrics `margin` (beta times the pair's own log-ratio margin), `accuracy`,
        `chosen_logratio`, `rejected_logratio` (P,).
    Source: Melnyk et al. 2024, arXiv:2406.05882, sec. 2 (AOT, paired).
    Differs: TRL 1.16 ("aot") sorts within each micro-batch and process; here the batch is sorted whole or refused.
        TRL before 1.0 calls the unpaired form "aot_pair".
    """
    ours, theirs = totals(policy).gap, totals(reference).gap.detach()
    rank = ours.detach().argsort(stable=True).argsort()
    ratios = log_ratios(policy, reference)
    terms = logistic(beta * (ours - theirs.sort().values[rank]), label_smoothing)
    return Terms(terms, "pair", with_reference(beta * ratios.gap, ratios))


@loss(
    "aot_unpaired",
    data="thumb",
    separable=False,
    source="Melnyk et al. 2024, arXiv:2406.05882, sec. 2 (AOT, unpaired)",
)
def aot_unpaired(
    policy: SeqLogps,
    reference: SeqLogps,
    labels: Tensor,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Alignment via Optimal Transport on thumbs: rewards of good responses must dominate those of bad ones.

    Q+, Q- = quantile functions over the batch of s = log pi - log ref, thumbs up and thumbs down
    loss = integral over t in (0, 1) of c(beta * (Q+(t) - Q-(t))),
    c(x) = -(1 - eps) * log sigmoid(x) - eps * log sigmoid(-x)

    Both are step functions, so the integral is exact for unequal counts: at each t one up meets one down, and each
    stretch of t is shared equally by the terms of the two. With equal counts it is the mean over sorted pairs.

    Args:
        policy, reference: log-probs of the R responses of the whole batch; `.total` is used: nats summed over tokens.
        labels: (R,) bool, thumb up. A batch with one kind alone has nothing to compare: its terms are 0.
        beta: > 0, per nat: steepness of the logistic cost.
        label_smoothing: eps, assumed probability that a label is flipped, [0, 0.5).
    Returns:
        Terms: loss (R,), nats, whose mean is the integral; metrics `logratio`, `compared` (R,).
    Source: Melnyk et al. 2024, arXiv:2406.05882, sec. 2 (AOT, unpaired).
    Differs: TRL 1.16 ("aot_unpaired") takes pairs, so that both counts are equal, and sorts within a micro-batch.
    """
    s = policy.total - reference.total.detach()
    up, down = labels.nonzero().flatten(), (~labels).nonzero().flatten()
    compared = torch.full_like(s, float(len(up) > 0 and len(down) > 0)).detach()
    terms = s * 0.0
    if len(up) and len(down):
        up, down = up[s.detach()[up].argsort()], down[s.detach()[down].argsort()]
        i, j, width = _stretches(len(up), len(down), s)
        cost = width * logistic(beta * (s[up[i]] - s[down[j]]), label_smoothing) * (len(s) / 2)
        terms = terms.index_add(0, up[i], cost).index_add(0, down[j], cost)
    return Terms(terms, "response", {"logratio": s.detach(), "compared": compared})


def _stretches(n: int, m: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The stretches of (0, 1) on which the quantile functions of n and of m values are both constant.

    Returns:
        which of the n, which of the m, and the width of each stretch; counted in whole parts of 1 / (n m).
    """
    # Both functions end at n m: one of the two ends is dropped. Other shared ends give a stretch of width 0.
    ends = torch.cat((torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n)).sort().values[:-1].to(like.device)
    starts = torch.cat((ends.new_zeros(1), ends[:-1]))
    return starts // m, starts // n, (ends - starts).to(like.dtype) / (n * m)
