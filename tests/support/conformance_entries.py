"""One entry a registered loss. `tests/laws/test_conformance_complete.py` fails where a loss has none."""

from __future__ import annotations

import conformance as c
import oracle_pairs as on_pairs
import oracle_sets as on_sets
import peers
import torch
from conformance import BETAS, SMOOTHINGS, Entry, Peer, grid, nearest, trl_dpo
from oracle_view import lengths

PAIRWISE: dict[str, Entry] = {
    "dpo": Entry(
        on_pairs.dpo,
        grid(beta=BETAS, label_smoothing=SMOOTHINGS),
        (
            Peer("TRL DPO sigmoid", trl_dpo("sigmoid", beta=0.3), {"beta": 0.3}),
            Peer(
                "TRL DPO sigmoid, label_smoothing 0.2",
                trl_dpo("sigmoid", beta=0.3, label_smoothing=0.2),
                {"beta": 0.3, "label_smoothing": 0.2},
                c.plain_dpo(0.3),
                "TRL accepts label_smoothing and ignores it: its number is plain DPO, ours is cDPO",
            ),
        ),
    ),
    "robust_dpo": Entry(
        on_pairs.robust_dpo,
        grid(beta=BETAS, label_smoothing=SMOOTHINGS),
        (
            Peer(
                "TRL DPO robust",
                trl_dpo("robust", beta=0.3, label_smoothing=0.2),
                {"beta": 0.3, "label_smoothing": 0.2},
            ),
        ),
    ),
    "ipo": Entry(
        on_pairs.ipo,
        grid(tau=BETAS, normalise=("sum", "mean")),
        (
            Peer("TRL DPO ipo, ours with normalise mean", trl_dpo("ipo", beta=0.3), {"tau": 0.3, "normalise": "mean"}),
            Peer(
                "TRL DPO ipo",
                trl_dpo("ipo", beta=0.3),
                {"tau": 0.3},
                c.ipo_averaged,
                "TRL divides each log-ratio by its response's length before the square; the paper sums",
            ),
        ),
    ),
    "hinge": Entry(
        on_pairs.hinge,
        grid(beta=BETAS, delta=(0.5, 1.0)),
        (Peer("TRL DPO hinge", trl_dpo("hinge", beta=0.3), {"beta": 0.3}),),
    ),
    "simpo": Entry(
        on_pairs.simpo,
        grid(beta=(0.1, 2.0, 10.0), gamma=(0.0, 0.5, 1.6)),
        (
            Peer(
                "TRL CPO simpo, cpo_alpha 0",
                lambda case: peers.trl_cpo(case, "simpo", beta=2.0, cpo_alpha=0.0, simpo_gamma=0.5),
                {"beta": 2.0, "gamma": 0.5},
            ),
            Peer(
                "TRL CPO simpo as it comes",
                lambda case: peers.trl_cpo(case, "simpo", beta=2.0, cpo_alpha=1.0, simpo_gamma=0.5),
                {"beta": 2.0, "gamma": 0.5},
                lambda case: c.mean(on_pairs.simpo(case, beta=2.0, gamma=0.5)) + c.mean(on_sets.chosen_nll(case)),
                "TRL adds the NLL of the chosen response (cpo_alpha is 1 unless set); SimPO has none",
            ),
        ),
    ),
    "slic": Entry(
        on_pairs.slic,
        grid(delta=(0.5, 1.0, 4.0)),
        (
            Peer(
                "TRL CPO hinge, cpo_alpha 0, beta 1",
                lambda case: peers.trl_cpo(case, "hinge", beta=1.0, cpo_alpha=0.0),
                {"delta": 1.0},
            ),
            Peer(
                "TRL DPO hinge, beta 1",
                trl_dpo("hinge", beta=1.0),
                {"delta": 1.0},
                lambda case: c.mean(on_pairs.hinge(case, beta=1.0)),
                "TRL's hinge compares log-ratios to a reference; SLiC-HF has none",
            ),
        ),
    ),
    "cpo": Entry(
        on_pairs.cpo,
        grid(beta=BETAS),
        (
            Peer(
                "TRL CPO sigmoid, cpo_alpha 0",
                lambda case: peers.trl_cpo(case, "sigmoid", beta=0.3, cpo_alpha=0.0),
                {"beta": 0.3},
            ),
            Peer(
                "TRL CPO sigmoid as it comes, ours with chosen_nll 1.0",
                lambda case: peers.trl_cpo(case, "sigmoid", beta=0.3, cpo_alpha=1.0),
                ours=c.with_nll("cpo", 1.0, beta=0.3),
            ),
        ),
    ),
    "orpo": Entry(
        on_pairs.orpo,
        ({},),
        (
            Peer("TRL ORPO odds-ratio term (float32)", peers.trl_odds_ratio, tolerance=1e-7),
            Peer(
                "TRL ORPO whole loss, prompts of 4 tokens, ours with chosen_nll 1.0",
                lambda case: peers.trl_orpo(case, beta=0.3),
                claim=c.orpo_over_prompt,
                reason="TRL's NLL runs over prompt and response; the paper's SFT term is on the response",
                ours=c.with_nll("orpo", 0.3),
                tolerance=1e-7,
            ),
        ),
    ),
    "apo_zero": Entry(
        on_pairs.apo_zero,
        grid(beta=BETAS),
        (
            Peer(
                "TRL DPO apo_zero",
                trl_dpo("apo_zero", beta=0.3),
                {"beta": 0.3},
                lambda case: c.mean(on_pairs.apo_zero(case, beta=0.3)) + 1,
                "TRL adds the constant 1; the gradient is the same",
            ),
        ),
    ),
    "apo_down": Entry(
        on_pairs.apo_down,
        grid(beta=BETAS),
        (
            Peer(
                "TRL DPO apo_down",
                trl_dpo("apo_down", beta=0.3),
                {"beta": 0.3},
                lambda case: c.mean(on_pairs.apo_down(case, beta=0.3)) + 1,
                "TRL adds the constant 1; the gradient is the same",
            ),
        ),
    ),
    "nca": Entry(
        on_pairs.nca, grid(beta=BETAS), (Peer("TRL DPO nca_pair", trl_dpo("nca_pair", beta=0.3), {"beta": 0.3}),)
    ),
    "exo": Entry(
        on_pairs.exo,
        grid(beta=BETAS, label_smoothing=(0.001, 0.1, 0.4)),
        (
            Peer(
                "TRL DPO exo_pair",
                trl_dpo("exo_pair", beta=0.3, label_smoothing=0.125),
                {"beta": 0.3, "label_smoothing": 0.125},
                reason="TRL keeps epsilon in float32",
                tolerance=1e-7,
            ),
        ),
    ),
    "sppo": Entry(
        on_pairs.sppo, grid(beta=BETAS), (Peer("TRL DPO sppo_hard", trl_dpo("sppo_hard", beta=0.3), {"beta": 0.3}),)
    ),
    "discopop": Entry(
        on_pairs.discopop,
        grid(beta=(0.01, 0.1, 1.0), tau=(0.05, 1.0)),
        (Peer("TRL DPO discopop", trl_dpo("discopop", beta=0.3, discopop_tau=0.05), {"beta": 0.3, "tau": 0.05}),),
    ),
    "dpo_norm": Entry(
        on_pairs.dpo_norm,
        grid(beta=BETAS, label_smoothing=(0.0, 0.1)),
        (Peer("TRL DPO sigmoid_norm", trl_dpo("sigmoid_norm", beta=0.3), {"beta": 0.3}),),
    ),
    "ld_dpo": Entry(
        on_pairs.ld_dpo,
        grid(beta=BETAS, alpha=(0.0, 0.4, 1.0), applies_to=("both", "policy")),
        (
            Peer(
                "TRL DPO sigmoid, ld_alpha 0.4",
                trl_dpo("sigmoid", beta=0.3, ld_alpha=0.4),
                {"beta": 0.3, "alpha": 0.4},
            ),
        ),
    ),
    "wpo": Entry(
        on_pairs.wpo,
        grid(beta=BETAS, label_smoothing=(0.0, 0.1)),
        (Peer("TRL DPO sigmoid, use_weighting", trl_dpo("sigmoid", beta=0.3, use_weighting=True), {"beta": 0.3}),),
    ),
    "rdpo": Entry(
        on_pairs.rdpo,
        grid(beta=BETAS, alpha=(0.0, 0.01, 0.3)),
        (
            Peer(
                "TRL reward with margins, on implicit rewards",
                lambda case: peers.trl_reward(
                    c.implicit_rewards(case, 0.3), margins=torch.tensor(0.1 * (lengths(case)[1] - lengths(case)[0]))
                ),
                {"beta": 0.3, "alpha": 0.1},
                reason="with margins of alpha times the rejected length less the chosen one's, that is R-DPO",
            ),
            nearest(0.3, "TRL has no R-DPO: its number lacks the length term", alpha=0.1),
        ),
    ),
    "tdpo1": Entry(
        on_pairs.tdpo1,
        grid(beta=BETAS),
        (
            Peer(
                "TRL reward with margins, on implicit rewards",
                lambda case: peers.trl_reward(c.implicit_rewards(case, 0.3), margins=0.3 * c.divergence_gap(case)),
                {"beta": 0.3},
                reason="with margins of beta times the difference in sequential KL, that is TDPO1",
            ),
            nearest(0.3, "no installed peer has TDPO: TRL's number lacks the sequential KL terms"),
        ),
    ),
    "tdpo2": Entry(
        on_pairs.tdpo2,
        grid(beta=BETAS, alpha=(0.0, 0.5, 1.0)),
        (
            Peer(
                "TRL reward with margins, on implicit rewards",
                lambda case: peers.trl_reward(c.implicit_rewards(case, 0.3), margins=0.15 * c.divergence_gap(case)),
                {"beta": 0.3, "alpha": 0.5},
                reason="with margins of alpha beta times the difference in sequential KL, that is TDPO2's value",
            ),
            nearest(0.3, "no installed peer has TDPO: TRL's number lacks the sequential KL terms", alpha=0.5),
        ),
    ),
    "fdpo": Entry(
        on_pairs.fdpo,
        (
            *grid(beta=BETAS, divergence=("reverse_kl", "forward_kl", "jensen_shannon")),
            *grid(beta=BETAS, divergence=("alpha",), alpha=(0.2, 0.5, 0.9)),
        ),
        (
            Peer(
                "TRL DPO f_divergence_type forward_kl",
                trl_dpo("sigmoid", beta=0.3, f_divergence_type="forward_kl"),
                {"beta": 0.3, "divergence": "forward_kl"},
            ),
            Peer(
                "TRL DPO f_divergence_type js_divergence",
                trl_dpo("sigmoid", beta=0.3, f_divergence_type="js_divergence"),
                {"beta": 0.3, "divergence": "jensen_shannon"},
            ),
            Peer(
                "TRL DPO f_divergence_type alpha_divergence, coefficient 0.7 (float32)",
                trl_dpo(
                    "sigmoid", beta=0.3, f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.7, single=True
                ),
                {"beta": 0.3, "divergence": "alpha", "alpha": 0.3},
                reason="TRL's coefficient is one minus the paper's alpha",
                tolerance=1e-6,
            ),
        ),
    ),
    "odpo": Entry(
        on_pairs.odpo,
        grid(beta=BETAS, alpha=(0.5, 1.0), scale=("identity", "log")),
        (
            Peer(
                "TRL reward with margins, on implicit rewards",
                lambda case: peers.trl_reward(c.implicit_rewards(case, 0.3), margins=0.5 * c.margins(case)),
                {"beta": 0.3, "alpha": 0.5},
                reason="that is ODPO",
            ),
        ),
    ),
    "aot": Entry(
        on_pairs.aot,
        grid(beta=BETAS, label_smoothing=SMOOTHINGS),
        (
            Peer(
                "TRL DPO aot",
                trl_dpo("aot", beta=0.3, label_smoothing=0.1),
                {"beta": 0.3, "label_smoothing": 0.1},
            ),
        ),
    ),
    "chosen_nll": Entry(
        on_sets.chosen_nll,
        ({},),
        (
            Peer("TRL DPO sft", trl_dpo("sft", beta=0.3)),
            Peer(
                "TRL DPO sft, micro-batches of 2 pairs",
                c.micro_batches(trl_dpo("sft", beta=0.3)),
                claim=c.micro_batches(lambda case: c.mean(on_sets.chosen_nll(case))),
                reason="TRL averages the tokens of each micro-batch first; ours divides once, over the whole batch",
            ),
        ),
    ),
}

