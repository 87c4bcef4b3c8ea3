"""Entries of the losses of online RL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import conformance as c
import numpy as np
import oracle_rollouts as on_rollouts
import peers as other
import peers_rollouts as peers
import torch
from conformance import Entry, Peer, grid
from loss_cases import Case, make_case, value
from loss_laws import one_a_response

from hizala.registry import losses


def rollouts() -> Case:
    """Groups of responses of unequal length, none of them empty."""
    return make_case(c.LIST_SIZES, seed=9)


def one_advantage() -> Case:
    """The same with one advantage a response."""
    return one_a_response(rollouts())


def unchanged() -> Case:
    """The same at the weights that sampled."""
    case = rollouts()
    return case.with_role("old", case.roles["policy"])


def good_alone() -> Case:
    """The same with every advantage positive."""
    case = rollouts()
    return case.with_role("advantages", [[t.abs() for t in group] for group in case.roles["advantages"]])


def flat_columns(case: Case, *names: str) -> list[torch.Tensor]:
    """(N,) values of each role."""
    return [case.values(name).tokens for name in names]


def trl(kind: str = "grpo", **settings: Any) -> Callable[[Case], float]:
    """TRL's GRPO loss of that type."""
    return lambda case: float(peers.trl_grpo(case, kind, **settings))


def difference(kind: str, base: dict[str, Any], **settings: Any) -> Callable[[Case], float]:
    """What a setting adds to TRL's GRPO loss."""
    return lambda case: trl(kind, **base, **settings)(case) - trl(kind, **base)(case)


def reduced(name: str, how: str, **params: Any) -> Callable[[Case], float]:
    """Our loss under a reduction."""
    return lambda case: float(value(losses.get(name), case, reduction=how, **params))


def verl(kind: str, settings: dict[str, Any], *, reason: str = "", **params: Any) -> Peer:
    """verl's policy loss, averaged over tokens."""
    told = "".join(f", {name} {number:g}" for name, number in settings.items())
    return Peer(
        f"verl {kind}{told}",
        lambda case: float(peers.verl_policy(case, kind, **settings)),
        params,
        case=rollouts,
        package="verl",
        reason=reason,
    )


def openrlhf(settings: dict[str, Any], **params: Any) -> Peer:
    """OpenRLHF's policy loss, averaged over tokens."""
    told = "".join(f", {name} {number:g}" for name, number in settings.items())
    theirs: Callable[[Case], torch.Tensor] = partial(peers.openrlhf_policy, **settings)
    return Peer(f"OpenRLHF ppo{told}", lambda case: float(theirs(case)), params, case=rollouts, package="openrlhf")


def k3_cut(case: Case) -> float:
    """k3 of each token, at most 10 nats."""
    return c.mean(np.minimum(on_rollouts.kl(case), 10.0))


VERL_KL = (("k1", "k1"), ("k2", "k2"), ("low_var_kl", "k3"), ("k1+", "k1_plus"), ("k3+", "k3_plus"))


def verl_kl(kind: str, **params: Any) -> Peer:
    """verl's KL penalty."""
    return Peer(
        f"verl kl_penalty {kind}",
        lambda case: float(peers.verl_kl(case, kind)),
        params,
        case=rollouts,
        package="verl",
        claim=k3_cut if "3" in params["estimator"] else None,
        reason="verl cuts k3 at 10 nats a token" if "3" in params["estimator"] else "",
    )


def openrlhf_kl(kind: str) -> Peer:
    """OpenRLHF's estimate of KL."""
    return Peer(
        f"OpenRLHF compute_approx_kl {kind} (float32)",
        lambda case: float(peers.openrlhf_kl(case, kind)),
        {"estimator": kind},
        case=rollouts,
        package="openrlhf",
        tolerance=1e-6,
        claim=k3_cut if kind == "k3" else None,
        reason="OpenRLHF cuts at 10 nats a token" if kind == "k3" else "below 10 nats a token, where OpenRLHF cuts",
    )


