"""Losses on preference pairs that read the margin between the log-ratios of the two responses."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from hizala.core.logps import Pairs, Terms
from hizala.core.losses._parts import log_ratios, logistic, mean_log_ratios, with_reference
from hizala.errors import ConfigError
from hizala.registry import Bound, loss

# Above this exponent the slopes of `fdpo` go on as straight lines, so that squared gradients stay finite in float32.
_STEEPEST = 30.0


@loss("dpo", data="pair", source="Rafailov et al. 2023, arXiv:2305.18290, eq. 7; Mitchell 2023, cDPO note, eq. 3")
def dpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.0,
) -> Terms:
    """Direct Preference Optimization: logistic regression on the implicit reward margin.

    h = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
    loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h),  eps = label_smoothing

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
            Gradient reaches `policy` only.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5). 0 is plain DPO, above is cDPO.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Raises:
        ConfigError: a bound above is violated (when the recipe loads, not here).
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 7; smoothing from Mitchell 2023, cDPO note, eq. 3.
    Differs: TRL 1.16 ignores label_smoothing for its "sigmoid" loss; its "robust" loss is another one (the unbiased
        estimate of Chowdhury et al. 2024). Metric `margin` is what TRL logs as rewards/margins (beta times nats).
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    return Terms(logistic(h, label_smoothing), "pair", with_reference(h, ratios))