REWARD: dict[str, Entry] = {
    "bradley_terry": Entry(
        on_pairs.bradley_terry,
        grid(label_smoothing=SMOOTHINGS),
        (Peer("TRL reward", lambda case: peers.trl_reward(c.scores_of_pairs(case))),),
    ),
    "bradley_terry_margin": Entry(
        on_pairs.bradley_terry_margin,
        grid(label_smoothing=SMOOTHINGS, margin_scale=(0.3, 1.0)),
        (
            Peer(
                "TRL reward with margins",
                lambda case: peers.trl_reward(c.scores_of_pairs(case), margins=c.margins(case)),
            ),
        ),
    ),
    "reward_centre": Entry(
        on_pairs.reward_centre,
        ({},),
        (
            Peer(
                "TRL reward, center_rewards_coefficient 1, less the loss without it",
                lambda case: (
                    peers.trl_reward(c.scores_of_pairs(case), centre=1.0) - peers.trl_reward(c.scores_of_pairs(case))
                ),
            ),
        ),
    ),
    "plackett_luce": Entry(
        on_sets.plackett_luce,
        ({},),
        (
            Peer(
                "choix log_likelihood_rankings",
                lambda case: c.choix(case, c.scored(case)),
                case=c.lists,
                package="choix",
            ),
        ),
    ),
    "attribute_mse": Entry(
        on_sets.attribute_mse,
        ({},),
        (
            Peer(
                "transformers regression",
                lambda case: peers.transformers_regression(*peers.known_attributes(case)),
                case=c.graded,
                package="transformers",
                reason="where every attribute is known; transformers turns NaN where one is not",
            ),
        ),
    ),
    "grade_mse": Entry(
        on_sets.grade_mse,
        ({},),
        (
            Peer(
                "transformers regression",
                lambda case: peers.transformers_regression(
                    torch.tensor([s for group in c.scored(case) for s in group], dtype=torch.float64),
                    torch.tensor([b.score for b in case.branches()], dtype=torch.float64),
                ),
                case=c.lists,
                package="transformers",
            ),
        ),
    ),
    "step_bce": Entry(
        on_sets.step_bce,
        ({},),
        (
            Peer(
                "transformers token classification, classes (0, z) (float32)",
                lambda case: peers.transformers_tokens(*c.marked_steps(case)),
                case=c.lists,
                package="transformers",
                tolerance=1e-6,
            ),
        ),
    ),
}

