"""One confined process: started, fed, read, watched, and killed with everything it started."""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import time
from contextlib import suppress

from hizala.engines.reward.sandbox.memory import MemoryBound
from hizala.engines.reward.sandbox.spec import Limits, Outcome, Status

_TICK = 0.02  # seconds between two looks at memory, processor time and files
_CHUNK = 1 << 16
_SETUP = 20.0  # seconds the sandbox itself may take to stand
_OUTSIDE = os.stat("/").st_dev
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


class Process:
    """A process under limits, whose pipes are in our hands.

    Args:
        popen: started with pipes for its three streams; not yet let go where `start` is given.
        limits: what it may use.
        status: descriptor Bubblewrap reports on, or None: then the process is confined by its own limits alone.
        start: descriptor that lets it go when something is written.
        bound: the cgroup it is put into.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        limits: Limits,
        *,
        status: int | None = None,
        start: int | None = None,
        bound: MemoryBound | None = None,
    ) -> None:
        self.outcome = Outcome("broken", detail="it has not ended yet")
        self.limits, self.detail = limits, ""
        self.stopped: Status | None = None
        self.stdout, self.stderr = bytearray(), bytearray()
        self._popen, self._status, self._bound = popen, status, bound
        self._report = bytearray()
        self.init: int | None = None  # process 1 inside, as it is numbered out here
        self._handle: int | None = None
        self._feed = memoryview(b"")
        self._last = False
        self._written = 0
        self._cpu = self._spent = 0.0  # processor seconds as last seen; those of work that is done
        self._selector = selectors.DefaultSelector()
        self._kills = bound.kills() if bound else 0
        for pipe, kept in ((popen.stdin, None), (popen.stdout, self.stdout), (popen.stderr, self.stderr)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            if kept is not None:
                self._selector.register(pipe, selectors.EVENT_READ, kept)
        if status is not None:
            os.set_blocking(status, False)
            self._selector.register(status, selectors.EVENT_READ, self._report)
            self._settle(start)
        self.began = self._looked = time.monotonic()
        self.deadline = self.began + limits.seconds

    def _settle(self, start: int | None) -> None:
        """Wait until the sandbox stands, put it into its cgroup, let it go."""
        until = time.monotonic() + _SETUP
        while b"\n" not in self._report and not self._closed() and time.monotonic() < until:
            self._turn(0.05)
        try:
            self.init = int(json.loads(self._report.split(b"\n")[0])["child-pid"])
            self._handle = os.pidfd_open(self.init)
            if self._bound is not None:
                self._bound.take(self.init)
                self._bound = self._bound if self._bound.usable else None
            if start is not None:
                os.write(start, b"x")
        except (ValueError, KeyError, OSError) as error:
            self.stop("broken", self.stderr.decode(errors="replace").strip()[:500] or str(error))

    @property
    def running(self) -> bool:
        """Whether anything may still come from it."""
        return not self.stopped and not self._closed()

    def _closed(self) -> bool:
        return not any(key.events & selectors.EVENT_READ for key in self._selector.get_map().values())

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Give it something to read; `end`: and nothing after that."""
        pipe = self._popen.stdin
        assert pipe
        if pipe.closed:
            return
        if not self._feed:
            self._selector.register(pipe, selectors.EVENT_WRITE)
        self._feed, self._last = memoryview(bytes(self._feed) + data), end
        self._write()

    def renew(self, seconds: float) -> None:
        """Start counting time, processor time and output anew: another piece of work begins."""
        self.deadline = time.monotonic() + seconds
        self._written, self._spent = 0, self._cpu

    @property
    def why(self) -> str:
        """What stopped it, in words; "" while nothing has."""
        return Outcome(self.stopped, detail=self.detail).reason if self.stopped else ""

    @property
    def broken(self) -> str:
        """What went wrong where the sandbox itself failed; "" where it did not, or still runs."""
        if self.stopped == "broken":
            return self.detail or "it could not be started"
        if self.running or self.stopped or self._status is None or _exit_code(self._report) is not None:
            return ""
        return self.stderr.decode(errors="replace").strip()[:500] or "it ended without a word"

    def line(self, *others: Process) -> bytes | None:
        """The next line it writes, while others are watched; None when it ended or was stopped before that."""
        while b"\n" not in self.stdout and self.running:
            self._turn(_TICK)
            for one in (self, *others):
                one.watch()
        if b"\n" not in self.stdout:
            return None
        found, _, rest = bytes(self.stdout).partition(b"\n")
        self.stdout[:] = rest
        return found

    def drain(self) -> None:
        """Read until it ends or is stopped."""
        while not self.stopped and (not self._closed() or self._popen.poll() is None):
            if self._status is None and self._popen.poll() is not None:
                break  # what it left running may hold its pipes open for ever
            self._turn(_TICK)
            self.watch()

    def _turn(self, timeout: float) -> None:
        """Move what can be moved through the pipes, waiting for it that long."""
        if not self._selector.get_map():
            return time.sleep(timeout)
        for key, _ in self._selector.select(timeout):
            if key.events & selectors.EVENT_WRITE:
                self._write()
                continue
            try:
                data = os.read(key.fd, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fileobj)
                continue
            key.data.extend(data)
            if key.data is not self._report:
                self._written += len(data)
                if self._written > self.limits.output:
                    return self.stop("output")
        return None

    def _write(self) -> None:
        pipe = self._popen.stdin
        assert pipe
        try:
            self._feed = self._feed[os.write(pipe.fileno(), self._feed) :] if self._feed else self._feed
        except BlockingIOError:
            return
        except OSError:  # it does not read any more
            self._feed, self._last = memoryview(b""), True
        if not self._feed:
            self._selector.unregister(pipe)
            if self._last:
                pipe.close()

    def watch(self) -> None:
        """Stop it when a limit that the kernel does not hold for the whole tree is passed."""
        now = time.monotonic()
        if now > self.deadline:
            return self.stop("time")
        if now - self._looked < _TICK or self.init is None:
            return None
        self._looked = now
        if self._bound and self._bound.kills() > self._kills:  # the kernel has ended one of its processes
            return self.stop("memory")
        root = f"/proc/{self.init}/root"
        memory = cpu = 0.0
        with suppress(OSError):
            if os.stat(root).st_dev == _OUTSIDE:
                return None  # it still stands where it was started
            processes = [f"{root}/proc/{name}" for name in os.listdir(f"{root}/proc") if name.isdigit()]
            for folder in processes:
                resident, spent = _usage(f"{folder}/stat", children=folder.endswith("/1"))
                memory, cpu = memory + resident, cpu + spent
            disk = os.statvfs(f"{root}/tmp")
            if disk.f_files - disk.f_ffree > self.limits.names:
                return self.stop("files")
            if not self._bound:  # else the kernel counts, and better
                written = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
                # Copies share pages with what they were copied from; their true part is slower to read.
                if memory + written > self.limits.memory < sum(map(_share, processes)) + written:
                    return self.stop("memory")
        self._cpu = max(self._cpu, cpu)
        if self._cpu - self._spent > self.limits.cpu_seconds:
            return self.stop("cpu")
        return None

    def stop(self, why: Status, detail: str = "") -> None:
        """Kill it and everything it started."""
        if not self.stopped:
            self.stopped, self.detail = why, detail
        self._kill()

    def _kill(self) -> None:
        if self._handle is not None:
            with suppress(OSError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        with suppress(OSError):
            if self.init is None:
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.kill()

    def finish(self) -> Outcome:
        """Wait for its end (it was drained or stopped, or is killed now) and say what became of it."""
        seconds = time.monotonic() - self.began
        if self.running:
            self._kill()
        elif not self.stopped and self._status is not None and self._popen.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(_SETUP)
        if self._popen.poll() is None:
            self._kill()
        self._popen.wait()
        if self._handle is not None:
            # Process 1 has ended only when everything inside has: then nothing is left that could use the slot.
            select.select([self._handle], [], [], _SETUP)
        with suppress(OSError, KeyError):
            while not self._closed() and self._selector.select(0):
                self._turn(0)
        outcome = self._judge(seconds)
        self._close()
        return outcome

    def _judge(self, seconds: float) -> Outcome:
        out, err = bytes(self.stdout[: self.limits.output]), bytes(self.stderr[: self.limits.output])
        if self._bound is not None and self._bound.kills() > self._kills and self.stopped != "broken":
            return Outcome("memory", None, out, err, seconds)
        if self.stopped:
            return Outcome(self.stopped, None, out, err, seconds, self.detail)
        code = self._popen.returncode if self._status is None else _exit_code(self._report)
        if code is None:
            return Outcome("broken", None, out, err, seconds, err.decode(errors="replace").strip()[:500])
        code = code if code >= 0 else 128 - code
        if code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL) and seconds >= self.limits.cpu_seconds:
            return Outcome("cpu", None, out, err, seconds)
        return Outcome("exited", code, out, err, seconds)

    def _close(self) -> None:
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe:
                with suppress(OSError):
                    pipe.close()
        for descriptor in (self._status, self._handle):
            if descriptor is not None:
                os.close(descriptor)
        self._selector.close()


def _usage(path: str, *, children: bool) -> tuple[float, float]:
    """Resident bytes and processor seconds of one process; `children`: with those of the ones it has buried."""
    try:
        with open(path, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it has just ended
        return 0.0, 0.0
    spent = sum(int(value) for value in fields[11 : 15 if children else 13])
    return int(fields[21]) * _PAGE, spent / _TICKS


def _share(folder: str) -> int:
    """Bytes of a process's memory, pages that several share counted in parts."""
    with suppress(OSError), open(f"{folder}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _exit_code(report: bytearray) -> int | None:
    """The exit status Bubblewrap reported last; None when the sandbox never stood."""
    for line in reversed(report.decode(errors="replace").splitlines()):
        with suppress(ValueError, TypeError):
            found = json.loads(line)
            if "exit-code" in found:
                return int(found["exit-code"])
    return None
