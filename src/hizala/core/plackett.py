"""The Plackett-Luce likelihood of rankings with ties, for whatever stands as a response's worth."""

from __future__ import annotations

import torch
from torch import Tensor

from hizala.core.logps import Lists


def ranking_nll(worth: Tensor, lists: Lists) -> Tensor:
    """Negative log-likelihood of each group's ranking: the better is chosen from itself and all that is worse.

    nll = sum_i [log(exp s_i + sum_{j: rank_j > rank_i} exp s_j) - s_i],  s = worth

    Tied responses do not compete: neither stands among those the other was chosen from, so a tie says nothing of
    the order within it. Without ties this is Plackett-Luce; for two responses it is Bradley-Terry; for one best
    and the rest tied it is the exact likelihood of that best one.

    Args:
        worth: (R,) real numbers, on the scale of log-odds; gradient reaches them.
        lists: rank and group of the R responses.
    Returns:
        (G,) nats; 0 for a group of one, or whose responses are all tied.
    Source: Plackett 1975, Applied Statistics 24(2), eq. 1; Luce 1959, Individual Choice Behavior, ch. 1.
    Differs: the Breslow form keeps tied responses in each other's sums and so pulls their worth together.
    """
    s, rank, present = spread(worth, lists)
    worse = (rank[:, None, :] > rank[:, :, None]) & present[:, None, :]
    itself = torch.eye(s.shape[1], dtype=torch.bool, device=s.device)
    rivals = s[:, None, :].expand(-1, s.shape[1], -1).masked_fill(~(worse | itself), -torch.inf)
    return (torch.logsumexp(rivals, dim=-1) - s).sum(-1)


def kendall(worth: Tensor, lists: Lists) -> Tensor:
    """(G,) in [-1, 1]: pairs of one group ordered as ranked less pairs ordered against it, over all ranked pairs.

    Ties in rank are no pair; equal worth counts 0. A group without a ranked pair gives 0. No gradient.

    Source: Kendall 1938, Biometrika 30, sec. 2 (tau, over the pairs that the ranking orders).
    """
    s, rank, present = spread(worth.detach(), lists)
    worse = (rank[:, None, :] > rank[:, :, None]) & present[:, None, :] & present[:, :, None]
    agrees = torch.sign(s[:, :, None] - s[:, None, :]) * worse
    return agrees.sum((1, 2)) / worse.sum((1, 2)).clamp(min=1)


def spread(worth: Tensor, lists: Lists) -> tuple[Tensor, Tensor, Tensor]:
    """(G, K) worth, ranks and which places are taken, K the longest list; empty places hold 0 and rank last of all."""
    sizes = torch.bincount(lists.group)
    groups, longest = sizes.shape[0], int(sizes.max()) if len(sizes) else 0
    place = torch.arange(len(lists.group), device=worth.device) - (sizes.cumsum(0) - sizes)[lists.group]
    at = (lists.group, place)
    present = torch.zeros(groups, longest, dtype=torch.bool, device=worth.device)
    present[at] = True
    rank = torch.full((groups, longest), torch.iinfo(torch.int64).max, device=worth.device)
    rank[at] = lists.rank
    return worth.new_zeros(groups, longest).index_put(at, worth), rank, present
