"""`hizala show`: what a run directory says of itself, whatever state it is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hizala.cli.main import main
from hizala.ledger import Ledger
from hizala.readers.show import summary


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a finished stage, one that was cut, and an evaluation."""
    place = tmp_path / "runs" / "x"
    for name, state in (("01-sft", "done"), ("02-dpo", "interrupted"), ("03-evaluate", "done")):
        (place / "stages" / name).mkdir(parents=True)
        (place / "stages" / name / "state.json").write_text(json.dumps({"status": state, "kind": name[3:]}))
    rows = [
        {"step": 1, "split": "train", "loss": 2.0},
        {"step": 1, "split": "eval", "loss": {"value": 1.5, "low": 1, "high": 2}},
    ]
    torn = '\n{"step": 2, "split": "tra'
    (place / "stages" / "02-dpo" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + torn)
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    results = {
        "models": {"base": {"gold/add": figure, "gold/total": figure}, "sft": {"gold/total": {"value": None}}},
        "paired": [{"a": "base", "b": "sft", "metric": "gold/total", **figure}],
    }
    (place / "stages" / "03-evaluate" / "results.json").write_text(json.dumps(results))
    with Ledger(place) as own:
        own.append("run.start", {"name": "x"})
    return place


def test_the_state_of_every_stage_is_read(run: Path) -> None:
    stages = summary(run)["stages"]
    assert [(stage["name"], stage["status"]) for stage in stages] == [
        ("sft", "done"),
        ("dpo", "interrupted"),
        ("evaluate", "done"),
    ]
    assert stages[1]["step"] == 1, "a torn last line is left out"
    assert stages[1]["held_out"]["loss"]["value"] == 1.5


def test_it_prints_a_table_with_the_total_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    text = capsys.readouterr().out
    assert text.index("gold/total") < text.index("gold/add")
    assert "+0.500 [+0.400, +0.600]" in text
    assert "not scored" in text


def test_a_stage_that_no_process_holds_is_not_running(run: Path) -> None:
    (run / "stages" / "02-dpo" / "state.json").write_text(json.dumps({"status": "running", "kind": "dpo"}))
    assert summary(run)["stages"][1]["status"] == "interrupted"
    with Ledger(run):
        assert summary(run)["stages"][1]["status"] == "running"


def test_it_prints_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["status"] == "done"


def test_another_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
