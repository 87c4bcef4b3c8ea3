"""The table of KL estimators in the docs is the one that the estimators give."""

from __future__ import annotations

import runpy
from typing import Any

from project_tree import ROOT

TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "kl_table.py"))


def test_the_committed_table_is_current() -> None:
    assert TABLE["table"]() in TABLE["PAGE"].read_text(encoding="utf-8"), "run: python scripts/kl_table.py"


def test_it_shows_what_the_page_says() -> None:
    """k1 and k3 are unbiased, k2's bias grows with the distance, and near agreement k1 is far noisier than k3."""
    near, far = (TABLE["policies"](distance) for distance in (0.03, 2.0))
    exact = [float((p.exp() * (p - q)).sum()) for p, q in (near, far)]
    for name in ("k1", "k3"):
        assert abs(TABLE["moments"](name, *far)[0] / exact[1] - 1) < 1e-12
    assert abs(TABLE["moments"]("k2", *near)[0] / exact[0] - 1) < 1e-2 < TABLE["moments"]("k2", *far)[0] / exact[1] - 1
    assert TABLE["moments"]("k1", *near)[1] > 50 * TABLE["moments"]("k3", *near)[1]