@loss("robust_dpo", data="pair", source="Chowdhury et al. 2024, arXiv:2403.00409, sec. 3 (robust DPO)")
def robust_dpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(ge=0, lt=0.5)] = 0.1,
) -> Terms:
    """Robust DPO: an unbiased estimate, from labels flipped at a known rate, of the DPO loss on true labels.

    loss = [(1 - eps) * l(h) - eps * l(-h)] / (1 - 2 eps),  l(h) = -log sigmoid(h),  eps = label_smoothing
    h = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]

    Its mean over random flips is the DPO loss on true labels. A single term falls without bound as h grows.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        label_smoothing: known probability that a label is flipped, [0, 0.5). 0 is plain DPO.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Chowdhury et al. 2024, arXiv:2403.00409, sec. 3 (robust DPO).
    Differs: cDPO ("dpo" with label_smoothing) adds the flipped term and does not rescale: biased, but bounded below.
        TRL 1.16 ("robust") computes this equation.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    clean, flipped = -logsigmoid(h), -logsigmoid(-h)
    terms = ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    return Terms(terms, "pair", with_reference(h, ratios))


@loss("ipo", data="pair", source="Azar et al. 2023, arXiv:2310.12036, eq. 17")
def ipo(
    policy: Pairs,
    reference: Pairs,
    *,
    tau: Annotated[float, Bound(gt=0)] = 0.1,
    normalise: Literal["sum", "mean"] = "sum",
) -> Terms:
    """Identity Preference Optimization: regress the log-ratio margin on 1 / (2 tau), so that it cannot run away.

    h = (log pi - log ref)(chosen) - (log pi - log ref)(rejected)
    loss = (h - 1 / (2 tau))^2

    Args:
        policy, reference: log-probs of the P pairs, nats. Gradient reaches `policy` only.
        tau: > 0, per nat: strength of the regularisation. Larger holds the policy nearer the reference.
        normalise: "sum" takes whole responses, as the paper; "mean" divides each log-ratio by its response's tokens.
    Returns:
        Terms: loss (P,), nats squared; metrics `margin` (tau * h), `accuracy`, `chosen_logratio`,
        `rejected_logratio` (P,); the log-ratios are in the unit that `normalise` names.
    Source: Azar et al. 2023, arXiv:2310.12036, eq. 17.
    Differs: TRL 1.16 always divides by length (our "mean") and calls tau beta; OpenRLHF sums. LLaMA-Factory 0.9.5
        trains plain DPO under this name.
    """
    ratios = (log_ratios if normalise == "sum" else mean_log_ratios)(policy, reference)
    return Terms((ratios.gap - 1 / (2 * tau)).square(), "pair", with_reference(tau * ratios.gap, ratios))


@loss("hinge", data="pair", source="Liu et al. 2023, arXiv:2309.06657, eq. 10 (hinge-norm)")
def hinge(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    delta: Annotated[float, Bound(gt=0)] = 1.0,
) -> Terms:
    """Hinge on the implicit reward margin: SLiC's calibration with log-ratios in place of log-likelihoods.

    loss = max(0, delta - beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)])

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat (the paper's gamma).
        delta: > 0, margin after which a pair teaches nothing more; the paper fixes 1.
    Returns:
        Terms: loss (P,); metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Liu et al. 2023, arXiv:2309.06657, eq. 10 (hinge-norm).
    Differs: SLiC-HF itself has no reference in the hinge: that is our "slic". TRL 1.16 ("hinge") computes this
        equation with delta 1; LLaMA-Factory 0.9.5 trains plain DPO under this name.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    return Terms(relu(delta - h), "pair", with_reference(h, ratios))


@loss("exo", data="pair", source="Ji et al. 2024, arXiv:2402.00856, eq. 16")
def exo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    label_smoothing: Annotated[float, Bound(gt=0, lt=0.5)] = 1e-3,
) -> Terms:
    """Efficient Exact Optimization on a pair: reverse KL from the policy's preference to the smoothed label.

    q = sigmoid(h),  h = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]
    loss = q * [log q - log(1 - eps)] + (1 - q) * [log(1 - q) - log eps],  eps = label_smoothing

    DPO is the forward KL between the same two distributions. The least loss, 0, is at h = log((1 - eps) / eps).

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat (the paper's beta_pi).
        label_smoothing: eps in (0, 0.5): the label's distribution is (1 - eps, eps). 0 would make the KL infinite.
    Returns:
        Terms: loss (P,), nats; metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Ji et al. 2024, arXiv:2402.00856, eq. 16.
    Differs: TRL 1.16 ("exo_pair") computes this equation.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    chosen, rejected = logsigmoid(h), logsigmoid(-h)
    terms = chosen.exp() * (chosen - math.log1p(-label_smoothing))
    terms = terms + rejected.exp() * (rejected - math.log(label_smoothing))
    return Terms(terms, "pair", with_reference(h, ratios))


@loss("discopop", data="pair", source="Lu et al. 2024, arXiv:2406.08414, eq. 5")
def discopop(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.05,
    tau: Annotated[float, Bound(gt=0, le=1)] = 0.05,
) -> Terms:
    """DiscoPOP: the logistic and the exponential loss, blended by the margin itself (found by a search over code).

    x = beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)],  m = sigmoid(x / tau)
    loss = (1 - m) * log(1 + exp(-x)) + m * exp(-x)

    Not convex: around x = 0 the blend passes to the higher loss, and for tau below 0.1 the loss rises there, so that
    training starts by narrowing margins until the data tell pairs apart.

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0, per nat; the paper's value is 0.05.
        tau: (0, 1], temperature of the blend; the paper's value is 0.05. Above 1 the exponential term would grow
            without bound as x falls.
    Returns:
        Terms: loss (P,); metrics `margin`, `accuracy`, `chosen_logratio`, `rejected_logratio` (P,).
    Source: Lu et al. 2024, arXiv:2406.08414, eq. 5 (log-ratio modulated loss).
    Differs: TRL 1.16 multiplies exp(-x) by m after rounding: not a number in float32 from x = -89 on; here finite.
    """
    ratios = log_ratios(policy, reference)
    x = beta * ratios.gap
    terms = torch.sigmoid(-x / tau) * -logsigmoid(x) + torch.exp(logsigmoid(x / tau) - x)
    return Terms(terms, "pair", with_reference(x, ratios))


@loss("fdpo", data="pair", source="Wang et al. 2023, arXiv:2309.16240, thm. 1 and tab. 1")
def fdpo(
    policy: Pairs,
    reference: Pairs,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    divergence: Literal["reverse_kl", "forward_kl", "jensen_shannon", "alpha"] = "jensen_shannon",
    alpha: Annotated[float | None, Bound(gt=0, lt=1)] = None,
) -> Terms:
    """f-DPO: DPO for another divergence between policy and reference than the reverse KL.

    loss = -log sigmoid(beta * f'(u_chosen) - beta * f'(u_rejected)),  u = pi / ref of a whole response
    f'(u) = log u + 1 (reverse KL), -1/u (forward KL), log(2u / (1 + u)) (Jensen-Shannon), (1 - u^-alpha) / alpha

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        beta: > 0. Larger holds the policy nearer the reference.
        divergence: which f. "reverse_kl" is DPO; "alpha" lies between reverse (0) and forward KL (1).
        alpha: of the alpha divergence, (0, 1); given there and only there.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (the argument of sigmoid), `accuracy`, and both log-ratios (P,).
    Raises:
        ConfigError: alpha is missing, or given for another divergence.
    Source: Wang et al. 2023, arXiv:2309.16240, thm. 1 and tab. 1.
    Differs: TRL 1.16 writes (t^(a-1) - 1) / (a - 1): its coefficient a is 1 - alpha. Where log ref - log pi (times
        alpha) exceeds 30 nats, f' goes on as its tangent, so that gradients stay finite; TRL has inf or a clamp.
    """
    if (alpha is not None) != (divergence == "alpha"):
        problem = "needs alpha" if alpha is None else "takes no alpha"
        raise ConfigError(f"divergence '{divergence}' {problem}", fix="give alpha with divergence 'alpha' alone")
    ratios = log_ratios(policy, reference)
    h = beta * (_slope(ratios.chosen, divergence, alpha) - _slope(ratios.rejected, divergence, alpha))
    return Terms(logistic(h), "pair", with_reference(h, ratios))


def _slope(s: Tensor, divergence: str, alpha: float | None) -> Tensor:
    """f'(exp(s)) up to a constant, which cancels between the two responses."""
    if divergence == "reverse_kl":
        return s
    if divergence == "jensen_shannon":
        return logsigmoid(s)
    power = alpha or 1.0
    x = -power * s
    inside = x.clamp(max=_STEEPEST)
    return -inside.exp() * (1 + (x - inside)) / power


