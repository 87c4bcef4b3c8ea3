"""What losses on preferences share: log-ratios, the logistic loss, and the metrics of a pair."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hizala.core.logps import Pairs, SeqLogps


class Sides(NamedTuple):
    """One number for the chosen and one for the rejected response of each pair, (P,) each."""

    chosen: Tensor
    rejected: Tensor

    @property
    def gap(self) -> Tensor:
        """(P,) chosen minus rejected."""
        return self.chosen - self.rejected


def totals(logps: Pairs) -> Sides:
    """Nats summed over each response's counted tokens."""
    return Sides(logps.chosen.total, logps.rejected.total)


def means(logps: Pairs) -> Sides:
    """Nats a counted token of each response; 0 for an empty response."""
    return Sides(logps.chosen.mean, logps.rejected.mean)


def log_ratios(policy: Pairs, reference: Pairs) -> Sides:
    """log pi - log ref of whole responses, nats; gradient reaches the policy alone."""
    chosen = policy.chosen.total - reference.chosen.total.detach()
    return Sides(chosen, policy.rejected.total - reference.rejected.total.detach())


def mean_log_ratios(policy: Pairs, reference: Pairs) -> Sides:
    """log pi - log ref in nats a token of each response; gradient reaches the policy alone."""
    chosen = policy.chosen.mean - reference.chosen.mean.detach()
    return Sides(chosen, policy.rejected.mean - reference.rejected.mean.detach())


def logistic(h: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """-(1 - eps) log sigmoid(h) - eps log sigmoid(-h): the loss of a preference that holds with probability 1 - eps."""
    kept = -logsigmoid(h)
    return kept if label_smoothing == 0 else (1 - label_smoothing) * kept - label_smoothing * logsigmoid(-h)


def with_reference(margin: Tensor, ratios: Sides) -> dict[str, Tensor]:
    """Metrics of a loss on pairs that has a reference: margin, accuracy and both log-ratios, (P,) each."""
    return _margin(margin) | {
        "chosen_logratio": ratios.chosen.detach(),
        "rejected_logratio": ratios.rejected.detach(),
    }


def without_reference(margin: Tensor, policy: Pairs) -> dict[str, Tensor]:
    """Metrics of a loss on pairs that has no reference: margin, accuracy and nats a token of each side, (P,) each."""
    logps = means(policy)
    return _margin(margin) | {"chosen_logp": logps.chosen.detach(), "rejected_logp": logps.rejected.detach()}


def _margin(margin: Tensor) -> dict[str, Tensor]:
    margin = margin.detach()
    return {"margin": margin, "accuracy": (margin > 0).to(margin.dtype)}


def positions(logps: SeqLogps) -> Tensor:
    """(N,) int64, how many counted tokens of the same response stand before each counted token."""
    first = logps.count.cumsum(0) - logps.count
    return torch.arange(len(logps.segments), device=logps.segments.device) - first[logps.segments]


def sums(values: Tensor, logps: SeqLogps) -> Tensor:
    """(R,) sum over each response of values that stand one a counted token."""
    zero = torch.zeros(logps.count.shape[0], dtype=values.dtype, device=values.device)
    return zero.index_add(0, logps.segments, values)
