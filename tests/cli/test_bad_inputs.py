"""Broken inputs: each gives one clear error without a traceback, and nothing on disk is changed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hizala.cli.main import main
from hizala.ledger import Ledger
from hizala.world import model_dir

GOOD = 'name: x\nthreads: 1\ntrackers: []\nstages:\n  - dpo: {data: "%s", steps: 1}\n'
PAIR = {"prompt": "Say hello.", "chosen": "Hello!", "rejected": "No."}
Case = Callable[[], list[str]]


def recipe(text: str | bytes, *options: str) -> Case:
    """A run of a recipe with this text."""

    def build() -> list[str]:
        Path("r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["run", "r.yaml", *options]

    return build


def data(content: bytes | None, name: str = "pairs.jsonl") -> Case:
    """A run on a data file with this content."""

    def build() -> list[str]:
        if content is not None:
            Path(name).write_bytes(content)
        return recipe(GOOD % name)()

    return build


def embedded_config() -> bytes:
    """The embedded model's own configuration."""
    return (model_dir() / "config.json").read_bytes()


def embedded_weights() -> bytes:
    """The embedded model's own weights."""
    return next(model_dir().glob("*.safetensors")).read_bytes()


def model(**files: str | bytes | Callable[[], bytes]) -> Case:
    """A run from a directory that has the embedded tokenizer, no weights, and these files (`__` for a dot)."""

    def build() -> list[str]:
        Path("model").mkdir()
        for path in model_dir().iterdir():
            if path.name != "config.json" and path.suffix != ".safetensors":
                shutil.copy(path, "model")
        for name, content in files.items():
            place = Path("model") / name.replace("__", ".")
            content = content() if callable(content) else content
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        Path("pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
        return recipe(GOOD % "pairs.jsonl", "--set", "model=./model")()

    return build


def foreign(name: str) -> Case:
    """A run into a directory that holds something else under this name."""

    def build() -> list[str]:
        Path("runs/x").mkdir(parents=True)
        Path("runs/x", name).write_text("mine\n")
        return recipe(GOOD % "world:preferences?n=8")()

    return build


def ledger(change: Callable[[bytes], bytes], *verb: str) -> Case:
    """A verb on a run directory whose ledger was changed."""

    def build() -> list[str]:
        Path("runs/x").mkdir(parents=True)
        with Ledger(Path("runs/x")) as own:
            own.append("run.start", {"name": "x"})
            own.append("run.done", {})
        path = Path("runs/x/ledger.jsonl")
        path.write_bytes(change(path.read_bytes()))
        return list(verb) if verb else recipe(GOOD % "world:preferences?n=8")()

    return build


def file_in_place_of_runs() -> list[str]:
    """`runs` is a file."""
    Path("runs").write_text("not a folder\n")
    return recipe(GOOD % "world:preferences?n=8")()


def pipe_as_recipe() -> list[str]:
    """A directory in place of the recipe."""
    Path("r.yaml").mkdir()
    return ["run", "r.yaml"]


CASES: dict[str, tuple[Case, int, str]] = {
    # recipes and the command line
    "no such recipe": (lambda: ["run", "none.yaml"], 2, "none.yaml: no such file"),
    "a directory as recipe": (pipe_as_recipe, 2, "is a directory, not a recipe"),
    "an empty recipe": (recipe(""), 2, "the recipe is empty"),
    "a binary recipe": (recipe(bytes(range(128, 256))), 2, "r.yaml:1: not UTF-8 text"),
    "a recipe that is no YAML": (recipe("name: [x"), 2, "not valid YAML"),
    "a recipe indented by tabs": (recipe("name: x\nstages:\n\t- sft"), 2, "r.yaml:3: a tab in the indentation"),
    "a misspelt key": (recipe(GOOD.replace("steps", "stpes") % "x"), 2, "did you mean 'steps'?"),
    "a value out of bounds": (recipe(GOOD % "x", "--set", "stages.dpo.beta=0"), 2, "greater than 0"),
    "settings that contradict": (recipe(GOOD % "x", "--set", "stages.dpo.epochs=2"), 2, "steps and epochs"),
    "a misspelt override": (recipe(GOOD % "x", "--set", "stages.dpo.bta=1"), 2, "--set stages.dpo.bta"),
    "an unknown stage": (recipe("name: x\nstages:\n  - dop: {}\n"), 2, "did you mean 'dpo'?"),
    "code in a tag": (recipe("name: !!python/object/apply:os.getcwd []\nstages: [evaluate: {}]"), 2, "is not allowed"),
    "a name that leaves the folder": (recipe((GOOD % "x").replace("name: x", "name: ../x")), 2, "is not allowed here"),
    # data
    "no such data file": (data(None), 2, "pairs.jsonl"),
    "an empty data file": (data(b""), 2, "pairs.jsonl"),
    "data that is no JSON": (data(b"hello\nworld\n"), 2, "pairs.jsonl"),
    "binary data": (data(os.urandom(64).replace(b"\n", b"")), 2, "pairs.jsonl"),
    "rows of no known format": (data(b'{"a": 1}\n'), 2, "pairs.jsonl"),
    "a torn archive": (data(gzip.compress(json.dumps(PAIR).encode() * 99)[:40], "p.jsonl.gz"), 2, "p.jsonl.gz"),
    "text named parquet": (data(b"hello", "p.parquet"), 2, "p.parquet"),
    "rows of the wrong types": (data(b'{"prompt": 1, "chosen": 2, "rejected": 3}\n'), 2, "pairs.jsonl"),
    "an unknown part of the world": (recipe(GOOD % "world:preference"), 2, "world:preference"),
    # models
    "no such model": (recipe(GOOD % "world:preferences?n=8", "--set", "model=./none"), 2, "no model './none'"),
    "a model directory without a model": (model(), 2, "no config.json"),
    "a config that is no JSON": (model(config__json="{"), 2, "config.json"),
    "an unknown architecture": (
        model(config__json='{"model_type": "mamba9"}', model__safetensors=embedded_weights),
        2,
        "mamba9",
    ),
    "a model without weights": (model(config__json=embedded_config), 2, "model"),
    "damaged weights": (model(config__json=embedded_config, model__safetensors=b"\xff" * 99), 2, "damaged"),
    # run directories and ledgers
    "a foreign directory": (foreign("thesis.txt"), 2, "is not a Hizala run"),
    "a file in place of a folder": (file_in_place_of_runs, 2, "runs"),
    "a changed ledger": (ledger(lambda raw: raw.replace(b'"x"', b'"y"')), 4, "was changed"),
    "a ledger without its first entry": (ledger(lambda raw: raw.split(b"\n", 1)[1]), 4, "missing or reordered"),
    "a ledger that is no ledger": (ledger(lambda raw: b"hello\n"), 4, "is not JSON"),
    "verify without a run": (lambda: ["verify", "."], 2, "no ledger.jsonl here"),
    "report without a run": (lambda: ["report", "."], 2, "not a Hizala run"),
    "show without a run": (lambda: ["show", "."], 2, "ledger.jsonl"),
    "data check without a file": (lambda: ["data", "check", "none.jsonl"], 2, "none.jsonl"),
}


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its content."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("name", list(CASES))
def test_a_broken_input_gives_one_clear_error_and_changes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build, code, said = CASES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIZALA_DEBUG", raising=False)
    arguments = build()
    before = snapshot(tmp_path)
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert err.count("error: ") == 1
    assert said in err
    assert "Traceback" not in err
    assert snapshot(tmp_path) == before
