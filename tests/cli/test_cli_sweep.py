"""`hizala sweep` on the command line: help with examples, a plan, and one message for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from hizala.cli.main import main

RECIPE = """name: s
threads: 1
trackers: []
out: {out}
stages:
  - sft: {{data: "world:chat?n=20", steps: 1}}
  - dpo: {{data: "world:preferences?n=20", steps: 1}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(out=tmp_path / "runs"))
    return path


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("hizala sweep ") >= 4
    assert "--over beta=0.01..1" in shown


def test_a_plan_trains_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(recipe), "--over", "beta=0.1..10", "--points", "3", "--plan"]) == 0
    shown = capsys.readouterr().out
    assert "dpo.beta: 0.1, 1, 10" in shown
    assert "once: sft" in shown
    assert "9 runs, seeds 0, 1, 2; in each: dpo, frontier" in shown
    assert not (recipe.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to sweep over"),
        (("--over", "betta=1,2"), "did you mean 'beta'"),
        (("--over", "beta=-1,2"), "--over beta: expected a number greater than 0"),
        (("--over", "learning_rate=1e-5,1e-4"), "name one: --stage dpo"),
        (("--over", "beta=1,2", "--seeds", "two"), "invalid int value"),
        (("--over", "beta=1,2", "--set", "stages.dpo.bta=1"), "did you mean 'beta'"),
    ],
)
def test_what_is_wrong_is_one_message(
    recipe: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(recipe), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
