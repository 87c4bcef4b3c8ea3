"""Losses on the likelihood of a response."""

from __future__ import annotations

from hizala.core.logps import Pairs, SeqLogps, Terms
from hizala.registry import loss


@loss("nll", data="response", source="Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5 (supervised fine-tuning)")
def nll(policy: SeqLogps) -> Terms:
    """Supervised fine-tuning: negative log-likelihood of each counted response token.

    loss_t = -log pi(y_t | x, y_<t)

    Args:
        policy: log-probs of R responses, N counted tokens in all.
    Returns:
        Terms: loss (N,), nats a token, unit "token"; metric `nll` (N,).
    Source: Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5.
    Differs: implementations that average within each micro-batch first weigh tokens by the luck of the cut; here, as
        in TRL 1.16, every counted token of the whole batch weighs the same (or every response, by reduction).
    """
    return Terms(-policy.tokens, "token", {"nll": -policy.tokens.detach()}, policy.segments)


@loss(
    "chosen_nll",
    data="pair",
    unit="chosen_token",
    source="Pang et al. 2024, arXiv:2404.19733, eq. 1 (the NLL term)",
)
def chosen_nll(policy: Pairs) -> Terms:
    """Negative log-likelihood of the chosen response's tokens, to be added to a pairwise loss.

    loss_t = -log pi(y_t | x, y_<t),  y = chosen

    Args:
        policy: log-probs of P pairs; the rejected side is not used.
    Returns:
        Terms: loss (N,), nats a token of the N chosen tokens, unit "chosen_token"; metric `nll` (N,).
    Source: Pang et al. 2024, arXiv:2404.19733, eq. 1: there each response is divided by its own length;
        choose reduction "response" for that.
    Differs: TRL 1.16 ("sft" among its DPO losses) averages tokens within each micro-batch; here over the whole batch.
    """
    tokens = policy.chosen.tokens
    return Terms(-tokens, "chosen_token", {"nll": -tokens.detach()}, policy.chosen.segments)
