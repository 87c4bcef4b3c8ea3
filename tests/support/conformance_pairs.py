"""Entries of the losses on pairs that train a policy."""

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
