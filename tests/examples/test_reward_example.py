"""The example that scores with transformers' pipeline what was trained here runs, and checks itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "reward_in_transformers.py"


def test_transformers_pipeline_gives_our_scores_of_a_freshly_trained_reward_model(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "1"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith(("+", "-"))]
    assert len(rows) == 3
    assert all(abs(float(ours) - float(theirs)) <= 1e-6 for ours, theirs in rows)
