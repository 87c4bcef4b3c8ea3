"""The benchmarks run from end to end on a tiny model, and their last line is one JSON object."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def last_line(*arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parity
@pytest.mark.real
def test_both_sides_train_the_same_losses_on_the_same_batches():
    pytest.importorskip("trl", reason="the peer is not installed")
    figures = last_line(FOLDER / "dpo_vs_trl.py", "--smoke")
    assert figures["losses_equal"] == {"smoke": True}
    assert figures["loss_max_diff"]["smoke"]["float32"] <= figures["tolerance"]["float32"]
    assert figures["ratios"]["smoke"] > 0
    assert figures["rss"]["smoke"]["ours"] > 0


@pytest.mark.real
def test_the_first_step_is_reached_and_importing_brings_no_torch():
    figures = last_line(FOLDER / "startup.py", "--runs", "1", "--no-peer", "--limit", "99")
    assert figures["import_brings_torch"] is False
    assert 0 < figures["first_step"] < 120
    assert 0 < figures["first_step_by_command"] < 120
