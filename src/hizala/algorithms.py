"""THE TABLE: an algorithm is a row. It names its data, losses and weights, reduction, defaults and source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hizala.registry import Registry


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row of the table.

    Attributes:
        name: what a recipe calls it.
        data: what a group must hold (`registry.DATA_SHAPES`).
        losses: registered losses and their default weights; weight 0 is offered but off.
        summary: one line for `--help` and docs.
        source: paper and equation.
        defaults: vetted settings of a stage that differ from the general ones, parameters of its losses included.
        heads: heads that the losses read and training adds where the model has none.
        produces: what its stage leaves: a policy, or a reward model that later stages score with.
        advantage: registered advantage that turns rewards into what the losses weigh; rows of online RL have one.
    """

    name: str
    data: str
    losses: Mapping[str, float]
    summary: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    produces: Literal["policy", "reward"] = "policy"
    advantage: str | None = None


algorithms: Registry[Algorithm] = Registry("algorithm")

for _row in (
    Algorithm(
        name="sft",
        data="response",
        losses={"nll": 1.0},
        summary="supervised fine-tuning on the response tokens",
        source="Ouyang et al. 2022, arXiv:2203.02155, sec. 3.5",
        defaults={"learning_rate": 5e-4},
    ),
    Algorithm(
        name="dpo",
        data="pair",
        losses={"dpo": 1.0, "chosen_nll": 0.0},
        summary="Direct Preference Optimization; label_smoothing > 0 makes it cDPO",
        source="Rafailov et al. 2023, arXiv:2305.18290, eq. 7",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="cdpo",
        data="pair",
        losses={"dpo": 1.0, "chosen_nll": 0.0},
        summary="conservative DPO: both directions of a pair, weighted by the chance that its label is flipped",
        source="Mitchell 2023, cDPO note (https://ericmitchell.ai/cdpo.pdf), eq. 3",
        defaults={"learning_rate": 5e-5, "label_smoothing": 0.1},
    ),
    Algorithm(
        name="robust_dpo",
        data="pair",
        losses={"robust_dpo": 1.0},
        summary="robust DPO: the DPO loss on true labels, estimated without bias from labels flipped at a known rate",
        source="Chowdhury et al. 2024, arXiv:2403.00409, sec. 3",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="ipo",
        data="pair",
        losses={"ipo": 1.0},
        summary="Identity Preference Optimization: regress the log-ratio margin on 1 / (2 tau)",
        source="Azar et al. 2023, arXiv:2310.12036, eq. 17",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="hinge",
        data="pair",
        losses={"hinge": 1.0},
        summary="hinge on the log-ratio margin (SLiC with a reference)",
        source="Liu et al. 2023, arXiv:2309.06657, eq. 10",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="slic",
        data="pair",
        losses={"slic": 1.0, "chosen_nll": 1.0},
        summary="SLiC-HF: hinge on log-likelihoods, with the likelihood of the chosen response; no reference",
        source="Zhao et al. 2023, arXiv:2305.10425, sec. 2",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="simpo",
        data="pair",
        losses={"simpo": 1.0, "chosen_nll": 0.0},
        summary="Simple Preference Optimization: mean log-probs and a target margin; no reference",
        source="Meng et al. 2024, arXiv:2405.14734, eq. 6",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="cpo",
        data="pair",
        losses={"cpo": 1.0, "chosen_nll": 1.0},
        summary="Contrastive Preference Optimization: DPO with a uniform reference, and the chosen likelihood",
        source="Xu et al. 2024, arXiv:2401.08417, eq. 3 and the likelihood term after it",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="orpo",
        data="pair",
        losses={"chosen_nll": 1.0, "orpo": 0.1},
        summary="Odds Ratio Preference Optimization: chosen likelihood plus lambda (orpo_weight) of the odds ratio",
        source="Hong et al. 2024, arXiv:2403.07691, eq. 6",
        defaults={"learning_rate": 5e-5, "reduction": "response"},
    ),
    Algorithm(
        name="apo_zero",
        data="pair",
        losses={"apo_zero": 1.0},
        summary="Anchored Preference Optimization, zero: chosen up, rejected down",
        source="D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 7",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="apo_down",
        data="pair",
        losses={"apo_down": 1.0},
        summary="Anchored Preference Optimization, down: chosen a little down, rejected more",
        source="D'Oosterlinck et al. 2024, arXiv:2408.06266, eq. 8",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="nca",
        data="pair",
        losses={"nca": 1.0},
        summary="Noise Contrastive Alignment on pairs: holds the chosen response's likelihood",
        source="Chen et al. 2024, arXiv:2402.05369, sec. 4",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="exo",
        data="pair",
        losses={"exo": 1.0},
        summary="Efficient Exact Optimization on pairs: reverse KL to the smoothed label",
        source="Ji et al. 2024, arXiv:2402.00856, eq. 16",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="aot",
        data="pair",
        losses={"aot": 1.0},
        summary="Alignment via Optimal Transport: sorted margins above the reference's sorted margins",
        source="Melnyk et al. 2024, arXiv:2406.05882, sec. 2",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="aot_unpaired",
        data="thumb",
        losses={"aot_unpaired": 1.0, "desirable_nll": 0.0},
        summary="Alignment via Optimal Transport on thumbs: quantiles of good rewards above quantiles of bad ones",
        source="Melnyk et al. 2024, arXiv:2406.05882, sec. 2",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="sppo",
        data="pair",
        losses={"sppo": 1.0},
        summary="Self-Play Preference Optimization, hard: each log-ratio to half of 1 / beta, up or down",
        source="Wu et al. 2024, arXiv:2405.00675, eq. 4.7",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="sppo_soft",
        data="scored",
        losses={"sppo_soft": 1.0},
        summary="Self-Play Preference Optimization on win probabilities in place of scores",
        source="Wu et al. 2024, arXiv:2405.00675, eq. 4.7",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="discopop",
        data="pair",
        losses={"discopop": 1.0},
        summary="DiscoPOP: logistic and exponential loss blended by the margin",
        source="Lu et al. 2024, arXiv:2406.08414, eq. 5",
        # The paper's 0.05 makes the loss rise where every pair begins: on small models it trains the wrong order.
        defaults={"learning_rate": 5e-5, "tau": 0.2},
    ),
    Algorithm(
        name="dpo_norm",
        data="pair",
        losses={"dpo_norm": 1.0},
        summary="length-normalised DPO: log-ratios per token",
        source="Lambert et al. 2024, arXiv:2411.15124, eq. 6",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="ld_dpo",
        data="pair",
        losses={"ld_dpo": 1.0},
        summary="LD-DPO: tokens beyond the shorter response's length count for less",
        source="Liu et al. 2024, arXiv:2409.06411, sec. 4",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="rdpo",
        data="pair",
        losses={"rdpo": 1.0},
        summary="length-regularised DPO: a price of alpha nats a token",
        source="Park et al. 2024, arXiv:2403.19159, eq. 9",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="wpo",
        data="pair",
        losses={"wpo": 1.0},
        summary="Weighted Preference Optimization: DPO on pairs weighted by how likely the policy is to write them",
        source="Zhou et al. 2024, arXiv:2406.11827, eq. 2",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="rpo",
        data="pair",
        losses={"dpo": 1.0, "chosen_nll": 1.0},
        summary="DPO with the likelihood of the chosen response, each divided by its length",
        source="Pang et al. 2024, arXiv:2404.19733, eq. 1",
        defaults={"learning_rate": 5e-5, "reduction": "response"},
    ),
    Algorithm(
        name="tdpo",
        data="pair",
        losses={"tdpo2": 1.0},
        summary="token-level DPO (TDPO2): the rejected response's divergence is trained down to the chosen one's",
        source="Zeng et al. 2024, arXiv:2404.11999, sec. 4.3",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="tdpo1",
        data="pair",
        losses={"tdpo1": 1.0},
        summary="token-level DPO (TDPO1): Bradley-Terry on token rewards, exactly",
        source="Zeng et al. 2024, arXiv:2404.11999, sec. 4.3",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="fdpo",
        data="pair",
        losses={"fdpo": 1.0},
        summary="f-DPO: DPO under another divergence (reverse or forward KL, Jensen-Shannon, alpha)",
        source="Wang et al. 2023, arXiv:2309.16240, thm. 1",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="odpo",
        data="pair",
        losses={"odpo": 1.0},
        summary="DPO with an offset by how much better the chosen response was judged",
        source="Amini et al. 2024, arXiv:2402.10571, eq. 8",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="kto",
        data="thumb",
        losses={"kto": 1.0, "desirable_nll": 0.0},
        summary="Kahneman-Tversky Optimization on single thumbs up and down",
        source="Ethayarajh et al. 2024, arXiv:2402.01306, eq. 8",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="bco",
        data="thumb",
        losses={"bco": 1.0, "desirable_nll": 0.0},
        summary="Binary Classifier Optimization on single thumbs, with a running reward shift",
        source="Jung et al. 2024, arXiv:2404.04656, sec. 3",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="pl_dpo",
        data="ranking",
        losses={"pl_dpo": 1.0},
        summary="Plackett-Luce DPO: the likelihood of whole rankings of K responses",
        source="Rafailov et al. 2023, arXiv:2305.18290, eq. 20",
        defaults={"learning_rate": 5e-5},
    ),
    Algorithm(
        name="reward",
        data="pair",
        losses={"bradley_terry": 1.0, "reward_centre": 0.0},
        summary="reward model on pairs: Bradley-Terry, on request centred or an ensemble",
        source="Ouyang et al. 2022, arXiv:2203.02155, eq. 1",
        defaults={"learning_rate": 1e-3},
        heads=("score",),
        produces="reward",
    ),
    Algorithm(
        name="reward_margin",
        data="pair",
        losses={"bradley_terry_margin": 1.0, "reward_centre": 0.0},
        summary="reward model on pairs whose strength of preference is known, as a margin between the scores",
        source="Touvron et al. 2023, arXiv:2307.09288, eq. 2",
        defaults={"learning_rate": 1e-3},
        heads=("score",),
        produces="reward",
    ),
    Algorithm(
        name="reward_kwise",
        data="ranking",
        losses={"plackett_luce": 1.0},
        summary="reward model on rankings of K responses: Plackett-Luce",
        source="Plackett 1975, Applied Statistics 24(2), eq. 1",
        defaults={"learning_rate": 1e-3},
        heads=("score",),
        produces="reward",
    ),
    Algorithm(
        name="reward_attributes",
        data="scored",
        losses={"attribute_mse": 1.0},
        summary="reward model with one output a graded attribute: helpfulness, correctness, …",
        source="Wang et al. 2024, arXiv:2406.08673, sec. 3.1",
        defaults={"learning_rate": 1e-3},
        heads=("score",),
        produces="reward",
    ),
    Algorithm(
        name="reward_grades",
        data="scored",
        losses={"grade_mse": 1.0},
        summary="reward model that predicts the annotator's grade of a response",
        source="Cobbe et al. 2021, arXiv:2110.14168, sec. 4.2",
        defaults={"learning_rate": 1e-3},
        heads=("score",),
        produces="reward",
    ),
    Algorithm(
        name="reward_process",
        data="steps",
        losses={"step_bce": 1.0},
        summary="process reward model: the probability that each marked step is right",
        source="Lightman et al. 2023, arXiv:2305.20050, sec. 2.6",
        defaults={"learning_rate": 1e-3},
        heads=("step",),
        produces="reward",
    ),
    Algorithm(
        name="ppo",
        data="rollout",
        losses={"clip": 1.0, "value": 0.1, "kl": 0.0, "entropy": 0.0},
        summary="Proximal Policy Optimization: the clipped surrogate on advantages that a critic estimates (GAE)",
        source="Schulman et al. 2017, arXiv:1707.06347, eq. 7 and 9",
        defaults={"reduction": "token"},
        heads=("value",),
        advantage="gae",
    ),
    Algorithm(
        name="grpo",
        data="rollout",
        losses={"clip": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="Group Relative Policy Optimization: rewards against those of the other responses to the prompt",
        source="Shao et al. 2024, arXiv:2402.03300, eq. 3",
        defaults={"reduction": "response"},
        advantage="grpo",
    ),
    Algorithm(
        name="dr_grpo",
        data="rollout",
        losses={"clip": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="GRPO without the divisions by length and deviation that bias its gradient",
        source="Liu et al. 2025, arXiv:2503.20783, sec. 3.2",
        defaults={"reduction": "fixed"},
        advantage="dr_grpo",
    ),
    Algorithm(
        name="dapo",
        data="rollout",
        losses={"clip": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="GRPO with a higher upper clip, a mean over tokens, refilled idle groups and a soft limit of length",
        source="Yu et al. 2025, arXiv:2503.14476, eq. 8",
        defaults={"reduction": "token", "clip_high": 0.28, "dynamic_sampling": True, "overlong_buffer": 32},
        advantage="grpo",
    ),
    Algorithm(
        name="gspo",
        data="rollout",
        losses={"gspo": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="Group Sequence Policy Optimization: GRPO with one importance ratio a response",
        source="Zheng et al. 2025, arXiv:2507.18071, eq. 5",
        defaults={"reduction": "response"},
        advantage="grpo",
    ),
    Algorithm(
        name="cispo",
        data="rollout",
        losses={"cispo": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="clipped importance weights in place of clipped tokens: every token keeps its gradient",
        source="MiniMax 2025, arXiv:2506.13585, eq. 4",
        defaults={"reduction": "token"},
        advantage="grpo",
    ),
    Algorithm(
        name="rloo",
        data="rollout",
        losses={"reinforce": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="REINFORCE with the mean reward of the other responses as the baseline",
        source="Ahmadian et al. 2024, arXiv:2402.14740, section REINFORCE Leave-One-Out",
        defaults={"reduction": "fixed"},
        advantage="rloo",
    ),
    Algorithm(
        name="reinforce",
        data="rollout",
        losses={"reinforce": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="policy gradient with the bare reward",
        source="Williams 1992, Machine Learning 8, thm. 1",
        defaults={"reduction": "fixed"},
        advantage="reinforce",
    ),
    Algorithm(
        name="reinforce_pp",
        data="rollout",
        losses={"clip": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="REINFORCE++: rewards to go in deviations of the whole batch, with the clip of PPO and no critic",
        source="Hu et al. 2025, arXiv:2501.03262, section REINFORCE++",
        defaults={"reduction": "token"},
        advantage="reinforce_pp",
    ),
    Algorithm(
        name="reinforce_pp_baseline",
        data="rollout",
        losses={"clip": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="REINFORCE++ less each group's mean reward",
        source="Hu et al. 2025, arXiv:2501.03262, section REINFORCE++",
        defaults={"reduction": "token"},
        advantage="reinforce_pp_baseline",
    ),
    Algorithm(
        name="remax",
        data="rollout",
        losses={"reinforce": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="REINFORCE with the reward of the greedy response as the baseline",
        source="Li et al. 2023, arXiv:2310.10505, alg. 1",
        defaults={"reduction": "fixed"},
        advantage="remax",
    ),
    Algorithm(
        name="gpg",
        data="rollout",
        losses={"reinforce": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="group policy gradient: no clip, rewards less the group's mean, idle groups made up for",
        source="Chu et al. 2025, arXiv:2504.02546, sec. 2",
        defaults={"reduction": "token"},
        advantage="gpg",
    ),
    Algorithm(
        name="maxrl",
        data="rollout",
        losses={"reinforce": 1.0, "kl": 0.0, "entropy": 0.0},
        summary="maximum-likelihood RL: rewards in units of the group's mean, so that hard prompts weigh more",
        source="Tajwar et al. 2026, arXiv:2602.02710, thm. 1",
        defaults={"reduction": "fixed"},
        advantage="maxrl",
    ),
):
    algorithms.add(_row.name, _row)