ROLLOUTS: dict[str, Entry] = {
    "clip": Entry(
        on_rollouts.clip,
        grid(clip_low=(0.2, 1.0, 3e-4), clip_high=(0.2, 0.28), dual_clip=(None, 1.5, 3.0)),
        (
            Peer("TRL GRPO grpo", trl(), case=rollouts, ours=reduced("clip", "response")),
            Peer(
                "TRL GRPO dapo, epsilon_high 0.28",
                trl("dapo", epsilon_high=0.28),
                {"clip_high": 0.28},
                case=rollouts,
            ),
            Peer(
                "TRL GRPO grpo, delta 1.5",
                trl(delta=1.5),
                case=rollouts,
                ours=reduced("clip", "response", dual_clip=1.5),
            ),
            verl(
                "vanilla",
                {"clip_ratio_c": 1.5},
                reason="with a dual clip, which verl always has (3.0 unless told)",
                dual_clip=1.5,
            ),
            verl("vanilla", {"clip_ratio_c": 1e9, "clip_ratio_high": 0.28}, clip_high=0.28),
            openrlhf({}, dual_clip=None),
            openrlhf({"dual_clip": 1.5, "clip_eps_high": 0.28}, dual_clip=1.5, clip_high=0.28),
        ),
    ),
    "gspo": Entry(
        on_rollouts.gspo,
        grid(clip_low=(0.2, 3e-4), clip_high=(0.2, 4e-4)),
        (
            Peer(
                "TRL GRPO grpo, sequence ratios",
                trl(level="sequence"),
                case=one_advantage,
                ours=reduced("gspo", "response", clip_low=0.2, clip_high=0.2),
            ),
            Peer(
                "OpenRLHF gspo",
                lambda case: float(peers.openrlhf_policy(case, policy_loss_type="gspo")),
                case=one_advantage,
                package="openrlhf",
                ours=reduced("gspo", "response", clip_low=0.2, clip_high=0.2),
                tolerance=1e-8,
                reason="OpenRLHF adds 1e-8 to each count of tokens",
            ),
        ),
    ),
    "gspo_token": Entry(
        on_rollouts.gspo_token,
        grid(clip_low=(0.2, 3e-4), clip_high=(0.2, 4e-4)),
        (
            Peer(
                "TRL GRPO grpo, sequence ratios, one advantage a response",
                trl(level="sequence"),
                case=one_advantage,
                ours=reduced("gspo_token", "response", clip_low=0.2, clip_high=0.2),
            ),
            verl("gspo", {}, clip_low=0.2, clip_high=0.2),
        ),
    ),
    "cispo": Entry(
        on_rollouts.cispo,
        grid(clip_low=(1.0, 0.2), clip_high=(4.0, 0.2)),
        (
            Peer("TRL GRPO cispo, epsilon_high 5", trl("cispo", epsilon_high=5.0), {}, case=rollouts),
            verl("cispo", {}, clip_low=0.2, clip_high=0.2),
        ),
    ),
    "reinforce": Entry(
        on_rollouts.reinforce,
        grid(weighted=(False, True)),
        (
            Peer("TRL GRPO cispo at unchanged weights", trl("cispo", epsilon_high=5.0), case=unchanged),
            Peer(
                "TRL GRPO dapo, epsilon_high 1e9, good tokens alone",
                trl("dapo", epsilon_high=1e9),
                {"weighted": True},
                case=good_alone,
            ),
            verl("gpg", {}),
        ),
    ),
    "value": Entry(
        on_rollouts.value,
        grid(value_clip=(None, 0.2, 1.5)),
        (
            Peer(
                "transformers regression, halved",
                lambda case: other.transformers_regression(*flat_columns(case, "values", "returns")) / 2,
                case=rollouts,
                package="transformers",
                reason="without a range; TRL has no critic since 1.16",
            ),
            Peer(
                "verl value loss, range 0.5",
                lambda case: float(peers.verl_value(case, 0.5)),
                {"value_clip": 0.5},
                case=rollouts,
                package="verl",
            ),
            Peer(
                "OpenRLHF value loss, range 0.2",
                lambda case: float(peers.openrlhf_value(case, 0.2)),
                {"value_clip": 0.2},
                case=rollouts,
                package="openrlhf",
            ),
        ),
    ),
    "kl": Entry(
        on_rollouts.kl,
        (
            {},
            *grid(estimator=("k1", "k2", "k3", "k1_plus", "k3_plus"), unbiased=(False,)),
            *grid(estimator=("k3", "k2", "k1"), unbiased=(True,)),
        ),
        (
            Peer("TRL GRPO dapo, what beta 1 adds", difference("dapo", {}, beta=1.0), case=rollouts),
            Peer(
                "TRL GRPO dapo, use_bias_correction_kl, what beta 1 adds",
                difference("dapo", {"use_bias_correction_kl": True}, beta=1.0),
                {"unbiased": True},
                case=rollouts,
            ),
            *(verl_kl(theirs, estimator=ours) for theirs, ours in VERL_KL),
            *(openrlhf_kl(kind) for kind in ("k1", "k2", "k3")),
        ),
    ),
    "entropy": Entry(
        on_rollouts.entropy,
        ({},),
        (Peer("TRL GRPO dapo, what entropy_coef 1 adds", difference("dapo", {}, entropy_coef=1.0), case=rollouts),),
    ),
}
