"""The ledger: what it records, what it survives, and what it proves."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala.canonical import canonical, digest
from hizala.errors import LedgerError, RunError
from hizala.ledger import GENESIS, Ledger, read, verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two stages."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("name: x\n")
    with Ledger(run) as ledger:
        ledger.append("run.start", {"seed": 7}, [run / "recipe.yaml"])
        for name in ("01-sft", "02-dpo"):
            stage = run / "stages" / name
            ledger.begin("stage.start", stage, {"stage": name})
            (stage / "tb").mkdir(parents=True)
            (stage / "tb" / "events").write_bytes(b"x")
            (stage / "metrics.jsonl").write_text(f'{{"step": 1, "of": "{name}"}}\n')
            (stage / "model").mkdir()
            (stage / "model" / "weights").write_bytes(name.encode() * 1000)
            ledger.finish("stage.done", stage, {"stage": name})
        ledger.append("run.done", {"seconds": 1.5})
    return run


def test_entries_are_chained_and_read_back(run: Path) -> None:
    entries = read(run)
    assert [entry.kind for entry in entries] == [
        "run.start", "stage.start", "stage.done", "stage.start", "stage.done", "run.done"
    ]  # fmt: skip
    assert [entry.seq for entry in entries] == list(range(6))
    assert [entry.prev for entry in entries] == [GENESIS, *(entry.hash for entry in entries[:-1])]
    assert set(entries[2].files) == {"stages/01-sft/metrics.jsonl", "stages/01-sft/model/weights"}
    assert entries[0].payload == {"seed": 7}


def test_the_hash_can_be_computed_by_anyone_from_the_line(run: Path) -> None:
    import hashlib

    for line in (run / "ledger.jsonl").read_text().splitlines():
        entry = json.loads(line)
        told = entry.pop("hash")
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == told


def test_an_untouched_run_is_proven(run: Path) -> None:
    found = verify(run)
    assert (found.ok, found.entries, found.files, found.problem, found.seq) == (True, 6, 5, None, None)
    assert found.head == read(run)[-1].hash
    assert found.unfinished == ()


def _edit(run: Path, change: Callable[[list[str]], Any]) -> None:
    path = run / "ledger.jsonl"
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("".join(line + "\n" for line in lines))


def _rehash(line: str, **changes: Any) -> str:
    """A line changed by someone who knows how to compute the hash."""
    entry = {**json.loads(line), **changes}
    entry.pop("hash")
    return canonical({**entry, "hash": digest(entry)})


LINES: list[tuple[Callable[[list[str]], Any], int, str]] = [
    (lambda lines: lines.__setitem__(0, lines[0].replace('"seed":7', '"seed":8')), 0, "was changed"),
    (lambda lines: lines.__setitem__(2, _rehash(lines[2], payload={})), 3, "does not follow"),
    (lambda lines: lines.__setitem__(2, _rehash(lines[2], files={})), 3, "does not follow"),
    (lambda lines: lines.pop(1), 1, "missing or reordered"),
    (lambda lines: lines.pop(0), 0, "missing or reordered"),
    (lambda lines: lines.insert(2, lines[1]), 2, "missing or reordered"),
    (lambda lines: lines.insert(1, lines.pop(2)), 1, "missing or reordered"),
    (lambda lines: lines.insert(3, ""), 3, "is not JSON"),
    (lambda lines: lines.__setitem__(4, lines[4][:-5]), 4, "is not JSON"),
    (lambda lines: lines.__setitem__(4, "{}"), 4, "is not an entry"),
    (lambda lines: lines.__setitem__(4, "[" * 100_000), 4, "is not JSON"),
    (lambda lines: lines.__setitem__(1, lines[1].replace(":", ": ", 1)), 1, "was changed"),
    (lambda lines: lines.__setitem__(5, lines[5].replace("1.5", "1.50")), 5, "was changed"),
    (lambda lines: lines.__setitem__(0, lines[0][:-1] + ',"seq":0}'), 0, "was changed"),
    (lambda lines: lines.__setitem__(0, _rehash(lines[0], seq=False)), 0, "missing or reordered"),
    (lambda lines: lines.__setitem__(5, _rehash(lines[5], files=[])), 5, "is not an entry"),
    (lambda lines: lines.clear(), 0, "is empty"),
]


@pytest.mark.parametrize(("change", "seq", "message"), LINES)
def test_a_changed_ledger_names_the_first_broken_entry(
    run: Path, change: Callable[[list[str]], Any], seq: int, message: str
) -> None:
    _edit(run, change)
    found = verify(run)
    assert not found.ok
    assert found.seq == seq
    assert found.problem is not None
    assert found.problem.startswith(f"entry {seq}: ")
    assert message in found.problem
    assert found.entries == seq


@pytest.mark.parametrize("row", [row for row in LINES if row[2] != "is empty"])
def test_a_changed_ledger_is_not_opened_for_writing(
    run: Path, row: tuple[Callable[[list[str]], Any], int, str]
) -> None:
    _edit(run, row[0])
    before = (run / "ledger.jsonl").read_bytes()
    with pytest.raises(LedgerError, match=row[2]) as caught:
        Ledger(run)
    assert caught.value.where == f"{run / 'ledger.jsonl'}:{row[1] + 1}"
    assert (run / "ledger.jsonl").read_bytes() == before


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_single_byte_of_the_ledger_can_change_unseen(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    run = tmp_path_factory.mktemp("run")
    with Ledger(run) as ledger:
        ledger.append("a", {"x": 0.1, "y": "é"})
        ledger.append("b", {"x": [1, None, True]})
    path = run / "ledger.jsonl"
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[place]))
    path.write_bytes(raw)
    assert not verify(run).ok


FILES: list[tuple[Callable[[Path], Any], int | None, str]] = [
    (lambda run: (run / "recipe.yaml").write_text("name: y\n"), 0, "recipe.yaml was changed"),
    (lambda run: (run / "stages/01-sft/model/weights").unlink(), 2, "model/weights is missing"),
    (lambda run: (run / "stages/02-dpo/metrics.jsonl").open("a").write("\n"), 4, "metrics.jsonl was changed"),
    (lambda run: (run / "stages/02-dpo/extra").write_text(""), None, "stages/02-dpo/extra is not recorded"),
    (lambda run: (run / "stages/stray").write_text(""), None, "stages/stray is not recorded"),
    (lambda run: (run / "stages/02-dpo/link").symlink_to("nowhere"), None, "link is not recorded"),
    (lambda run: _replace_by_link(run / "stages/01-sft/metrics.jsonl"), 2, "was replaced by a link"),
    (lambda run: _replace_by_folder(run / "stages/01-sft/metrics.jsonl"), 2, "is missing"),
]


def _replace_by_link(path: Path) -> None:
    elsewhere = path.parents[2] / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(("change", "seq", "message"), FILES)
def test_a_touched_file_is_named_with_its_entry(
    run: Path, change: Callable[[Path], Any], seq: int | None, message: str
) -> None:
    change(run)
    found = verify(run)
    assert (found.ok, found.seq) == (False, seq)
    assert found.problem is not None
    assert message in found.problem


@pytest.mark.parametrize("name", ["report.html", "stages/01-sft/tb/new", "stages/01-sft/x.lock"])
def test_reports_event_files_and_locks_need_no_record(run: Path, name: str) -> None:
    (run / name).write_text("x")
    assert verify(run).ok


def test_the_latest_record_of_a_file_counts(run: Path) -> None:
    weights = run / "stages/01-sft/model/weights"
    with Ledger(run) as ledger:
        weights.write_bytes(b"new")
        ledger.append("again", {}, [weights])
    assert verify(run).ok
    weights.write_bytes(b"01-sft" * 1000)
    assert verify(run).seq == 6


def test_removed_files_may_be_gone_and_may_not_come_back(run: Path) -> None:
    stage = run / "stages/01-sft"
    shutil.rmtree(stage)
    assert verify(run).seq == 2
    with Ledger(run) as ledger:
        ledger.append("stage.superseded", {}, removed=[stage])
    assert verify(run).ok
    (stage / "model").mkdir(parents=True)
    (stage / "model" / "weights").write_bytes(b"01-sft" * 1000)
    found = verify(run)
    assert found.problem == "entry 6: stages/01-sft/model/weights is recorded as removed but is there"


def test_a_stage_being_written_is_named_as_not_yet_proven(run: Path) -> None:
    stage = run / "stages/01-sft"
    with Ledger(run) as ledger:
        ledger.begin("stage.start", stage, {})
        (stage / "metrics.jsonl").write_text("other\n")
        (stage / "new").write_text("")
        found = verify(run)
        assert found.ok
        assert found.unfinished == ("stages/01-sft",)
        ledger.append("checkpoint", {}, [stage / "new"])
        (stage / "new").write_text("changed")
        assert verify(run).problem == "entry 7: stages/01-sft/new was changed"
        ledger.finish("stage.done", stage, {})
    assert verify(run).ok
    assert verify(run).unfinished == ()


def test_a_continued_stage_keeps_its_records(run: Path) -> None:
    with Ledger(run) as ledger:
        ledger.begin("stage.continue", run / "stages/01-sft", {}, fresh=False)
    (run / "stages/01-sft/metrics.jsonl").write_text("other\n")
    assert verify(run).seq == 2


@pytest.mark.parametrize("cut", [1, 2, 50, 10_000])
def test_a_line_torn_by_a_crash_is_cut_off_and_the_cut_recorded(run: Path, cut: int) -> None:
    path = run / "ledger.jsonl"
    raw = path.read_bytes()
    last = raw[raw.rstrip().rfind(b"\n") + 1 :]
    torn = last[: max(len(last) - cut, 1)]
    path.write_bytes(raw[: -len(last)] + torn)
    found = verify(run)
    assert (found.ok, found.seq, found.entries) == (False, 5, 5)
    with Ledger(run) as ledger:
        ledger.append("go on", {})
    entries = read(run)
    assert [entry.kind for entry in entries[5:]] == ["ledger.recovered", "go on"]
    assert entries[5].payload["cut_bytes"] == len(torn)
    assert verify(run).ok


def test_a_torn_first_line_leaves_an_empty_ledger_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"seq":0,"ti')
    with Ledger(tmp_path):
        pass
    assert [entry.kind for entry in read(tmp_path)] == ["ledger.recovered"]


_WRITER = """
import sys
from pathlib import Path
from hizala.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
n = 0
while True:
    ledger.append("tick", {"n": n, "pad": "x" * 500})
    n += 1
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_a_ledger_that_goes_on(tmp_path: Path) -> None:
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(20):
            done = int(writer.stdout.readline())
        writer.kill()
        writer.wait()
        with Ledger(tmp_path):
            pass
        ticks = [entry.payload["n"] for entry in read(tmp_path) if entry.kind == "tick"]
        assert len(ticks) >= done  # what was acknowledged is there
        assert verify(tmp_path).ok


