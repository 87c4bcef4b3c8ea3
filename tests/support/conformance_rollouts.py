"""Entries of the losses of online RL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import conformance as c
import oracle_rollouts as on_rollouts
import peers_rollouts as peers
from conformance import Entry, Peer, grid
from loss_cases import Case, make_case, value

from hizala.registry import losses


def rollouts() -> Case:
    """Groups of responses of unequal length, none of them empty."""
    return make_case(c.LIST_SIZES, seed=9)


def trl(kind: str = "grpo", **settings: Any) -> Callable[[Case], float]:
    """TRL's GRPO loss of that type."""
    return lambda case: float(peers.trl_grpo(case, kind, **settings))


def difference(kind: str, base: dict[str, Any], **settings: Any) -> Callable[[Case], float]:
    """What a setting adds to TRL's GRPO loss."""
    return lambda case: trl(kind, **base, **settings)(case) - trl(kind, **base)(case)


def reduced(name: str, how: str, **params: Any) -> Callable[[Case], float]:
    """Our loss under a reduction."""
    return lambda case: float(value(losses.get(name), case, reduction=how, **params))


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
        ),
    ),
    "entropy": Entry(
        on_rollouts.entropy,
        ({},),
        (Peer("TRL GRPO dapo, what entropy_coef 1 adds", difference("dapo", {}, entropy_coef=1.0), case=rollouts),),
    ),
}
