"""Every loss against the installed peers' own loss code on the same numbers: equal, or different as written down."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import peers
import pytest
from conformance import Peer
from conformance_entries import ENTRIES
from loss_cases import value
from loss_laws import at_margins
from peers_source import installed

from hizala.registry import losses

pytestmark = pytest.mark.parity

EVERY = [(name, peer) for name, entry in ENTRIES.items() for peer in entry.peers]
SAME = [(name, peer) for name, peer in EVERY if peer.claim is None]
OTHER = [(name, peer) for name, peer in EVERY if peer.claim is not None]


def needs(peer: Peer) -> None:
    """Skip where the peer is not there; verl and OpenRLHF are read from their source and never imported."""
    if not installed(peer.package):
        pytest.skip(f"{peer.package} is not installed")


@pytest.mark.parametrize(("name", "peer"), SAME, ids=[f"{name}-{peer.name}" for name, peer in SAME])
def test_the_peer_computes_our_number(name: str, peer: Peer) -> None:
    needs(peer)
    case = peer.case()
    assert peer.theirs(case) == pytest.approx(peer.our_number(name, case), rel=peer.tolerance, abs=peer.tolerance)


@pytest.mark.parametrize(("name", "peer"), OTHER, ids=[f"{name}-{peer.name}" for name, peer in OTHER])
def test_the_peer_computes_another_number_and_it_is_the_one_we_say(name: str, peer: Peer) -> None:
    """When this fails the peer has changed, and what our documents say of it must."""
    needs(peer)
    case = peer.case()
    theirs = peer.theirs(case)
    assert peer.claim is not None
    assert theirs == pytest.approx(peer.claim(case), rel=peer.tolerance, abs=peer.tolerance)
    assert math.fabs(theirs - peer.our_number(name, case)) > 1e-3
    assert peer.reason


@pytest.mark.parametrize(
    ("name", "kind", "ours", "theirs"),
    [
        ("discopop", "discopop", {"beta": 1.0, "tau": 0.05}, {"beta": 1.0, "discopop_tau": 0.05}),
        (
            "fdpo",
            "sigmoid",
            {"beta": 1.0, "divergence": "forward_kl"},
            {"beta": 1.0, "f_divergence_type": "forward_kl"},
        ),
    ],
)
def test_far_out_trl_is_not_finite_in_float32_and_ours_is(
    name: str, kind: str, ours: dict[str, object], theirs: dict[str, Any]
) -> None:
    """The difference that our docstrings state: a pair the policy has lost by two hundred nats."""
    pytest.importorskip("trl", reason="TRL is not installed")
    case = at_margins([-200.0], base=-101.0)
    single = replace(case, roles={r: [[t.float() for t in g] for g in table] for r, table in case.roles.items()})
    assert not math.isfinite(peers.trl_dpo(case, kind, single=True, **theirs))
    assert math.isfinite(float(value(losses.get(name), single, **ours)))
