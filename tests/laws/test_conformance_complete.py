"""No loss without its oracle, gradient check, laws and peers; and the page that says so is the code's."""

from __future__ import annotations

import ast
import runpy
from typing import Any

import pytest
from conformance_advantages import ADVANTAGES
from conformance_entries import ENTRIES
from loss_cases import TRAINED
from loss_laws import trained_function
from project_tree import ROOT

from hizala.registry import Loss, advantages, losses

OURS = [loss for loss in losses if loss.fn.__module__.startswith("hizala.")]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "conformance_table.py"))
every_loss = pytest.mark.parametrize("loss", OURS, ids=lambda loss: loss.name)


def test_entries_and_registered_losses_are_the_same() -> None:
    assert {loss.name for loss in OURS} == set(ENTRIES)


@every_loss
def test_a_loss_has_an_oracle_of_its_own(loss: Loss) -> None:
    entry = ENTRIES[loss.name]
    assert entry.oracle.__module__ in ("oracle_pairs", "oracle_sets", "oracle_rollouts")
    assert entry.settings
    assert entry.oracle.__doc__
    others = [name for name, other in ENTRIES.items() if other.oracle is entry.oracle]
    assert others == [loss.name]


@pytest.mark.parametrize("module", ["oracle_view", "oracle_pairs", "oracle_sets", "oracle_rollouts"])
def test_oracles_import_nothing_of_the_library_nor_torch(module: str) -> None:
    tree = ast.parse((ROOT / "tests" / "support" / f"{module}.py").read_text(encoding="utf-8"))
    imported = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= {"__future__", "math", "collections.abc", "numpy", "numpy.typing", "loss_cases", "oracle_view"}


@every_loss
def test_a_gradient_check_has_something_to_check(loss: Loss) -> None:
    """Under the first or the last setting the slope of the checked case is not zero everywhere."""
    assert set(loss.measures) & set(TRAINED)
    seen = 0.0
    for params in (ENTRIES[loss.name].settings[0], ENTRIES[loss.name].settings[-1]):
        of, leaves = trained_function(loss, params)
        of(*leaves).backward()
        seen += sum(float(leaf.grad.abs().sum()) for leaf in leaves if leaf.grad is not None)
    assert seen > 1e-3


@every_loss
def test_a_loss_has_laws_of_its_own(loss: Loss) -> None:
    own = [test for test, names in TABLE["laws"]().items() if loss.name in names]
    assert len(own) >= 2


@every_loss
def test_a_loss_stands_beside_an_installed_peer(loss: Loss) -> None:
    peers = ENTRIES[loss.name].peers
    assert peers
    assert all(peer.reason for peer in peers if peer.claim is not None)
    assert len({peer.name for peer in peers}) == len(peers)


def test_every_advantage_stands_beside_an_installed_peer() -> None:
    ours = {entry.name for entry in advantages if entry.fn.__module__.startswith("hizala.")}
    assert ours == set(ADVANTAGES)
    for name, peers in ADVANTAGES.items():
        assert peers, name
        assert all(peer.reason for peer in peers if peer.claim is not None), name
        assert len({peer.name for peer in peers}) == len(peers), name


def test_the_page_is_up_to_date_in_its_words() -> None:
    committed = TABLE["PAGE"].read_text(encoding="utf-8")
    assert TABLE["words"](committed) == TABLE["words"](TABLE["page"](numbers=False)), (
        "run: python scripts/conformance_table.py"
    )