def _try_to_open(run: Path, answers: Any) -> None:
    try:
        Ledger(run)
    except RunError as error:
        answers.put(str(error))
    else:
        answers.put("opened")


def test_two_processes_cannot_write_at_once(run: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with Ledger(run):
        other = context.Process(target=_try_to_open, args=(run, answers))
        other.start()
        assert "another process is writing to this run" in answers.get(timeout=60)
        other.join()
        with pytest.raises(RunError, match="another process"):
            Ledger(run)
    Ledger(run).close()


def test_a_ledger_changed_behind_our_back_stops_the_writer(run: Path) -> None:
    with Ledger(run) as ledger:
        with (run / "ledger.jsonl").open("ab") as file:
            file.write(b"{}\n")
        with pytest.raises(LedgerError, match="changed by someone else"):
            ledger.append("x", {})


def test_a_full_disk_leaves_the_ledger_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(run) as ledger:
        before = (run / "ledger.jsonl").read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(RunError, match="No space left"):
                ledger.append("x", {"pad": "y" * 10_000})
        assert (run / "ledger.jsonl").read_bytes() == before
        ledger.append("after", {})
    assert verify(run).ok
    assert read(run)[-1].kind == "after"


def test_files_outside_the_run_are_refused_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    (run / "link").symlink_to(outside)
    with Ledger(run) as ledger:
        head = ledger.head
        for path in (outside, run / ".." / "outside", run / "link"):
            with pytest.raises(LedgerError, match="not inside the run directory"):
                ledger.append("x", {}, [path])
        with pytest.raises(LedgerError, match="no such file"):
            ledger.append("x", {}, [run / "nothing"])
        assert ledger.head == head
    assert verify(run).entries == 6


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": float("inf")}, {"x": object()}, {"x": b"y"}, {1: 2}])
def test_a_payload_without_a_canonical_form_is_refused(run: Path, payload: dict[Any, Any]) -> None:
    with Ledger(run) as ledger, pytest.raises((ValueError, TypeError)):
        ledger.append("x", payload)
    assert verify(run).entries == 6


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(categories=None)),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_plain_payload_survives(tmp_path_factory: pytest.TempPathFactory, payload: dict[str, Any]) -> None:
    run = tmp_path_factory.mktemp("run")
    with Ledger(run) as ledger:
        entry = ledger.append("x", payload)
    assert read(run)[0].payload == entry.payload
    assert verify(run).ok


def test_no_run_and_no_ledger_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no ledger\.jsonl"):
        verify(tmp_path)
    with pytest.raises(RunError, match="no such run directory"):
        Ledger(tmp_path / "none")
