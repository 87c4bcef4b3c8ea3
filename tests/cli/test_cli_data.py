"""`hizala data check` from the command line: output, machine form and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chat_models import CHATML, byte_level, write_model

from hizala.cli.main import main

PAIRS = [{"prompt": f"soru {i}", "chosen": f"iyi yanıt {i * 7}", "rejected": f"kötü {i * 5}"} for i in range(30)]


def jsonl(folder: Path, rows: list[object]) -> str:
    path = folder / "d.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return str(path)


def test_the_table_shows_counts_lengths_and_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", jsonl(tmp_path, [*PAIRS, 5])]) == 1
    out = capsys.readouterr().out
    for words in ("format pair", "31 rows, 30 groups", "chosen", "preferred side longer", "languages (heuristic)"):
        assert words in " ".join(out.split())
    assert "1 row dropped" in out
    assert "d:31" in out


def test_the_machine_form_is_json_and_the_code_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", jsonl(tmp_path, PAIRS), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["exit_code"], report["counts"]["groups"], report["format"]) == (0, 30, "pair")
    assert main(["data", "check", jsonl(tmp_path, [*PAIRS, PAIRS[0] | {"rejected": "iyi yanıt 0"}]), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert "chosen-equals-rejected" in [finding["kind"] for finding in report["findings"]]


def test_a_models_tokens_can_be_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    special = ["<|im_start|>", "<|im_end|>"]
    write_model(tmp_path / "model", byte_level(), CHATML, special=special, names={"eos_token": "<|im_end|>"})
    command = ["data", "check", jsonl(tmp_path, PAIRS), "--model", str(tmp_path / "model"), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["lengths"]["prompt"]["unit"], report["truncation"]) == ("tokens", None)
    limit = report["lengths"]["prompt"]["largest"] + 2
    assert main([*command, "--max-length", str(limit)]) == 0
    cut = json.loads(capsys.readouterr().out)["truncation"]
    assert (cut["max_length"], cut["responses"], cut["truncated"]) == (limit, 60, 60)


def test_columns_and_format_can_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ref = jsonl(tmp_path, [{"soru": "a b c", "yanıt": "d e f"}])
    arguments = ["--format", "prompt-response", "--columns", "prompt=soru", "response=yanıt", "--json"]
    assert main(["data", "check", ref, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "prompt-response"


def test_the_world_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "world:preferences?n=40", "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["counts"]["groups"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{d}/yok.jsonl"], "no such file"),
        (["{d}/d.jsonl", "--format", "pairs"], "did you mean 'pair'"),
        (["{d}/d.jsonl", "--columns", "prompt"], "is not NAME=COLUMN"),
        (["{d}/d.jsonl", "--columns", "promt=a"], "did you mean 'prompt'"),
        (["{d}/d.jsonl", "--max-length", "64"], "needs a model's tokenizer"),
        (["{d}/d.jsonl", "--max-length", "1"], "at least 2"),
        (["{d}/d.jsonl", "--template", "raw"], "no effect without --model"),
        (["{d}/d.jsonl", "--model", "{d}"], "no tokenizer.json"),
        (["{d}/d.jsonl", "--limit", "0"], "at least 1"),
        ([], "required"),
    ],
)
def test_wrong_use_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    jsonl(tmp_path, PAIRS)
    assert main(["data", "check", *(text.replace("{d}", str(tmp_path)) for text in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_checking_without_a_model_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from hizala.cli.main import main; "
        f"main(['data', 'check', {jsonl(tmp_path, PAIRS)!r}, '--json']); "
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.strip() == "[]"
