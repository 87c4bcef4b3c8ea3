"""The sandbox under other conditions: a plain user, no cgroup, missing tools, another language, a dying parent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile_programs import CONSUMING, REACHING
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Judge, Language, Limits, Sandbox, languages, launch, memory, read_cases
from hizala.engines.reward.sandbox.spec import MIB
from hizala.errors import DataError, SandboxError

LIMITS = Limits(seconds=2.0, cpu_seconds=1.0, memory=256 * MIB)
PLAIN = 64999  # an id without an account


FORKS = """
import os, time
for n in range(99):
    if not os.fork():
        time.sleep(9)
    print(n, flush=True)
"""


def as_plain_user(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives in a process that is not root; in this one where it is not."""
    if os.geteuid() != 0:
        return work()
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(PLAIN, PLAIN, PLAIN)
            os.setresuid(PLAIN, PLAIN, PLAIN)
            os.environ["HOME"] = "/nonexistent"
            os.write(writable, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writable, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writable)
    with open(readable, "rb") as file:
        found: dict[str, Any] = json.loads(file.read())
    os.waitpid(child, 0)
    return found


@NEEDS
def test_a_plain_user_has_the_same_sandbox() -> None:
    def work() -> dict[str, Any]:
        with Sandbox(limits=LIMITS) as sandbox:
            judge = Judge(sandbox)
            tests = read_cases(["assert f(1) == 2", "assert abs(f(-1)) == 0"])
            honest = [result.passed for result in judge.one("def f(x): return x + 1", tests)]
            names = (
                "forks without end",
                "takes memory in many processes",
                "loops in many processes",
                "writes without end",
            )
            ends = [sandbox.run(CONSUMING[name][0]).status for name in names]
            reached = [sandbox.run(REACHING[name]).stdout.decode() for name in REACHING if "{" not in REACHING[name]]
            started = len(sandbox.run(FORKS).stdout.split())
            judge.close()
            escaped = [said for said in reached if "escaped" in said]
            return {"user": os.geteuid(), "honest": honest, "ends": ends, "escaped": escaped, "started": started}

    found = as_plain_user(work)
    assert found.pop("user") != 0
    forking, memory_taken, looping, writing = found.pop("ends")
    assert forking in ("time", "cpu")
    assert looping in ("time", "cpu")
    assert (memory_taken, writing) == ("memory", "output")
    assert found == {"honest": [True, True], "escaped": [], "started": LIMITS.processes - 1}


@NEEDS
def test_the_limit_on_processes_holds_for_whoever_this_is() -> None:
    with Sandbox(limits=LIMITS) as sandbox:
        assert len(sandbox.run(FORKS).stdout.split()) == LIMITS.processes - 1


@NEEDS
@pytest.mark.skipif(os.geteuid() != 0, reason="only root is dropped")
def test_root_is_not_root_outside_either() -> None:
    """Else the limit on processes would not hold: the kernel does not enforce it for root."""
    source = b"import time; print(1, flush=True); time.sleep(9)"
    with Sandbox(limits=LIMITS) as sandbox, sandbox.open({"program.py": source}) as process:
        assert process.line() == b"1"
        status = Path(f"/proc/{process.init}/status").read_text()
    ids = next(line.split()[1:] for line in status.splitlines() if line.startswith("Uid:"))
    assert len(set(ids)) == 1
    assert launch.FIRST_ID <= int(ids[0]) < launch.FIRST_ID + launch.IDS
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert all(set(line.split()[1]) == {"0"} for line in status.splitlines() if line.startswith("Cap"))


@NEEDS
@pytest.mark.parametrize("name", ["takes memory in many processes", "takes shared memory"])
def test_memory_is_watched_where_there_is_no_cgroup(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.MemoryBound, "make", lambda slot: None)
    with Sandbox(limits=LIMITS) as sandbox:
        assert not sandbox.bounded
        assert sandbox.run(CONSUMING[name][0]).status == "memory"


