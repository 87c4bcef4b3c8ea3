"""Bradley-Terry ratings against `choix`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hizala.core.stats.ratings import bradley_terry

choix = pytest.importorskip("choix")
pytestmark = pytest.mark.parity
SHARED = Path(os.environ.get("HIZALA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_strengths_are_those_of_choix(seed: int) -> None:
    wins = np.random.default_rng(seed).integers(1, 30, (12, 12)).astype(float) * (1 - np.eye(12))
    theirs = choix.ilsr_pairwise_dense(wins, tol=1e-12)
    assert bradley_terry(wins) == pytest.approx(theirs - theirs.mean(), abs=1e-7)


def test_strengths_of_real_votes_are_those_of_choix() -> None:
    path = SHARED / "chatbot_arena" / "win_matrix_13models.json"
    if not path.exists():
        pytest.skip("the shared data sets are not here: set HIZALA_SHARED_DATA")
    wins = np.array(json.loads(path.read_text())["wins"], dtype=float)
    theirs = choix.ilsr_pairwise_dense(wins, tol=1e-12)
    assert bradley_terry(wins) == pytest.approx(theirs - theirs.mean(), abs=1e-7)
