"""Scripts with several inputs: compiled once, and run each time as if it were the first."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Judge, Limits, Result, Sandbox, Streams
from hizala.engines.reward.sandbox.spec import MIB

pytestmark = NEEDS
LIMITS = Limits(seconds=1.5, cpu_seconds=1.5, memory=256 * MIB)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """One for all tests here."""
    with Sandbox(limits=LIMITS) as sandbox:
        made = Judge(sandbox)
        yield made
        made.close()


def results(judge: Judge, source: str, *pairs: tuple[str, str]) -> list[Result]:
    """Results of a script for pairs of input and output, which are several."""
    assert len(pairs) > 1
    return judge.one(source, [Streams(given, expected) for given, expected in pairs])


GOOD = {
    "input()": "print(int(input()) ** 2)",
    "sys.stdin": "import sys\nfor line in sys.stdin:\n    print(int(line) ** 2)",
    "read": "import sys\nn = int(sys.stdin.buffer.read())\nsys.stdout.buffer.write(b'%d\\n' % n ** 2)",
    "os.read": "import os\nn = int(os.read(0, 99))\nos.write(1, b'%d\\n' % n ** 2)",
    "main": "def main():\n    print(int(input()) ** 2)\nif __name__ == '__main__':\n    main()",
    "exit": "import sys\nprint(int(input()) ** 2)\nsys.exit(0)",
    "quit": "print(int(input()) ** 2)\nquit()",
    "atexit": "import atexit\nn = int(input())\natexit.register(lambda: print(n ** 2))",
    "thread": "import threading\nn = int(input())\nthreading.Timer(0.05, lambda: print(n ** 2)).start()",
    "subprocess": "import subprocess\nn = int(input())\nsubprocess.run(['echo', str(n ** 2)])",
    "state of its own": "import sys\nassert not hasattr(sys, 'seen')\nsys.seen = 1\nprint(int(input()) ** 2)",
    "files of its own": "import os\nassert not os.listdir('/tmp')\nos.makedirs('/tmp/a/b')\nopen('/tmp/a/b/c', 'w')\n"
    "os.symlink('/usr', '/tmp/l')\nprint(int(input()) ** 2)",
    "complaints": "import sys\nprint(int(input()) ** 2)\nprint('careful', file=sys.stderr)",
}


@pytest.mark.parametrize("name", GOOD)
def test_scripts_run_as_they_would_alone(judge: Judge, name: str) -> None:
    pairs = [(f"{n}\n", f"{n * n}\n") for n in (2, 3, 12)]
    assert results(judge, GOOD[name], *pairs) == [Result(True)] * 3
    wrong = [(given, f"{expected}1") for given, expected in pairs]
    assert [result.passed for result in results(judge, GOOD[name], *wrong)] == [False] * 3


def test_large_input_and_text_of_every_kind_pass_through(judge: Judge) -> None:
    source = "import sys\ntext = sys.stdin.read()\nprint(len(text), text[:3])"
    pairs = [("x" * 700_000, "700000 xxx"), ("ğüş", "3 ğüş"), ("", "0")]
    assert results(judge, source, *pairs) == [Result(True)] * 3


def test_each_run_is_judged_for_itself(judge: Judge) -> None:
    source = """
n = int(input())
if n == 1: raise SystemExit(4)
if n == 2: 1 / 0
if n == 3: import os; os._exit(0)
if n == 4: import os; os.kill(os.getpid(), 9)
if n == 5: print("x" * 3_000_000)
print(n)
"""
    found = results(judge, source, *[(str(n), str(n)) for n in range(7)])
    assert [result.passed for result in found] == [True, False, False, False, False, False, True]
    said = [result.why for result in found]
    assert said[1] == "exit status 4"
    assert said[2] == "exit status 1 (ZeroDivisionError: division by zero)"
    assert said[3:6] == ["wrong output", "exit status 137", "stopped at the limit of output"]


def test_a_run_that_hangs_does_not_take_the_others_along(judge: Judge) -> None:
    source = "n = int(input())\nwhile n == 1: pass\nprint(n)"
    found = results(judge, source, *[(str(n), str(n)) for n in (0, 1, 2)])
    assert [result.passed for result in found] == [True, False, True]
    assert found[1].why in ("stopped at the time limit", "stopped at the limit of processor time")


def test_after_three_that_hang_the_rest_is_not_run(judge: Judge) -> None:
    began = time.monotonic()
    found = results(judge, "while True: pass", *[("", "")] * 20)
    assert [result.passed for result in found] == [False] * 20
    assert found[3].why == "not run: 3 tests had to be stopped before it"
    assert time.monotonic() - began < 3 * LIMITS.seconds + 8


def test_what_a_run_leaves_behind_is_gone_before_the_next(judge: Judge) -> None:
    source = """
import os, time
print(len([n for n in os.listdir("/proc") if n.isdigit()]))
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
"""
    began = time.monotonic()
    assert results(judge, source, *[("", "2")] * 6) == [Result(True)] * 6
    assert time.monotonic() - began < 10


def test_a_program_that_does_not_compile_fails_everywhere(judge: Judge) -> None:
    found = results(judge, "print(1", ("", "1"), ("", "2"))
    assert [result.passed for result in found] == [False, False]
    assert found[0].why.startswith("the program did not load: SyntaxError")
