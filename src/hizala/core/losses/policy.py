"""Policy losses of online RL: the log-probs of sampled tokens, weighed by their advantages."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from hizala.core.kl import k3, steep_exp
from hizala.core.logps import SeqLogps, Terms
from hizala.registry import Bound, loss


@loss("clip", data="rollout", source="Schulman et al. 2017, arXiv:1707.06347, eq. 7; Ye et al. 2019, arXiv:1912.09729")
def clip(
    policy: SeqLogps,
    old: SeqLogps,
    advantages: Tensor,
    *,
    clip_low: Annotated[float, Bound(gt=0, le=1)] = 0.2,
    clip_high: Annotated[float, Bound(gt=0)] = 0.2,
    dual_clip: Annotated[float | None, Bound(gt=1)] = None,
) -> Terms:
    """Clipped surrogate of PPO: a token's probability is pushed no further than the clip range within one batch.

    r_t = pi(y_t) / old(y_t)
    loss_t = -min(r_t * A_t, clip(r_t, 1 - clip_low, 1 + clip_high) * A_t)
    with dual_clip = c, where A_t < 0: loss_t = min(that, -c * A_t)

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        old: the same under the weights that sampled.
        advantages: (N,) how much better than expected each token was, in units of reward.
        clip_low: (0, 1], how far below 1 the ratio still teaches where the advantage is negative.
        clip_high: > 0, how far above 1 it still teaches where the advantage is positive (DAPO: 0.28).
        dual_clip: > 1, bound of the ratio where the advantage is negative; none: unbounded, as in PPO.
    Returns:
        Terms: loss (N,); metrics `ratio`, `low`, `high`, `dual` (share of tokens at which that bound stops the
        gradient), `approx_kl` (k3 of old and policy, nats) (N,).
    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7; both ends apart: Yu et al. 2025, arXiv:2503.14476, eq. 10;
        dual clip: Ye et al. 2019, arXiv:1912.09729, sec. on dual-clip PPO.
    Differs: TRL 1.16 bounds the ratio by delta for either sign of the advantage; where the advantage is positive that
        has no effect unless delta is below 1 + epsilon_high.
    """
    advantages = advantages.detach().to(policy.tokens.dtype)
    r = ratio(policy, old)
    terms = torch.maximum(-r * advantages, -r.clamp(1 - clip_low, 1 + clip_high) * advantages)
    stopped = torch.zeros_like(r, dtype=torch.bool)
    if dual_clip is not None:
        stopped = (advantages < 0) & (r > dual_clip)
        terms = torch.where(advantages < 0, torch.minimum(terms, -dual_clip * advantages), terms)
    low, high = (advantages < 0) & (r < 1 - clip_low), (advantages > 0) & (r > 1 + clip_high)
    metrics = moved(policy, old, r) | shares(terms, low=low, high=high, dual=stopped)
    return Terms(terms, "token", metrics, policy.segments)


def ratio(policy: SeqLogps, old: SeqLogps) -> Tensor:
    """(N,) pi / old of each token, straight on above exp(STEEPEST); gradient reaches the policy alone."""
    return steep_exp(policy.tokens - old.tokens.detach())


def moved(policy: SeqLogps, old: SeqLogps, r: Tensor) -> dict[str, Tensor]:
    """Metrics of how far the policy went from the weights that sampled: ratio, and k3 of old and policy, (N,) each."""
    return {"ratio": r.detach(), "approx_kl": k3(old.tokens.detach(), policy.tokens.detach())}


def shares(like: Tensor, **found: Tensor) -> dict[str, Tensor]:
    """Boolean columns as metrics of the terms' own type."""
    return {name: where.to(like.dtype) for name, where in found.items()}
