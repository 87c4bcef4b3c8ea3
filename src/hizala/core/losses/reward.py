"""Losses of reward models: on pairs, on lists, on graded attributes, on marked steps.

A score head may have several outputs. Where they are members of an ensemble (every loss here but `attribute_mse`),
each learns from the same data and a term is the mean over members.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from hizala.core.logps import Lists, Marks, Terms
from hizala.core.plackett import kendall, ranking_nll
from hizala.errors import ConfigError
from hizala.registry import Bound, loss

Smoothing = Annotated[float, Bound(ge=0, lt=0.5)]
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


@loss("bradley_terry", data="pair", source="Bradley & Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, eq. 1")
def bradley_terry(scores: Tensor, *, label_smoothing: Smoothing = 0.0) -> Terms:
    """Bradley-Terry reward model: logistic regression on the difference of two scores.

    h = r(chosen) - r(rejected)
    loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h),  eps = label_smoothing

    Args:
        scores: (P, 2) or (P, 2, A), chosen first: log-odds up to a constant a prompt; A members each learn alone.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5).
    Returns:
        Terms: loss (P,), nats, unit "pair"; metrics `margin`, `accuracy`, `chosen_score`, `rejected_score` (P,), of
            the mean over members.
    Source: Bradley & Terry 1952, Biometrika 39, eq. 2; Ouyang et al. 2022, arXiv:2203.02155, eq. 1; label
        smoothing as in Wang et al. 2024, arXiv:2401.06080.
    Differs: Ouyang et al. divide each prompt by its C(K, 2) comparisons; give such groups a weight for that.
    """
    return _paired(scores, scores[:, 0] - scores[:, 1], label_smoothing)


@loss("bradley_terry_margin", data="pair", source="Touvron et al. 2023, arXiv:2307.09288, eq. 2")
def bradley_terry_margin(
    scores: Tensor,
    margins: Tensor,
    *,
    label_smoothing: Smoothing = 0.0,
    margin_scale: Annotated[float, Bound(gt=0)] = 1.0,
) -> Terms:
    """Bradley-Terry with a margin: the chosen score must lead by more where the preference is stronger.

    h = r(chosen) - r(rejected) - margin_scale * m
    loss = -(1 - eps) * log sigmoid(h) - eps * log sigmoid(-h - 2 * margin_scale * m),  eps = label_smoothing

    Args:
        scores: (P, 2) or (P, 2, A), chosen first.
        margins: (P,) m, how strongly the chosen one is preferred, in the annotator's unit; 0 is plain Bradley-Terry.
        label_smoothing: assumed probability that a label is flipped, [0, 0.5); the flipped pair keeps its margin.
        margin_scale: > 0, log-odds for one unit of m.
    Returns:
        Terms: as `bradley_terry`; the metric `margin` is the difference of scores itself, without m.
    Source: Touvron et al. 2023, arXiv:2307.09288, eq. 2 (m by category of preference, their table 27).
    """
    m = (margin_scale * margins.detach()).to(scores.dtype)
    if scores.ndim == 3:
        m = m[:, None]
    return _paired(scores, scores[:, 0] - scores[:, 1], label_smoothing, m)


@loss("reward_centre", data="pair", source="Eisenstein et al. 2023, arXiv:2312.09244, eq. 2")
def reward_centre(scores: Tensor) -> Terms:
    """Centring of a reward model: holds the two scores of a pair around zero. Its weight is the paper's eta.

    loss = (r(chosen) + r(rejected))^2

    Args:
        scores: (P, 2) or (P, 2, A), chosen first.
    Returns:
        Terms: loss (P,), squared log-odds, unit "pair"; metric `centre` (P,), the mean of the two scores.
    Source: Eisenstein et al. 2023, arXiv:2312.09244, eq. 2 (the regulariser that makes scores identifiable).
    """
    total = scores[:, 0] + scores[:, 1]
    return Terms(_over_members(total.square()), "pair", {"centre": _over_members(total.detach()) / 2})


@loss(
    "plackett_luce", data="ranking", source="Plackett 1975; Luce 1959; Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5"
)
def plackett_luce(scores: Tensor, ranks: Lists) -> Terms:
    """Plackett-Luce reward model on K-wise rankings: the whole order at once instead of its pairs.

    loss = sum_i [log(exp r_i + sum_{j worse than i} exp r_j) - r_i]

    Ties: tied responses do not compete; see `core.plackett.ranking_nll`.

    Args:
        scores: (R,) or (R, A): log-odds up to a constant a group.
        ranks: rank and group of the R responses; 0 is best.
    Returns:
        Terms: loss (G,), nats a group (of its K - 1 choices together), unit "group"; metric `tau` (G,), Kendall's,
            of the mean over members.
    Source: Plackett 1975, Applied Statistics 24(2), eq. 1. For K = 2 it equals `bradley_terry`.
    """
    members = scores.unbind(1) if scores.ndim == 2 else (scores,)
    terms = torch.stack([ranking_nll(member, ranks) for member in members]).mean(0)
    return Terms(terms, "group", {"tau": kendall(_over_members(scores), ranks).to(terms.dtype)})


@loss("attribute_mse", data="scored", unit="grade", source="Wang et al. 2024, arXiv:2406.08673, sec. 3.1 (regression)")
def attribute_mse(scores: Tensor, attributes: Tensor, *, names: tuple[str, ...] = HELPSTEER) -> Terms:
    """Multi-attribute regression: one output a named attribute, squared error where a grade is known.

    loss_{r,a} = (s_{r,a} - grade_{r,a})^2

    Args:
        scores: (R, A), the head's outputs in the order of `names`; (R,) where there is one.
        attributes: (R, A) grades in the annotator's unit, NaN where not known: such an entry is no term.
        names: the A attributes, as the data name them.
    Returns:
        Terms: loss (U,) over the U known grades, squared units of the grade, unit "grade"; metric `error` (U,), the
            absolute error.
    Raises:
        ConfigError: the head has another number of outputs than there are attributes.
    Source: Wang et al. 2024, arXiv:2406.08673 (HelpSteer2), sec. 3.1; the attributes of arXiv:2311.09528.
    """
    scores = scores[:, None] if scores.ndim == 1 else scores
    if scores.shape != attributes.shape:
        raise ConfigError(
            f"the score head has {scores.shape[1]} outputs for {attributes.shape[1]} attributes ({', '.join(names)})",
            fix="start from a model without a score head, or name the attributes it was made for",
        )
    known = ~attributes.isnan()
    error = scores[known] - attributes[known].detach().to(scores.dtype)
    return Terms(error.square(), "grade", {"error": error.detach().abs()}, known.nonzero()[:, 0])


@loss("grade_mse", data="scored", source="Cobbe et al. 2021, arXiv:2110.14168, sec. 4.2 (verifier, squared error)")
def grade_mse(scores: Tensor, grades: Tensor) -> Terms:
    """Score regression: squared error against the annotator's grade of each response.

    loss = (r - grade)^2

    Args:
        scores: (R,) or (R, A).
        grades: (R,) in the annotator's unit, which the scores then have too.
    Returns:
        Terms: loss (R,), squared units of the grade, unit "response"; metric `error` (R,), the absolute error of the
            mean over members.
    Source: Cobbe et al. 2021, arXiv:2110.14168, sec. 4.2 and app. E.
    """
    target = grades.detach().to(scores.dtype)
    error = scores - (target[:, None] if scores.ndim == 2 else target)
    return Terms(_over_members(error.square()), "response", {"error": (_over_members(scores.detach()) - target).abs()})


@loss("step_bce", data="steps", source="Lightman et al. 2023, arXiv:2305.20050, sec. 2.6; Uesato et al. 2022")
def step_bce(step_scores: Tensor, marks: Marks) -> Terms:
    """Process reward model: binary cross-entropy of each marked step, read at the step's last token.

    loss_s = -[c_s * log sigmoid(z_s) + (1 - c_s) * log sigmoid(-z_s)],  c_s = 1 where the step is right

    Args:
        step_scores: (S,) or (S, A) z, log-odds that the step is right.
        marks: which of the S marked steps are right, and the response of each.
    Returns:
        Terms: loss (S,), nats a marked step, unit "step"; metrics `accuracy` (S,) at probability 1/2 and
            `probability` (S,), of the step's being right, of the mean over members.
    Source: Lightman et al. 2023, arXiv:2305.20050, sec. 2.6; Uesato et al. 2022, arXiv:2211.14275.
    Differs: TRL's PRM trainer averages steps within each micro-batch; here over the whole batch.
    """
    right = marks.correct.to(step_scores.dtype)
    c = right[:, None] if step_scores.ndim == 2 else right
    terms = _over_members(-c * logsigmoid(step_scores) - (1 - c) * logsigmoid(-step_scores))
    score = _over_members(step_scores.detach())
    hit = ((score > 0) == marks.correct).to(score.dtype)
    return Terms(terms, "step", {"accuracy": hit, "probability": torch.sigmoid(score)}, marks.segments)


def _paired(scores: Tensor, gap: Tensor, smoothing: float, m: Tensor | float = 0.0) -> Terms:
    terms = -(1 - smoothing) * logsigmoid(gap - m) - smoothing * logsigmoid(-gap - m)
    mean = scores.detach() if scores.ndim == 2 else scores.detach().mean(-1)
    margin = _over_members(gap.detach())
    metrics = {
        "margin": margin,
        "accuracy": (margin > 0).to(margin.dtype),
        "chosen_score": mean[:, 0],
        "rejected_score": mean[:, 1],
    }
    return Terms(_over_members(terms), "pair", metrics)


def _over_members(values: Tensor) -> Tensor:
    """(U,) mean over the members where there are several."""
    return values.mean(1) if values.ndim == 2 else values
