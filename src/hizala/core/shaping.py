"""Rewards on their way to advantages: by length, by token, to one scale; and which tokens are worth training on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Array = NDArray[np.float64]


def soft_overlong(length: ArrayLike, *, limit: int, buffer: int) -> Array:
    """Penalty of a response that runs into the last tokens it may have: 0 before them, down to -1 at the limit.

    0 for n <= limit - buffer;  (limit - buffer - n) / buffer up to the limit;  -1 above it

    Args:
        length: (R,) tokens of each response.
        limit: most tokens a response may have.
        buffer: > 0, the last of them, over which the penalty grows.
    Returns:
        (R,) in [-1, 0], to be added to the reward.
    Source: Yu et al. 2025, arXiv:2503.14476, eq. 13.
    Differs: verl multiplies by a factor (1 in its recipe) and lets the penalty of a longer response go below -1.
    """
    over = (limit - buffer - np.asarray(length, dtype=np.float64)) / buffer
    return np.clip(over, -1.0, 0.0)


def cosine_length(
    length: ArrayLike,
    right: ArrayLike,
    *,
    limit: int,
    right_short: float = 2.0,
    right_long: float = 1.0,
    wrong_short: float = -10.0,
    wrong_long: float = 0.0,
    beyond: float = -10.0,
) -> Array:
    """Reward by length: right answers earn more when short, wrong ones lose less when they were long in thought.

    long + (short - long) * (1 + cos(pi * n / limit)) / 2 for n < limit;  beyond for n >= limit

    Args:
        length: (R,) tokens of each response.
        right: (R,) bool, whether the answer is right.
        limit: tokens at which a response is too long.
        right_short, right_long: reward of a right answer of no length, and of one as long as the limit.
        wrong_short, wrong_long: the same of a wrong answer.
        beyond: reward of a response at or beyond the limit, whatever its answer.
    Returns:
        (R,) rewards.
    Source: Yeo et al. 2025, arXiv:2502.03373, the cosine reward; the defaults are theirs.
    """
    n, good = np.asarray(length, dtype=np.float64), np.asarray(right, dtype=bool)
    short, long = np.where(good, right_short, wrong_short), np.where(good, right_long, wrong_long)
    shaped = long + (short - long) * (1 + np.cos(np.pi * np.minimum(n / limit, 1.0))) / 2
    return np.where(n >= limit, beyond, shaped)


def whiten(values: Tensor, *, weight: Tensor | None = None, centre: bool = True, epsilon: float = 1e-8) -> Tensor:
    """Values to mean 0 and standard deviation 1 over all that are known.

    (x - mean) / sqrt(var + epsilon);  with centre=False the mean is added again. var has divisor W - 1.

    Args:
        values: any shape, NaN where a value is not known.
        weight: of the same shape, how often each value counts (tokens of a response); 1 where not given.
        centre: whether the mean becomes 0.
        epsilon: > 0, of a variance.
    Returns:
        The same shape, float64; NaN where the value is; values that are all the same have no deviation, and become 0.
    Source: Schulman et al. 2017, arXiv:1707.06347, has no such step; it is the one of its authors' code, described in
        Huang et al. 2024, arXiv:2403.17031.
    Differs: verl computes this (equal values: rounding decides); OpenRLHF's variance has divisor W.
    """
    x = values.double()
    known = ~x.isnan()
    w = torch.where(known, 1.0 if weight is None else weight.double(), 0.0)
    total = w.sum()
    held = torch.where(known, x, 0.0)
    mean = (w * held).sum() / total.clamp(min=1)
    counted = held[w > 0]
    flat = len(counted) == 0 or bool(counted.max() == counted.min())
    away = torch.where(known, x - mean, torch.nan)
    if flat:
        away = torch.where(known & (w > 0), 0.0, away)
    variance = (w * torch.where(known, away, 0.0).square()).sum() / (total - 1).clamp(min=1)
    scaled = away * torch.rsqrt(variance + epsilon)
    return scaled if centre else scaled + mean


def token_rewards(
    rewards: Tensor, segments: Tensor, count: Tensor, *, kl: Tensor | None = None, beta: float = 0.0
) -> Tensor:
    """Reward of each sampled token: the response's on its last token, less beta * KL at every token.

    r_t = [t is the last] * reward - beta * kl_t

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        segments: (N,) response of each token, non-decreasing.
        count: (R,) sampled tokens of each response; a response without any keeps no reward.
        kl: (N,) estimate of log pi - log ref at each token, nats.
        beta: >= 0, price in units of reward a nat.
    Returns:
        (N,) float64; NaN on the last token of a response that was not scored.
    Source: Ziegler et al. 2019, arXiv:1909.08593, eq. 2; Ouyang et al. 2022, arXiv:2203.02155, eq. 2.
    """
    out = torch.zeros(len(segments), dtype=torch.float64, device=segments.device)
    if kl is not None:
        out = out - beta * kl.detach().double()
    last, some = count.cumsum(0) - 1, count > 0
    out[last[some]] += rewards.double()[some]
    return out


def uncertain(entropy: Tensor, share: float) -> Tensor:
    """Which tokens to train on when only the least certain ones are to count: the forks of a text.

    Args:
        entropy: (N,) nats, of the distribution before each sampled token of the whole batch.
        share: (0, 1], of the tokens that count.
    Returns:
        (N,) bool: True at the `share` of tokens of highest entropy, at least one; ties with the last of them count.
    Source: Wang et al. 2025, arXiv:2506.01939, sec. 5 (the 80/20 rule: share 0.2).
    Differs: TRL 1.16 (top_entropy_quantile) takes the interpolated quantile, and leaves out tokens of entropy 0.
    """
    if not len(entropy):
        return torch.zeros(0, dtype=torch.bool, device=entropy.device)
    kept = max(1, round(share * len(entropy)))
    bar = entropy.detach().kthvalue(len(entropy) - kept + 1).values
    return entropy.detach() >= bar
