"""What the studies share: settings per seed and scale, gains from run directories, and the page of their figures."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "studies"))

from study_common import differences, filled, line, over_seeds, scaled  # noqa: E402


def test_each_seed_draws_its_own_data() -> None:
    assert filled({"data": "world:chat?n=10"}, 3)["data"] == "world:chat?n=10&seed=3"
    assert filled({"data": "world:chat?seed={seed}&n=10"}, 4)["data"] == "world:chat?seed=4&n=10"
    assert filled({"data": "pairs.jsonl"}, 4)["data"] == "pairs.jsonl"


def test_a_share_of_the_data_keeps_the_other_options() -> None:
    settings = {"data": "world:rankings?n=1000&k=4&seed=2", "batch_size": 8}
    assert scaled(settings, 0.5) == {"data": "world:rankings?n=500&k=4&seed=2", "batch_size": 8}
    assert scaled(settings, 1.0) == settings


def test_a_gain_is_read_from_the_samples_of_an_evaluation(tmp_path: Path) -> None:
    stage = tmp_path / "stages" / "02-evaluate"
    stage.mkdir(parents=True)
    scores = {"a": (0.2, 0.7), "b": (0.5, 0.5), "c": (None, 1.0)}
    rows = [{"id": i, "responses": {"base": {"score": x}, "dpo": {"score": y}}} for i, (x, y) in scores.items()]
    (stage / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert differences(tmp_path, "base", "dpo") == {"a": pytest.approx(0.5), "b": 0.0}


@pytest.mark.parametrize(("shift", "clear"), [(0.3, "up"), (-0.3, "down"), (0.0, "no")])
def test_a_gain_is_called_clear_only_away_from_zero(shift: float, clear: str) -> None:
    runs = {s: {str(p): shift + 0.1 * (-1) ** (s + p) for p in range(40)} for s in range(4)}
    gain = over_seeds(runs)
    assert gain["clear"] == clear
    assert gain["value"] == pytest.approx(shift)
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert f"{gain['value']:+.3f}" in line("x", gain)


def test_the_page_of_the_studies_is_made_of_the_figures_they_kept() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "studies_page.py"))["page"]
    kept = ROOT / "docs" / "studies" / "README.md"
    assert kept.read_text(encoding="utf-8") == page(), "run python scripts/studies_page.py"
