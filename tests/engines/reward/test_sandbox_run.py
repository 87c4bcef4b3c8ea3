"""The sandbox runs programs, and reports truly what became of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Limits, Outcome, Sandbox
from hizala.errors import ConfigError

pytestmark = NEEDS
SHORT = Limits(seconds=0.8)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests here."""
    with Sandbox() as made:
        yield made


def said(outcome: Outcome) -> str:
    """What a program wrote that ended well."""
    assert (outcome.status, outcome.code, outcome.stderr) == ("exited", 0, b"")
    return outcome.stdout.decode()


def test_a_program_reads_and_writes(sandbox: Sandbox) -> None:
    assert said(sandbox.run("print(sum(map(int, input().split())))", stdin=b"3 4\n")) == "7\n"
    assert said(sandbox.run("print(len(__import__('sys').stdin.read()))", stdin=b"x" * 500_000)) == "500000\n"
    assert said(sandbox.run("print('merhaba, dünya')")) == "merhaba, dünya\n"
    assert said(sandbox.run("if __name__ == '__main__':\n    print(__file__)")) == "/box/program.py\n"


def test_input_nobody_reads_does_no_harm(sandbox: Sandbox) -> None:
    assert said(sandbox.run("print(1)", stdin=b"x" * 900_000)) == "1\n"


def test_how_a_program_ended_is_told(sandbox: Sandbox) -> None:
    assert sandbox.run("exit(3)").code == 3
    assert sandbox.run("import os; os.abort()").code == 139
    assert sandbox.run("import os\nif os.fork() == 0: os.abort()\nexit(os.wait()[1])").code == 6
    broken = sandbox.run("1 / 0")
    assert broken.code == 1
    assert "ZeroDivisionError" in broken.reason
    assert "SyntaxError" in sandbox.run("def f(:").reason
    assert sandbox.run("import time\nprint('first', flush=True)\ntime.sleep(9)", limits=SHORT).stdout == b"first\n"


def test_the_same_program_gives_the_same_output(sandbox: Sandbox) -> None:
    source = "print({'a', 'b', 'c', 'd', 'e', 'f', 'g'}, hash('x'))"
    assert len({said(sandbox.run(source)) for _ in range(4)}) == 1


def test_a_program_sees_nothing_of_ours(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIZALA_TEST_SECRET", "tell nobody")
    source = """
import os, sys
print(sorted(os.environ))
print(os.getuid(), os.getgid(), os.getcwd(), os.listdir("/tmp"), sorted(os.listdir("/box")))
print(sorted(n for n in os.listdir("/proc") if n.isdigit()), [m for m in sys.modules if "hizala" in m])
for name in ("/proc/1/environ", "/proc/self/environ"):
    try:
        print("secret" in open(name).read().lower())
    except OSError:
        print(False)
"""
    variables, identity, processes, *environs = said(sandbox.run(source)).splitlines()
    assert variables == str(["HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "PWD", "PYTHONHASHSEED", "PYTHONUTF8"])
    assert identity == "65534 65534 /tmp [] ['inside', 'program.py']"
    assert processes == "['1'] []"
    assert environs == ["False", "False"]


def test_many_threads_use_one_sandbox(sandbox: Sandbox) -> None:
    found: dict[int, str] = {}

    def work(number: int) -> None:
        found[number] = said(sandbox.run(f"print({number} ** 2)"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"{n * n}\n" for n in range(8)}


def test_limits_are_checked() -> None:
    with pytest.raises(ConfigError, match="memory is 0"):
        Limits(memory=0)
    with pytest.raises(ConfigError, match="unknown language 'pyton', did you mean 'python'"):
        Sandbox("pyton")