@NEEDS
@pytest.mark.parametrize("watched", [True, False])
def test_what_copies_share_counts_once(watched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five processes that see the same 120 MB of a limit of 256."""
    if watched:
        monkeypatch.setattr(memory.MemoryBound, "make", lambda slot: None)
    source = """
import os, time
held = bytearray(b"x") * (120 << 20)
for _ in range(4):
    if not os.fork():
        sum(held[::4096])
        time.sleep(0.5)
        os._exit(0)
for _ in range(4):
    os.wait()
print(1)
"""
    with Sandbox(limits=replace(LIMITS, seconds=20.0, cpu_seconds=20.0)) as sandbox:
        assert sandbox.run(source).stdout == b"1\n"


@NEEDS
def test_memory_is_watched_where_a_cgroup_takes_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where a cgroup was delegated and the one we are in was not."""
    folder = tmp_path / "cgroup.procs"
    folder.mkdir()  # writing to it fails
    monkeypatch.setattr(memory.MemoryBound, "make", lambda slot: memory.MemoryBound(tmp_path))
    with Sandbox(limits=LIMITS) as sandbox:
        assert not sandbox.bounded
        assert sandbox.run("print(1)").stdout == b"1\n"
        assert sandbox.run(CONSUMING["takes memory in many processes"][0]).status == "memory"


@NEEDS
def test_cgroups_are_taken_away_again() -> None:
    def ours() -> list[Path]:
        places = [place for parent in memory._parents() for place in parent.glob(f"hizala-sandbox-{os.getpid()}-*")]
        return sorted(set(places))

    before = ours()
    with Sandbox(limits=LIMITS) as sandbox:
        if not sandbox.bounded:
            pytest.skip("no memory cgroup can be made here")
        assert len(ours()) == len(before) + 1
    assert ours() == before
    gone = before[0].parent if before else next(iter(memory._parents()))
    left = gone / "hizala-sandbox-999999999-0"
    left.mkdir()
    memory.sweep()
    assert not left.exists()


LACKS = {
    "bwrap": r"needs Bubblewrap \(bwrap\), not found here",
    "prlimit": r"needs prlimit \(util-linux\), not found here",
}


@pytest.mark.parametrize("tool", LACKS)
def test_without_a_tool_nothing_runs_and_the_message_says_how(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None if name == tool else which(name, path=path))
    with pytest.raises(SandboxError, match=LACKS[tool]) as caught:
        Sandbox()
    assert "apt-get install bubblewrap" in caught.value.fix
    assert "sandbox: none_i_trust_the_code" in caught.value.fix


def test_elsewhere_than_linux_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match="needs Linux, and this is darwin"):
        Sandbox()


@NEEDS
def test_a_sandbox_that_cannot_stand_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where user namespaces are forbidden: the tool is there and fails."""
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    which = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: str(broken) if name == "bwrap" else which(name, path=path)
    )
    with pytest.raises(SandboxError, match="setting up uid map: Permission denied") as caught:
        Sandbox()
    assert "unprivileged_userns_clone=1" in caught.value.fix


@pytest.fixture
def shell() -> str:
    """Another language for the length of a test."""
    if "test_shell" not in languages:
        row = Language("test_shell", ("sh",), "program.sh", ("sh",), ("{file}",), {"GREETING": "hello"})
        languages.add("test_shell", row)
    return "test_shell"


@NEEDS
def test_another_language_is_a_row(shell: str) -> None:
    with Sandbox(shell, limits=LIMITS) as sandbox:
        judge = Judge(sandbox)
        tests = read_cases([{"input": "2\n", "output": "hello 4"}, {"input": "3\n", "output": "hello 9"}])
        assert [r.passed for r in judge.one("read n; echo $GREETING $((n * n))", tests)] == [True, True]
        assert [r.passed for r in judge.one("read n; echo $GREETING $((n * 2))", tests)] == [True, False]
        assert sandbox.run("while :; do :; done").status in ("time", "cpu")
        attempt = "cat /etc/passwd && echo escaped; : > /usr/lib/x && echo escaped"
        assert b"escaped" not in sandbox.run(attempt).stdout
        with pytest.raises(DataError, match="functions of test_shell cannot be called"):
            judge.check(read_cases(["assert f(1) == 1"]))
        judge.close()


@pytest.mark.parametrize("trusted", [True, pytest.param(False, marks=NEEDS)])
def test_trusted_code_has_limits_too(trusted: bool) -> None:
    with Sandbox(limits=LIMITS, isolation="none_i_trust_the_code" if trusted else "bubblewrap") as sandbox:
        assert sandbox.run("print(input())", stdin=b"x\n").stdout == b"x\n"
        assert sandbox.run("while True: pass").status in ("time", "cpu")
        assert sandbox.run("while True: print('x' * 9999)").status == "output"
        assert sandbox.run("import time; time.sleep(60)").status == "time"
        assert "MemoryError" in sandbox.run("bytearray(1 << 30)").reason
        daemon = "import os, time\nif os.fork() == 0:\n    time.sleep(60)\n    os._exit(0)\nprint('left')"
        began = time.monotonic()
        assert sandbox.run(daemon).stdout == b"left\n"
        assert time.monotonic() - began < 1.9
        assert [finding.severity for finding in sandbox.findings()] == (["warning"] if trusted else [])


PARENT = """
import sys
from hizala.engines.reward.sandbox import Limits, Sandbox
source = b"import ctypes, time; ctypes.CDLL(None).prctl(1, 0); print(1, flush=True); time.sleep(50)"
with Sandbox(limits=Limits(seconds=60.0)) as sandbox, sandbox.open({"program.py": source}) as process:
    process.line()
    print(process.init, flush=True)
    process.drain()
"""


def alive(process: Path) -> bool:
    """Whether it is there, and not just waiting for someone to take note of its end."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@NEEDS
def test_what_runs_dies_with_the_one_who_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    inside = Path("/proc", parent.stdout.readline().strip())
    assert alive(inside)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not alive(inside):
            break
        time.sleep(0.05)
    assert not alive(inside)
    memory.sweep()