SETS: dict[str, Entry] = {
    "nll": Entry(
        on_sets.nll,
        ({},),
        (
            Peer(
                "transformers causal LM loss",
                peers.transformers_causal,
                case=c.lists,
                package="transformers",
                tolerance=1e-6,
            ),
        ),
    ),
    "desirable_nll": Entry(
        on_sets.desirable_nll,
        ({},),
        (
            Peer(
                "transformers causal LM loss of the thumbs up",
                lambda case: peers.transformers_causal(c.thumbs_up(case)),
                claim=lambda case: c.mean(on_sets.nll(c.thumbs_up(case))),
                reason="a mean over good tokens alone; ours divides by all tokens, so that it adds to a loss on thumbs",
                case=c.thumbs,
                package="transformers",
                tolerance=1e-6,
            ),
        ),
    ),
    "sppo_soft": Entry(
        on_sets.sppo_soft,
        grid(beta=BETAS),
        (
            Peer(
                "TRL DPO sppo_hard",
                trl_dpo("sppo_hard", beta=0.3),
                {"beta": 0.3},
                lambda case: c.mean(on_pairs.sppo(case, beta=0.3)),
                "TRL has only wins of probability 1 and 0, added within a pair",
                case=c.judged,
            ),
            Peer(
                "TRL DPO sppo_hard, grades 1 and 0, twice our mean over responses",
                trl_dpo("sppo_hard", beta=0.3),
                case=c.won,
                ours=lambda case: 2 * c.ours("sppo_soft", case, beta=0.3),
            ),
        ),
    ),
    "kto": Entry(
        on_sets.kto,
        grid(beta=BETAS, desirable_weight=(1.0, 1.33), undesirable_weight=(1.0, 5.0), decay=(0.0, 0.7)),
        (
            Peer(
                "TRL KTO, the same mismatched responses",
                lambda case: peers.trl_kto(case, beta=0.3, desirable_weight=1.33),
                {"beta": 0.3, "desirable_weight": 1.33},
                case=c.thumbs,
            ),
            Peer(
                "TRL KTO, micro-batches of 4 responses with their own KL estimates",
                lambda case: c.kto_micro_batches(case, peers.trl_kto),
                {"beta": 0.3, "undesirable_weight": 4.0},
                lambda case: c.kto_micro_batches(case, lambda part, **given: c.mean(on_sets.kto(part, **given))),
                "TRL estimates z0 anew in each micro-batch and clamps each; ours once, over the whole batch",
                case=c.thumbs,
            ),
        ),
    ),
    "bco": Entry(
        on_sets.bco,
        grid(beta=BETAS, desirable_weight=(1.0, 2.0), undesirable_weight=(1.0, 5.0)),
        (
            Peer(
                "TRL DPO bco_pair",
                trl_dpo("bco_pair", beta=0.3),
                {"beta": 0.3},
                c.bco_pair,
                "TRL adds both terms of a pair (twice the mean over responses) and keeps no reward shift",
                case=c.thumbs,
            ),
            Peer(
                "TRL DPO bco_pair, twice our mean at the first step",
                trl_dpo("bco_pair", beta=0.3),
                case=c.first_step,
                ours=lambda case: 2 * c.ours("bco", case, beta=0.3),
            ),
        ),
    ),
    "aot_unpaired": Entry(
        on_sets.aot_unpaired,
        grid(beta=BETAS, label_smoothing=SMOOTHINGS),
        (
            Peer(
                "TRL DPO aot_unpaired",
                trl_dpo("aot_unpaired", beta=0.3, label_smoothing=0.1),
                {"beta": 0.3, "label_smoothing": 0.1},
                case=c.thumbs,
            ),
        ),
    ),
    "pl_dpo": Entry(
        on_sets.pl_dpo,
        grid(beta=BETAS),
        (
            Peer(
                "choix log_likelihood_rankings on implicit rewards",
                lambda case: c.choix(case, c.implicit_lists(case, 0.3)),
                {"beta": 0.3},
                case=c.lists,
                package="choix",
            ),
        ),
    ),
}

ENTRIES: dict[str, Entry] = PAIRWISE | REWARD | SETS
