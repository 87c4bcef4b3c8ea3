"""Hostile programs are contained, scored as failures, and leave the run and the machine as they were."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hostile_programs import CODE_TEST, CONSUMING, FORGING, FORGING_CODE, LINES, REACHING, SECRET, SENDING
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Code, Judge, Limits, Result, Sandbox, Streams, read_cases
from hizala.engines.reward.sandbox.spec import MIB

pytestmark = NEEDS
LIMITS = Limits(seconds=1.0, cpu_seconds=1.0, memory=256 * MIB, names=2000)
ESCAPED = [Streams("", "escaped\n")]
HONEST = ("def f(x): return x + 1", read_cases(["assert f(1) == 2"]))


@dataclass(frozen=True, slots=True)
class Outside:
    """Things of ours that a program should not reach."""

    judge: Judge
    folder: Path
    victim: subprocess.Popen[bytes]

    def aimed(self, source: str) -> str:
        """The program with the names of what it is after."""
        places = {"{file}": str(self.folder / "secret"), "{folder}": str(self.folder), "{pid}": str(self.victim.pid)}
        for name, value in places.items():
            source = source.replace(name, value)
        return source

    def unharmed(self) -> None:
        """Nothing was read into, written to or ended, and honest programs are still judged right."""
        assert self.victim.poll() is None
        assert sorted(path.name for path in self.folder.iterdir()) == ["secret"]
        assert [result.passed for result in self.judge.one(*HONEST)] == [True]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """A sandbox, and a file, a folder and a process outside it."""
    folder = tmp_path_factory.mktemp("ours")
    (folder / "secret").write_text("HIZALA")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Sandbox(limits=LIMITS) as sandbox:
        judge = Judge(sandbox)
        yield Outside(judge, folder, victim)
        judge.close()
    victim.kill()
    victim.wait()


@pytest.mark.parametrize("name", REACHING)
def test_nothing_outside_is_reached(outside: Outside, name: str) -> None:
    source = outside.aimed(REACHING[name])
    for _ in range(2):  # the second finds what the first may have planted
        for times in (1, 2):  # one run, and several from one loaded program
            results = outside.judge.one(source, ESCAPED * times)
            assert [result.passed for result in results] == [False] * times
        assert b"escaped" not in outside.judge.sandbox.run(source).stdout
    outside.unharmed()


@pytest.mark.parametrize("name", CONSUMING)
def test_what_uses_everything_up_is_stopped(outside: Outside, name: str) -> None:
    source, ends = CONSUMING[name]
    began = time.monotonic()
    # Memory takes its time to be filled where others compute too; the limits on it need none.
    limits = replace(LIMITS, seconds=8.0, cpu_seconds=8.0) if name.startswith("takes") else LIMITS
    outcome = outside.judge.sandbox.run(source, limits=limits)
    assert time.monotonic() - began < limits.seconds + 5.0
    assert outcome.status in ends
    assert outcome.reason
    assert len(outcome.stdout) + len(outcome.stderr) <= LIMITS.output
    assert _left_over() == []
    outside.unharmed()


def _left_over() -> list[str]:
    """Command lines of processes that came out of a sandbox and are still there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"/box/inside" in line and _is_child(entry):
                found.append(line.decode(errors="replace"))
    return found


def _is_child(entry: Path) -> bool:
    """Whether a process descends from this one, for others may be testing here too."""
    number = entry.name
    for _ in range(50):
        if int(number) == os.getpid():
            return True
        try:
            fields = Path("/proc", number, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        number = fields[1]
        if number == "0":
            return False
    return False


@pytest.mark.parametrize("name", FORGING)
def test_a_value_cannot_be_forged(outside: Outside, name: str) -> None:
    (result,) = outside.judge.one(FORGING[name], read_cases([f"assert f(3) == {SECRET}"]))
    assert result.passed is False
    assert result.why
    outside.unharmed()


@pytest.mark.parametrize("name", FORGING_CODE)
def test_a_verdict_cannot_be_forged(outside: Outside, name: str) -> None:
    (result,) = outside.judge.one(FORGING_CODE[name], [Code(CODE_TEST, "f")])
    assert result.passed is False
    assert result.why
    outside.unharmed()


@pytest.mark.parametrize("form", ["assert f({}) == {}", "assert abs(f({}) - {}) < 1", "g = f({})\nassert [g] == [{}]"])
def test_no_line_is_taken_for_an_answer(form: str) -> None:
    """And none upsets whoever reads it: every test is judged, and judged failed."""
    with Sandbox(limits=LIMITS) as sandbox:
        judge = Judge(sandbox, kills=len(LINES))
        results = judge.one(SENDING, read_cases([form.format(k, SECRET) for k in range(len(LINES))]))
        judge.close()
    assert [result.passed for result in results] == [False] * len(LINES)
    assert all(result.why and len(result.why) < 400 and result.why.isprintable() for result in results)


NODES = f"""
class Node:
    def __init__(self, value, next=None):
        self.value, self.next, self._secret = value, next, {SECRET}
    def twice(self):
        return 2 * self.value
node = Node(1, Node(2))
assert f(node) == [1, 2, 4]
"""


def test_a_program_may_use_what_a_test_hands_over(outside: Outside) -> None:
    tests = read_cases([NODES])
    honest = """
def f(node):
    values = []
    while node is not None:
        values.append(node.value)
        last, node = node, node.next
    return values + [last.twice()]
"""
    (result,) = outside.judge.one(honest, tests)
    assert result == Result(True)
    asking = """
def f(node):
    peer = object.__getattribute__(node, "_peer")
    for name in ("_secret", "__class__", "__init__", "__dict__"):
        try:
            peer.ask({"op": "get", "target": {"t": "yours", "v": 0}, "name": name})
        except PermissionError:
            continue
        return name
    for op in ("len", "iter", "next", "repr", "bool", "item", "isinstance", "eq"):
        try:
            return peer.ask({"op": op, "target": {"t": "yours", "v": 0}, "name": "value"})
        except PermissionError:
            continue
    for name in ("__globals__", "__self__", "__func__"):
        try:
            return peer.ask({"op": "get", "target": peer.encode(node.twice), "name": name})
        except PermissionError:
            continue
    return [1, 2, 4]
"""
    assert outside.judge.one(asking, tests) == [Result(True)]
    tests = read_cases(["x = (n for n in [1])\nassert f(x)"])
    (result,) = outside.judge.one("def f(g):\n    return g.gi_frame.f_locals", tests)
    assert "the test hands over calls" in result.why


@pytest.mark.parametrize("test", [f"assert f(3) == {SECRET}", CODE_TEST.replace("candidate", "f") + "\ncheck(f)"])
def test_the_value_itself_passes(outside: Outside, test: str) -> None:
    """What the forgeries are measured against: a program that knows."""
    (result,) = outside.judge.one(f"def f(x): return {SECRET}", read_cases([test]))
    assert result.passed is True


# What the sandbox prevents does happen without it: these attempts are real.
REAL = ("reads a file outside", "writes a file outside", "opens a socket", "signals processes outside")


@pytest.mark.parametrize("name", REAL)
def test_without_a_sandbox_the_same_program_escapes(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("HIZALA")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with Sandbox(isolation="none_i_trust_the_code", limits=LIMITS) as sandbox:
        judge = Judge(sandbox)
        reached = Outside(judge, tmp_path, victim).aimed(REACHING[name])
        assert sandbox.run(reached).stdout.startswith(b"escaped")
        judge.close()
    victim.kill()
    victim.wait()
