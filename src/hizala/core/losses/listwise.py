"""Losses on rankings of K responses to one prompt."""

from __future__ import annotations

from typing import Annotated

from hizala.core.logps import Lists, SeqLogps, Terms
from hizala.core.plackett import kendall, ranking_nll
from hizala.registry import Bound, loss


@loss("pl_dpo", data="ranking", source="Rafailov et al. 2023, arXiv:2305.18290, eq. 20 (appendix A.3)")
def pl_dpo(policy: SeqLogps, reference: SeqLogps, ranks: Lists, *, beta: Annotated[float, Bound(gt=0)] = 0.1) -> Terms:
    """Plackett-Luce DPO: the likelihood of a whole ranking under the implicit rewards.

    r = beta * (log pi - log ref)
    loss = -log prod_{k=1..K} exp(r_(k)) / sum_{j >= k} exp(r_(j)),  (k) = the response ranked k-th

    With two responses it is DPO. Responses of equal rank do not compete: each is chosen from itself and those of
    strictly worse rank, so a tie says nothing, and a list of ties alone costs nothing.

    Args:
        policy, reference: log-probs of the R responses of G lists; `.total` is used: nats summed over tokens.
            Gradient reaches `policy` only.
        ranks: rank (0 is best) and list of each response.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
    Returns:
        Terms: loss (G,), nats a list; metrics `kendall`, agreement in [-1, 1] of the implicit rewards' order with
        the ranking (G,), and `logratio` (R,).
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 20 (appendix A.3).
    Differs: TRL 1.16, OpenRLHF and LLaMA-Factory have no loss on whole rankings; a list must be cut into pairs first.
    """
    s = policy.total - reference.total.detach()
    metrics = {"kendall": kendall(s, ranks).to(s.dtype), "logratio": s.detach()}
    return Terms(ranking_nll(beta * s, ranks), "group", metrics)
