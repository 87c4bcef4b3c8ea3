"""`hizala verify` and `hizala schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hizala.cli.main import main
from hizala.ledger import Ledger


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small run directory."""
    (tmp_path / "stages" / "01-sft").mkdir(parents=True)
    with Ledger(tmp_path) as ledger:
        ledger.begin("stage.start", tmp_path / "stages" / "01-sft", {})
        (tmp_path / "stages" / "01-sft" / "metrics.jsonl").write_text("1\n")
        ledger.finish("stage.done", tmp_path / "stages" / "01-sft", {})
    return tmp_path


def test_verify_prints_a_line_of_proof_with_the_head_hash(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger(run) as ledger:
        head = ledger.head
    assert main(["verify", str(run)]) == 0
    assert capsys.readouterr().out == f"untouched: 2 entries, 1 files, head {head}\n"


def test_verify_names_the_first_broken_entry_and_exits_4(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "stages" / "01-sft" / "metrics.jsonl").write_text("2\n")
    assert main(["verify", str(run)]) == 4
    assert capsys.readouterr().out.startswith("entry 1: stages/01-sft/metrics.jsonl was changed\n")
    path = run / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"fresh":true', b'"fresh":false'))
    assert main(["verify", str(run)]) == 4
    assert capsys.readouterr().out.startswith("entry 0: was changed")


def test_verify_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["entries"], found["problems"]) == (True, 2, [])


def test_schema_is_json_and_names_the_shipped_stages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema"]) == 0
    out = capsys.readouterr().out
    kinds = {choice["title"] for choice in json.loads(out)["properties"]["stages"]["items"]["oneOf"]}
    assert {"sft", "dpo", "evaluate"} <= kinds
    assert main(["schema", "--out", str(tmp_path / "s.json")]) == 0
    assert (tmp_path / "s.json").read_text(encoding="utf-8") == out


def test_schema_of_a_stage_is_a_table_of_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "dpo"]) == 0
    out = capsys.readouterr().out
    assert "beta" in out
    assert "> 0" in out
    assert main(["schema", "dop"]) == 2
    assert "unknown stage 'dop', did you mean 'dpo'?" in capsys.readouterr().err


def test_every_setting_of_every_stage_has_help() -> None:
    import hizala.pipelines  # noqa: F401 (registers the stages)
    from hizala.config import RecipeSettings, field_table
    from hizala.registry import stages

    tables = {"recipe": RecipeSettings, **{spec.name: spec.config for spec in stages}}
    missing = [f"{name}.{row.name}" for name, model in tables.items() for row in field_table(model) if not row.help]
    assert missing == []
