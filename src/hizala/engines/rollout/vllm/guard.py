"""Runs a server as a child and sees that nothing of it outlives the process that wanted it.

    python -m hizala.engines.rollout.vllm.guard FD DIRECTORY COMMAND…

FD is the reading end of a pipe whose other end the wanting process holds: the kernel closes it however that process
ends, SIGKILL included, unless a copy of it made by fork lives on; so its parent is looked at too. DIRECTORY holds
what that process wrote for the server, and goes with it. Standard library only, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# Seconds the server has to end by itself before everything is killed.
GRACE = 5.0
PDEATHSIG, SUBREAPER = 1, 36  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the pipe closes; its exit code."""
    pipe, directory, command = int(arguments[0]), arguments[1], arguments[2:]
    wanted, parent = True, os.getppid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # Grandchildren whose parent dies become ours, so that they can be found.
    prctl(SUBREAPER, 1, 0, 0, 0)
    server = subprocess.Popen(command, preexec_fn=lambda: prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    try:
        while server.poll() is None:
            if select.select([pipe], [], [], 0.2)[0] or os.getppid() != parent:
                wanted = False
                server.terminate()
                try:
                    server.wait(GRACE)
                except subprocess.TimeoutExpired:
                    break
    finally:
        kill_all(server)
        if not wanted:
            shutil.rmtree(directory, ignore_errors=True)
    return server.wait()


def kill_all(server: subprocess.Popen[bytes]) -> None:
    """SIGKILL to every descendant until none is left, and none left as a zombie."""
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # First, and by its own id: its exit code is wanted.
        if server.poll() is not None:
            try:
                while os.waitpid(-1, os.WNOHANG)[0] != 0:
                    pass
            except ChildProcessError:
                return
        time.sleep(0.02)


def descendants(root: int) -> list[int]:
    """Processes below `root` that still run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the name, which may hold anything: state, parent, …
            state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            parents[int(entry.name)] = int(parent)
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return sorted(found - {root})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
