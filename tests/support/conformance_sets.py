"""Entries of the losses of reward models, on thumbs, lists, steps and grades."""

from __future__ import annotations

import conformance as c
import oracle_pairs as on_pairs
import oracle_sets as on_sets
import peers
import torch
from conformance import BETAS, SMOOTHINGS, Entry, Peer, grid, trl_dpo

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
