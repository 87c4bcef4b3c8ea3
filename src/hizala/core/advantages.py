"""Advantages: how much better each response, or each token, did than was expected. One pure function each.

Rewards are float64, one a response; NaN stands for a response that was not scored. It takes no part in any mean or
deviation, and its own advantage is NaN, so that whoever trains must leave it out knowingly.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from hizala.core.shaping import whiten as whitened
from hizala.errors import ConfigError
from hizala.registry import Bound, advantage


@advantage("reinforce", source="Williams 1992, Machine Learning 8, thm. 1")
def reinforce(rewards: Tensor) -> Tensor:
    """The reward itself, without a baseline.

    A_i = r_i

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
    Returns:
        (R,) float64; NaN where the reward is.
    Source: Williams 1992, Machine Learning 8, thm. 1, with baseline 0.
    """
    return rewards.double()


@advantage("grpo", source="Shao et al. 2024, arXiv:2402.03300, sec. 4.1.2")
def grpo(
    rewards: Tensor,
    groups: Tensor,
    *,
    deviation: Literal["sample", "population", "batch"] = "sample",
    epsilon: Annotated[float, Bound(ge=0)] = 1e-4,
) -> Tensor:
    """Group-relative advantage: the reward's distance from its group's mean, in the group's standard deviations.

    A_i = (r_i - mean(r)) / (std(r) + epsilon),  over the scored responses to one prompt

    A group that says nothing has advantage 0: one scored response, or rewards that are all the same.

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
        deviation: of the group with divisor n - 1 ("sample") or n ("population"); or of the rewards of the whole
            batch with divisor R - 1 ("batch").
        epsilon: >= 0, in units of reward: holds back groups whose rewards hardly differ.
    Returns:
        (R,) float64; NaN where the reward is.
    Source: Shao et al. 2024, arXiv:2402.03300, sec. 4.1.2.
    Differs: the paper does not say which deviation and has no epsilon. TRL 1.16 is our default (1e-4); verl (1e-6) and
        OpenRLHF (1e-9) take the sample too; a winner in (1, 0, 0, 0) gets 1.50, by the population 1.73. verl leaves a
        group of one its raw reward.
    """
    scored, place, size = _known(rewards, groups)
    centred = _centred(rewards, scored, place, size)
    if deviation == "batch":
        known = rewards[scored].double()
        spread = (known.std() if len(known) > 1 else known.sum()).expand_as(centred)
    else:
        free = size - 1 if deviation == "sample" else size
        squares = _sums(torch.where(scored, centred, 0.0).square(), place, len(size))
        spread = (squares / free.clamp(min=1)).sqrt()[place]
    still = centred == 0
    return torch.where(still, centred, centred / torch.where(still, 1.0, spread + epsilon))


@advantage("dr_grpo", source="Liu et al. 2025, arXiv:2503.20783, sec. 3.2")
def dr_grpo(rewards: Tensor, groups: Tensor) -> Tensor:
    """The reward less its group's mean: GRPO without the division that favours prompts of little spread.

    A_i = r_i - mean(r),  over the scored responses to one prompt

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
    Returns:
        (R,) float64; NaN where the reward is; 0 in a group of one scored response.
    Source: Liu et al. 2025, arXiv:2503.20783, sec. 3.2.
    Differs: n / (n - 1) smaller than RLOO's. verl leaves a group of one its raw reward.
    """
    scored, place, size = _known(rewards, groups)
    return _centred(rewards, scored, place, size)


@advantage("rloo", source="Ahmadian et al. 2024, arXiv:2402.14740, section REINFORCE Leave-One-Out; Kool et al. 2019")
def rloo(rewards: Tensor, groups: Tensor) -> Tensor:
    """Leave-one-out: the reward less the mean reward of the other responses to the same prompt.

    A_i = r_i - mean of r_j over j != i  =  n / (n - 1) * (r_i - mean(r))

    The baseline does not depend on the response it is for, so the policy gradient keeps its expectation.

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
    Returns:
        (R,) float64; NaN where the reward is; 0 in a group of one scored response, which has no baseline.
    Source: Ahmadian et al. 2024, arXiv:2402.14740, section REINFORCE Leave-One-Out; first in Kool et al. 2019, "Buy 4
        REINFORCE samples, get a baseline for free!".
    Differs: TRL 1.16 and OpenRLHF compute this; verl leaves a group of one its raw reward.
    """
    scored, place, size = _known(rewards, groups)
    return _centred(rewards, scored, place, size) * (size / (size - 1).clamp(min=1))[place]


@advantage("remax", source="Li et al. 2023, arXiv:2310.10505, alg. 1")
def remax(rewards: Tensor, greedy: Tensor) -> Tensor:
    """The reward less that of the greedy response to the same prompt.

    A_i = r_i - r(greedy response)

    Args:
        rewards: (R,) reward of each sampled response, NaN where it was not scored.
        greedy: (R,) reward of the response that decoding without chance gives to the same prompt.
    Returns:
        (R,) float64; NaN where either reward is.
    Source: Li et al. 2023, arXiv:2310.10505, alg. 1.
    Differs: TRL 1.16 and OpenRLHF have no such advantage; verl computes this one.
    """
    return rewards.double() - greedy.double()


@advantage("gpg", source="Chu et al. 2025, arXiv:2504.02546, sec. 2")
def gpg(rewards: Tensor, groups: Tensor) -> Tensor:
    """Group policy gradient: the reward less its group's mean, made up for the groups that say nothing.

    A_i = alpha * (r_i - mean(r)),  alpha = responses of all groups / responses of groups whose rewards differ

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
    Returns:
        (R,) float64; NaN where the reward is; all 0 where no group's rewards differ.
    Source: Chu et al. 2025, arXiv:2504.02546, sec. 2 (with F_norm = 1).
    Differs: verl counts as saying nothing only rewards of 0; here it is a group whose rewards are all the same.
    """
    scored, place, size = _known(rewards, groups)
    centred = _centred(rewards, scored, place, size)
    telling = _sums((scored & (centred != 0)).double(), place, len(size)) > 0
    kept = float((scored & telling[place]).sum())
    return centred * (float(scored.sum()) / kept if kept else 1.0)


@advantage("maxrl", source="Tajwar et al. 2026, arXiv:2602.02710, thm. 1")
def maxrl(rewards: Tensor, groups: Tensor) -> Tensor:
    """Maximum-likelihood advantage: the distance from the group's mean, in units of that mean.

    A_i = (r_i - mean(r)) / mean(r)

    For rewards of 0 and 1 its expected gradient is that of a lower bound of log P(right) that tightens with the group.

    Args:
        rewards: (R,) reward of each response, at least 0; NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
    Returns:
        (R,) float64; NaN where the reward is; 0 in a group without a reward above 0.
    Raises:
        ConfigError: a reward below 0, for which the quotient has no meaning.
    Source: Tajwar et al. 2026, arXiv:2602.02710, thm. 1 (the mean over right responses), with the mean over all of them
        as its control variate.
    Differs: TRL 1.16, OpenRLHF and verl 0.9.1 have no such advantage.
    """
    if bool((rewards < 0).any()):
        raise ConfigError(
            "maxrl divides by the mean reward of a group, and a reward is below 0",
            fix="use rewards of at least 0, or another advantage",
        )
    scored, place, size = _known(rewards, groups)
    centred = _centred(rewards, scored, place, size)
    mean = _sums(torch.where(scored, rewards.double(), 0.0), place, len(size)) / size.clamp(min=1)
    return centred / torch.where(mean > 0, mean, 1.0)[place]


@advantage("reinforce_pp_baseline", source="Hu et al. 2025, arXiv:2501.03262, section REINFORCE++")
def reinforce_pp_baseline(rewards: Tensor, groups: Tensor, count: Tensor) -> Tensor:
    """REINFORCE++ with a baseline: the reward less its group's mean, in standard deviations of the whole batch.

    a_i = r_i - mean(r of the group);  A_i = (a_i - mean) / std,  over all sampled tokens of the batch

    Args:
        rewards: (R,) reward of each response, NaN where it was not scored.
        groups: (R,) group of each response, non-decreasing.
        count: (R,) sampled tokens of each response: how often it stands in the batch's mean and deviation.
    Returns:
        (R,) float64; NaN where the reward is; 0 where no group's rewards differ.
    Source: Hu et al. 2025, arXiv:2501.03262, section REINFORCE++ with baseline.
    Differs: the paper's formula does not say what a mean is over; verl computes this, OpenRLHF with divisor N.
    """
    return whitened(dr_grpo(rewards, groups), weight=count)


@advantage("reinforce_pp", source="Hu et al. 2025, arXiv:2501.03262, section REINFORCE++", unit="token")
def reinforce_pp(
    token_rewards: Tensor, count: Tensor, *, gamma: Annotated[float, Bound(ge=0, le=1)] = 1.0
) -> tuple[Tensor, Tensor]:
    """REINFORCE++: the reward still to come after each token, in standard deviations of the whole batch.

    G_t = sum_{l >= 0} gamma^l r_{t+l};  A_t = (G_t - mean) / std,  over all sampled tokens of the batch

    Args:
        token_rewards: (N,) reward of each sampled token: the response's on its last one, less the price of KL.
        count: (R,) sampled tokens of each response.
        gamma: discount a token, [0, 1].
    Returns:
        (N,) advantages and (N,) returns G, float64; NaN before a reward that is NaN.
    Source: Hu et al. 2025, arXiv:2501.03262, section REINFORCE++.
    Differs: verl computes this; OpenRLHF's deviation has divisor N in place of N - 1.
    """
    returns = to_go(token_rewards.double(), count, gamma)
    return whitened(returns), returns


@advantage("gae", source="Schulman et al. 2015, arXiv:1506.02438, eq. 16", unit="token")
def gae(
    token_rewards: Tensor,
    values: Tensor,
    count: Tensor,
    *,
    gamma: Annotated[float, Bound(ge=0, le=1)] = 1.0,
    lam: Annotated[float, Bound(ge=0, le=1)] = 0.95,
    whiten: bool = True,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation: what the critic did not expect, from each token on.

    delta_t = r_t + gamma * V_{t+1} - V_t,  V behind the last token = 0
    A_t = sum_{l >= 0} (gamma * lam)^l delta_{t+l};  return_t = A_t + V_t

    Args:
        token_rewards: (N,) reward of each sampled token: the response's on its last one, less the price of KL.
        values: (N,) what the critic expected before each token, in units of reward.
        count: (R,) sampled tokens of each response.
        gamma: discount a token, [0, 1].
        lam: [0, 1]: 1 trusts the rewards alone (no bias), 0 the critic one token ahead (least variance).
        whiten: advantages to mean 0 and deviation 1 over the batch; returns are left as they are.
    Returns:
        (N,) advantages and (N,) returns, float64; NaN before a reward that is NaN.
    Source: Schulman et al. 2015, arXiv:1506.02438, eq. 16.
    Differs: TRL dropped PPO in 1.16; verl and OpenRLHF compute this and whiten always, OpenRLHF with divisor N. A
        response that was cut short ends like any other, as there.
    """
    rewards, values = token_rewards.double(), values.detach().double()
    following = torch.cat((values[1:], values.new_zeros(min(1, len(values)))))
    last = (count.cumsum(0) - 1)[count > 0]
    following[last] = 0.0
    raw = to_go(rewards + gamma * following - values, count, gamma * lam)
    return (whitened(raw) if whiten else raw), raw + values


