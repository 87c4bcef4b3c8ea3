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
        dual clip: Ye et al. 2019, arXiv:1912.09729, section on dual-clip PPO, equation of the dual clip.
    Differs: TRL 1.16 bounds the ratio by delta for either sign of the advantage; where the advantage is positive that
        has no effect unless delta is below 1 + epsilon_high.
    """
    terms = _surrogate(policy, old, ratio(policy, old), advantages, clip_low, clip_high)
    stopped = torch.zeros_like(terms.loss, dtype=torch.bool)
    held = terms.loss
    if dual_clip is not None:
        bound = -dual_clip * advantages.detach().to(held.dtype)
        stopped = (bound > 0) & (held > bound)
        held = torch.where(stopped, bound, held)
    return Terms(held, "token", terms.metrics | shares(held, dual=stopped), policy.segments)


@loss("gspo", data="rollout", source="Zheng et al. 2025, arXiv:2507.18071, eq. 5 and 7")
def gspo(
    policy: SeqLogps,
    old: SeqLogps,
    advantages: Tensor,
    *,
    clip_low: Annotated[float, Bound(gt=0, le=1)] = 3e-4,
    clip_high: Annotated[float, Bound(gt=0)] = 4e-4,
) -> Terms:
    """Group Sequence Policy Optimization: the clipped surrogate with one ratio a response, the geometric mean.

    s = exp(mean over tokens of [log pi - log old])
    loss_t = -min(s * A_t, clip(s, 1 - clip_low, 1 + clip_high) * A_t)

    Reduced by response, where a response has one advantage, this is the paper's objective.

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        old: the same under the weights that sampled.
        advantages: (N,) in units of reward, the same for all tokens of a response.
        clip_low: (0, 1], how far below 1 the ratio still teaches where the advantage is negative.
        clip_high: > 0, how far above 1 it still teaches where the advantage is positive.
    Returns:
        Terms: loss (N,); metrics `ratio`, `low`, `high`, `approx_kl` as for "clip" (N,).
    Source: Zheng et al. 2025, arXiv:2507.18071, eq. 5 and 7; the bounds are those of its sec. 5.1.
    Differs: TRL 1.16 (importance_sampling_level="sequence") computes this, with bounds of 0.2 unless told; verl's
        "gspo" has the gradient of our "gspo_token". OpenRLHF computes this.
    """
    s = steep_exp(policy.mean - old.mean.detach())[policy.segments]
    return _surrogate(policy, old, s, advantages, clip_low, clip_high)


@loss("gspo_token", data="rollout", source="Zheng et al. 2025, arXiv:2507.18071, eq. 13 and 14")
def gspo_token(
    policy: SeqLogps,
    old: SeqLogps,
    advantages: Tensor,
    *,
    clip_low: Annotated[float, Bound(gt=0, le=1)] = 3e-4,
    clip_high: Annotated[float, Bound(gt=0)] = 4e-4,
) -> Terms:
    """GSPO for advantages that differ within a response: the response's ratio, with each token's own gradient.

    s = exp(mean over tokens of [log pi - log old]), without gradient;  s_t = s * pi_t / stop_gradient(pi_t)
    loss_t = -min(s_t * A_t, clip(s_t, 1 - clip_low, 1 + clip_high) * A_t)

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        old: the same under the weights that sampled.
        advantages: (N,) in units of reward.
        clip_low: (0, 1], how far below 1 the ratio still teaches where the advantage is negative.
        clip_high: > 0, how far above 1 it still teaches where the advantage is positive.
    Returns:
        Terms: loss (N,); metrics `ratio`, `low`, `high`, `approx_kl` as for "clip" (N,).
    Source: Zheng et al. 2025, arXiv:2507.18071, eq. 13 and 14.
    Differs: verl's "gspo" computes this. TRL 1.16 has only the form for one advantage a response.
    """
    s = steep_exp(policy.mean - old.mean).detach()[policy.segments]
    own = policy.tokens - policy.tokens.detach()
    return _surrogate(policy, old, s * own.exp(), advantages, clip_low, clip_high)


@loss("cispo", data="rollout", source="MiniMax 2025, arXiv:2506.13585, eq. 4 and 5")
def cispo(
    policy: SeqLogps,
    old: SeqLogps,
    advantages: Tensor,
    *,
    clip_low: Annotated[float, Bound(gt=0, le=1)] = 1.0,
    clip_high: Annotated[float, Bound(gt=0)] = 4.0,
) -> Terms:
    """Clipped importance-sampling weights: every token keeps a gradient, and only its weight is bounded.

    w_t = clip(pi / old, 1 - clip_low, 1 + clip_high), without gradient
    loss_t = -w_t * A_t * log pi(y_t)

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        old: the same under the weights that sampled.
        advantages: (N,) in units of reward.
        clip_low: (0, 1], how far below 1 a weight may fall; 1: no bound, as the paper trains.
        clip_high: > 0, how far above 1 a weight may rise.
    Returns:
        Terms: loss (N,); metrics `ratio`, `low`, `high` (share of tokens whose weight is bounded), `approx_kl` (N,).
    Source: MiniMax 2025, arXiv:2506.13585, eq. 4 and 5.
    Differs: TRL 1.16 gives the upper bound itself (epsilon_high 5 is our clip_high 4) and has no lower one; verl
        computes this with bounds of 0.2 unless told.
    """
    advantages = advantages.detach().to(policy.tokens.dtype)
    r = ratio(policy, old)
    w = r.detach().clamp(1 - clip_low, 1 + clip_high)
    terms = -w * advantages * policy.tokens
    metrics = moved(policy, old, r) | shares(terms, low=r < 1 - clip_low, high=r > 1 + clip_high)
    return Terms(terms, "token", metrics, policy.segments)


@loss("reinforce", data="rollout", source="Williams 1992, Machine Learning 8, thm. 1")
def reinforce(policy: SeqLogps, old: SeqLogps, advantages: Tensor, *, weighted: bool = False) -> Terms:
    """Policy gradient: the log-prob of each sampled token, weighed by its advantage, with nothing clipped.

    loss_t = -A_t * log pi(y_t);  weighted: -A_t * pi(y_t) / old(y_t)

    At the weights that sampled both have the same gradient; after steps on the same samples only the second is that of
    the token's expected advantage.

    Args:
        policy: log-probs of the N sampled tokens, nats; gradient reaches it alone.
        old: the same under the weights that sampled.
        advantages: (N,) in units of reward.
        weighted: importance ratio in place of the log-prob.
    Returns:
        Terms: loss (N,); metrics `ratio`, `approx_kl` as for "clip" (N,).
    Source: Williams 1992, Machine Learning 8, thm. 1; weighted: Degris et al. 2012, arXiv:1205.4839, sec. 2.
    Differs: TRL's and OpenRLHF's RLOO clip as PPO does, TRL with one ratio a response; verl's "gpg" computes this.
    """
    advantages = advantages.detach().to(policy.tokens.dtype)
    r = ratio(policy, old)
    terms = -advantages * (r if weighted else policy.tokens)
    return Terms(terms, "token", moved(policy, old, r), policy.segments)


def _surrogate(
    policy: SeqLogps, old: SeqLogps, r: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> Terms:
    """-min(r * A, clip(r) * A) a token, with its metrics."""
    advantages = advantages.detach().to(policy.tokens.dtype)
    terms = torch.maximum(-r * advantages, -r.clamp(1 - clip_low, 1 + clip_high) * advantages)
    low, high = (advantages < 0) & (r < 1 - clip_low), (advantages > 0) & (r > 1 + clip_high)
    return Terms(terms, "token", moved(policy, old, r) | shares(terms, low=low, high=high), policy.segments)


def ratio(policy: SeqLogps, old: SeqLogps) -> Tensor:
    """(N,) pi / old of each token, straight on above exp(STEEPEST); gradient reaches the policy alone."""
    return steep_exp(policy.tokens - old.tokens.detach())


def moved(policy: SeqLogps, old: SeqLogps, r: Tensor) -> dict[str, Tensor]:
    """Metrics of how far the policy went from the weights that sampled: ratio, and k3 of old and policy, (N,) each."""
    return {"ratio": r.detach(), "approx_kl": k3(old.tokens.detach(), policy.tokens.detach())}


def shares(like: Tensor, **found: Tensor) -> dict[str, Tensor]:
    """Boolean columns as metrics of the terms' own type."""
    return {name: where.to(like.dtype) for name, where in found.items()}
