"""The bar of long work: a note beside it or below it on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hizala.pipelines import progress

METRICS = {"reward": 0.62969, "pass@1": 0.6328, "length": 20.48, "entropy": 0.1264, "silent": 0.03125}
NOTE = "reward 0.6297  pass@1 0.6328  length 20.48  entropy 0.1264  silent 0.03125"


def drawn(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the last picture of a bar on a terminal of this width."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(progress, "console", console)
    with progress.Bar("grpo", 150) as bar:
        bar.advance(60, METRICS)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", out.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def test_a_wide_terminal_shows_the_note_behind_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    last = drawn(170, monkeypatch)[-1]
    assert "60/150" in last
    assert last.endswith(NOTE)


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_shows_the_whole_note_below_the_whole_bar(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, bar, note = drawn(width, monkeypatch)
    assert re.search(r"grpo ━+ +60/150 \d:\d\d:\d\d left", bar)
    assert note.strip() == NOTE


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO(), force_terminal=False))
    with progress.Bar("grpo", 10) as bar:
        bar.advance(1, METRICS)
        assert capsys.readouterr().err == "", "not at every step"
        monkeypatch.setattr(progress, "_QUIET_SECONDS", -1.0)
        bar.advance(1, METRICS)
        said = capsys.readouterr().err
        assert re.fullmatch(rf"  grpo: 2/10 in \d+ s, \d+ s left  {NOTE}\n", said)
        bar.advance(8)
    assert re.fullmatch(r"  grpo: 10/10 in \d+ s\n", capsys.readouterr().err)