def to_go(values: Tensor, count: Tensor, factor: float) -> Tensor:
    """(N,) discounted sum from each token to its response's end: y_t = x_t + factor * y_{t+1}."""
    out = values.clone()
    last = count.cumsum(0) - 1
    for back in range(1, int(count.max()) if len(count) else 0):
        here = (last - back)[count > back]
        out[here] += factor * out[here + 1]
    return out


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Share of the returns' variance that the critic foresaw: 1 - Var(return - V) / Var(return); NaN where none is.

    1 is perfect, 0 no better than a constant, below 0 worse than that. Tokens whose return is NaN are left out.
    """
    known = ~returns.isnan()
    returns, values = returns[known].double(), values.detach()[known].double()
    spread = float(returns.var(correction=0)) if len(returns) else 0.0
    return float("nan") if spread == 0 else 1 - float((returns - values).var(correction=0)) / spread


def _known(rewards: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which responses were scored, (R,) bool; the place of each one's group, (R,); scored responses a group, (G,)."""
    scored = ~rewards.isnan()
    _, place = torch.unique_consecutive(groups, return_inverse=True)
    count = int(place[-1]) + 1 if len(place) else 0
    return scored, place, _sums(scored.double(), place, count)


def _sums(values: Tensor, place: Tensor, count: int) -> Tensor:
    """(count,) sum of the values at each place."""
    return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, place, values)


def _centred(rewards: Tensor, scored: Tensor, place: Tensor, size: Tensor) -> Tensor:
    """(R,) rewards less their group's mean; exactly 0 where all of a group are the same."""
    known = torch.where(scored, rewards.double(), 0.0)
    mean = _sums(known, place, len(size)) / size.clamp(min=1)
    first = torch.full((len(size),), -torch.inf, dtype=torch.float64, device=rewards.device)
    top = first.scatter_reduce(0, place, torch.where(scored, known, -torch.inf), "amax")
    low = (-first).scatter_reduce(0, place, torch.where(scored, known, torch.inf), "amin")
    flat = (top == low)[place]
    return torch.where(scored, torch.where(flat, 0.0, known - mean[place]), torch.nan)
