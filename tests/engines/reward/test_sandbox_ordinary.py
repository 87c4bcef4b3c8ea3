"""What ordinary programs use works in the sandbox: the list of system calls is long enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandboxes import NEEDS

from hizala.engines.reward.sandbox import Limits, Sandbox

pytestmark = NEEDS
USES = {
    "subprocesses": """
import subprocess
assert subprocess.run(["ls", "/box"], capture_output=True, check=True).stdout.split() == [b"inside", b"program.py"]
assert subprocess.check_output("echo hi | tr a-z A-Z | sed s/H/h/ | awk '{print $1}' | sort", shell=True) == b"hI\\n"
assert subprocess.check_output(["python3", "-S", "-c", "print(2)"]) == b"2\\n"
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    assert sum(pool.map(lambda x: x * x, range(100))) == 328350
""",
    "a thread with a deep stack": """
import sys, threading
threading.stack_size(64 << 20)
sys.setrecursionlimit(1 << 20)
def depth(n): return 0 if n == 0 else 1 + depth(n - 1)
found = []
thread = threading.Thread(target=lambda: found.append(depth(50_000)))
thread.start()
thread.join()
assert found == [50_000]
""",
    "processes": """
import multiprocessing
here, there = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=lambda: there.send(3))
process.start()
assert here.recv() == 3
process.join()
assert process.exitcode == 0
""",
    "asyncio": """
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec("echo", "x", stdout=-1)
    found, _ = await process.communicate()
    return found
assert asyncio.run(main()) == b"x\\n"
""",
    "files": """
import os, shutil, tempfile
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    open("a", "w").write("x" * 1000)
    shutil.copy2("a", "b")
    shutil.copytree(".", "../copy")
    shutil.rmtree("../copy")
    os.symlink("a", "c"); os.link("a", "d"); os.rename("d", "e"); os.mkfifo("f")
    os.chmod("a", 0o600); os.utime("a"); os.truncate("a", 3)
    assert sorted(os.listdir(".")) == ["a", "b", "c", "e", "f"] and open("c").read() == "xxx"
    os.chdir("/")
""",
    "memory maps, sockets and signals": """
import mmap, select, signal, socket, time
mapped = mmap.mmap(-1, 4096)
mapped[:3] = b"abc"
a, b = socket.socketpair()
a.sendall(b"x")
poll = select.epoll()
poll.register(b)
assert poll.poll() and b.recv(1) == b"x"
hits = []
signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.1)
assert hits
""",
    "a database": """
import sqlite3
base = sqlite3.connect("/tmp/x.db")
base.execute("create table t (a)")
base.execute("insert into t values (1)")
base.commit()
assert base.execute("select * from t").fetchall() == [(1,)]
""",
    "facts of the machine": """
import ctypes, datetime, hashlib, locale, os, platform, resource, secrets, time, uuid, zoneinfo
secrets.token_hex(), uuid.uuid4(), platform.platform(), resource.getrusage(resource.RUSAGE_SELF), os.cpu_count()
os.sched_getaffinity(0), os.getloadavg(), time.get_clock_info("monotonic"), os.nice(1), locale.getlocale()
assert hashlib.sha256(b"").hexdigest()[:4] == "e3b0" and ctypes.CDLL(None).getpid() == os.getpid()
zone = zoneinfo.ZoneInfo("Europe/Istanbul") if os.path.exists("/usr/share/zoneinfo/Europe/Istanbul") else None
assert zone is None or datetime.datetime(2024, 7, 1, tzinfo=zone).utcoffset().seconds == 3 * 3600
""",
    "every module of the standard library": """
import importlib, sys, warnings
warnings.simplefilter("ignore")
for name in sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "turtledemo"}):
    if not name.startswith("_"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            pass
""",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all, with time for a busy machine."""
    with Sandbox(limits=Limits(seconds=30.0, cpu_seconds=20.0)) as made:
        yield made


@pytest.mark.parametrize("name", USES)
def test_ordinary_programs_run(sandbox: Sandbox, name: str) -> None:
    outcome = sandbox.run(USES[name] + "\nprint('done')")
    assert outcome.reason == ""
    assert outcome.stdout.endswith(b"done\n")