@loss("odpo", data="pair", source="Amini et al. 2024, arXiv:2402.10571, eq. 8")
def odpo(
    policy: Pairs,
    reference: Pairs,
    margins: Tensor,
    *,
    beta: Annotated[float, Bound(gt=0)] = 0.1,
    alpha: Annotated[float, Bound(ge=0)] = 1.0,
    scale: Literal["identity", "log"] = "identity",
) -> Terms:
    """DPO with an offset: the implicit reward margin must exceed what the annotator's margin asks for.

    loss = -log sigmoid(beta * [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)] - alpha * f(margin))

    Args:
        policy, reference: log-probs of the P pairs; `.total` is used: nats summed over response tokens.
        margins: (P,) how much better the chosen response was judged, in the annotator's unit.
        beta: > 0, per nat. Larger holds the policy nearer the reference.
        alpha: >= 0, nats a unit of f(margin). 0 is plain DPO.
        scale: f, "identity" or "log"; under "log" a margin of 0 or less asks for nothing and teaches nothing.
    Returns:
        Terms: loss (P,), nats; metrics `margin` (before the offset), `accuracy`, `chosen_logratio`,
        `rejected_logratio` (P,).
    Source: Amini et al. 2024, arXiv:2402.10571, eq. 8 (offset alpha * f(score difference)).
    Differs: TRL 1.16, OpenRLHF and LLaMA-Factory have no such loss; some take a margin in their reward models only.
    """
    ratios = log_ratios(policy, reference)
    h = beta * ratios.gap
    asked = margins if scale == "identity" else margins.clamp(min=0).log()
    # 0 * log 0 must be 0: without a weight there is no offset.
    offset = alpha * asked.detach().to(h.dtype) if alpha else torch.zeros_like(h)
    return Terms(logistic(h - offset), "pair", with_reference(h, ratios))
