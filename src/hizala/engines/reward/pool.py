"""A pool of worker processes: each response within its time, a hung or dead worker replaced, nothing else lost."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from hizala.engines.reward.worker import FORK, KILL, STARTED, Job, receive, send
from hizala.errors import RewardError
from hizala.records import Verdict

# A reward that sleeps computes nothing: it is ended after this many times its limit by the clock on the wall. One that
# computes is given as long again, and again, where the machine is too busy to let it reach its limit.
PATIENCE = 4.0
AGAIN = 25
START_LIMIT = 120.0
LIVES = 3  # nurseries that one call may lose, and jobs that die before they begin
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hizala.engines.reward.worker import nursery; nursery(int(sys.argv[2]), *json.loads(sys.argv[3]))"
)


class _Lost(Exception):
    """The nursery is gone, and all workers with it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict and the seconds it took."""

    verdict: Verdict
    seconds: float


@dataclass(slots=True)
class _Worker:
    """A process, and what it is busy with: the number of a job, whether it has begun, the time of its last word."""

    pid: int
    connection: socket.socket
    buffer: bytearray
    job: int = -1
    begun: bool = False
    again: int = 0
    since: float = 0.0


class Pool:
    """Worker processes for functions that might hang or crash.

    Args:
        modules: what registers the functions; imported once, before the workers are forked.
        workers: processes at most.
        names: the rewards they must register.
    """

    def __init__(self, modules: Sequence[str], workers: int, names: Sequence[str] = ()) -> None:
        self.modules, self.workers, self.names = tuple(modules), workers, tuple(names)
        self._control: socket.socket | None = None
        self._idle: list[_Worker] = []
        self._finish: weakref.finalize[[socket.socket, subprocess.Popen[bytes]], Pool] | None = None

    def run(self, jobs: Sequence[Job]) -> list[list[Outcome]]:
        """Outcomes of each job's responses, in order. What is over its limit, or dies, is not scored, with a reason.

        Raises:
            RewardError: the modules cannot be imported in a process of their own, or no process can be had.
        """
        run = _Run(self, jobs)
        lives = LIVES
        try:
            while run.waiting or run.busy:
                try:
                    run.start()
                    run.hear()
                except _Lost:
                    lives -= 1
                    self.close()
                    run.restart()
                    if not lives:
                        raise RewardError(
                            "the process that forks the workers of rewards ended again and again",
                            fix="look for a lack of memory",
                        ) from None
        finally:
            run.selector.close()
            if run.busy:  # interrupted: what its workers are busy with nobody waits for
                self.close()
        return run.out

    def close(self) -> None:
        """End every process. The next run starts new ones."""
        for worker in self._idle:
            worker.connection.close()
        self._idle = []
        if self._finish is not None:
            self._finish()
        self._control = self._finish = None

    def worker(self) -> _Worker:
        """One that has nothing to do."""
        return self._idle.pop() if self._idle else self._fork()

    def free(self, worker: _Worker) -> None:
        """Take a worker back."""
        self._idle.append(worker)

    def end(self, worker: _Worker) -> int:
        """End a worker; its wait status, which tells of what it died if it was dead already."""
        worker.connection.close()
        return self._told(lambda control: control.sendall(KILL + struct.pack("!q", worker.pid)))

    def _fork(self) -> _Worker:
        ours, theirs = socket.socketpair()

        def ask(control: socket.socket) -> None:
            control.sendall(FORK)
            socket.send_fds(control, [b"\0"], [theirs.fileno()])

        with theirs:
            return _Worker(self._told(ask), ours, bytearray())

    def _told(self, ask: Callable[[socket.socket], None]) -> int:
        """The nursery's answer, a number. Raises _Lost where it is gone."""
        control = self._nursery()
        found = b""
        try:
            ask(control)
            while len(found) < 8:
                part = control.recv(8 - len(found))
                if not part:
                    raise _Lost
                found += part
        except OSError:
            raise _Lost from None
        return int(struct.unpack("!q", found)[0])

    def _nursery(self) -> socket.socket:
        if self._control is not None:
            return self._control
        ours, theirs = socket.socketpair()
        with theirs:
            path, needed = json.dumps([*map(str, sys.path)]), json.dumps([self.modules, self.names])
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, path, str(theirs.fileno()), needed],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._finish = weakref.finalize(self, _finish, ours, process)
        ours.settimeout(START_LIMIT)
        try:
            problem = receive(ours)
        except TimeoutError:
            problem = b"no answer in time"
        if problem != b"":
            self._finish()
            told = "it ended" if problem is None else problem.decode("utf-8", "replace")
            raise RewardError(
                f"the processes of rewards cannot be started: {told}", fix=f"import {', '.join(self.modules)} yourself"
            )
        ours.settimeout(None)
        self._control = ours
        return ours


class _Run:
    """One call of `Pool.run`: what waits, who is busy with what, what has come."""

    def __init__(self, pool: Pool, jobs: Sequence[Job]) -> None:
        self.pool, self.jobs = pool, jobs
        self.out: list[list[Outcome]] = [[] for _ in jobs]
        self.waiting = deque(index for index, job in enumerate(jobs) if job.responses)
        self.busy: dict[int, _Worker] = {}
        self.lost = 0
        self.selector = selectors.DefaultSelector()

    def start(self) -> None:
        """Give every free worker a job, or what is left of one."""
        while self.waiting and len(self.busy) < self.pool.workers:
            worker, index = self.pool.worker(), self.waiting[0]
            job = self.jobs[index]
            body = pickle.dumps(replace(job, responses=job.responses[len(self.out[index]) :]))
            try:
                send(worker.connection, body)
            except OSError:  # it died while it was idle
                self.pool.end(worker)
                continue
            self.waiting.popleft()
            worker.job, worker.begun, worker.again, worker.since = index, False, 0, time.monotonic()
            self.busy[worker.pid] = worker
            self.selector.register(worker.connection, selectors.EVENT_READ, worker)

    def restart(self) -> None:
        """Every process is gone: what its workers were busy with waits again."""
        self.waiting.extendleft(
            worker.job
            for worker in self.busy.values()
            if len(self.out[worker.job]) < len(self.jobs[worker.job].responses) and worker.job not in self.waiting
        )
        for worker in self.busy.values():
            worker.connection.close()
        self.busy.clear()
        self.selector.close()
        self.selector = selectors.DefaultSelector()

    def hear(self) -> None:
        """Wait until somebody says something or a time is up, and act on it."""
        due = min(self._due(worker) for worker in self.busy.values())
        for key, _ in self.selector.select(max(due - time.monotonic(), 0.0)):
            self._listen(key.data)
        for worker in list(self.busy.values()):
            if self._due(worker) <= time.monotonic():
                if worker.again < AGAIN and _computes(worker.pid):
                    worker.again, worker.since = worker.again + 1, time.monotonic()
                    continue
                limit = PATIENCE * self.jobs[worker.job].limit
                self._end(worker)
                self._lose(worker, f"time limit: no result after {limit:g} s")

    def _due(self, worker: _Worker) -> float:
        return worker.since + PATIENCE * self.jobs[worker.job].limit

    def _listen(self, worker: _Worker) -> None:
        try:
            part = worker.connection.recv(1 << 18)
        except OSError:
            part = b""
        if not part:
            cause = _cause(self._end(worker), self.jobs[worker.job].limit)
            if not worker.begun and self.lost < LIVES:  # it died while it was idle
                self.lost += 1
                self.waiting.appendleft(worker.job)
            else:
                self._lose(worker, cause)
            return
        worker.buffer += part
        worker.again, worker.since = 0, time.monotonic()
        while (message := _message(worker.buffer)) is not None:
            if message == STARTED:
                worker.begun = True
                continue
            value, reason, parts, seconds = json.loads(message)
            self.out[worker.job].append(Outcome(Verdict(value, reason, parts), seconds))
        if len(self.out[worker.job]) == len(self.jobs[worker.job].responses):
            self.selector.unregister(worker.connection)
            del self.busy[worker.pid]
            self.pool.free(worker)

    def _end(self, worker: _Worker) -> int:
        """End a busy worker; its wait status. It counts as busy until that is known."""
        self.selector.unregister(worker.connection)
        status = self.pool.end(worker)
        del self.busy[worker.pid]
        return status

    def _lose(self, worker: _Worker, reason: str) -> None:
        """One response is not scored, the one at which its worker ended; those after it are put back."""
        found = self.out[worker.job]
        if len(found) < len(self.jobs[worker.job].responses):
            found.append(Outcome(Verdict(None, reason), time.monotonic() - worker.since))
        if len(found) < len(self.jobs[worker.job].responses):
            self.waiting.appendleft(worker.job)


def _computes(pid: int) -> bool:
    """Whether a process runs or waits for a core, rather than for something to happen; False where that is not told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"R"
    except OSError:
        return False


def _message(buffer: bytearray) -> bytes | None:
    """Take one whole message from the front of what was received."""
    if len(buffer) < 8 or len(buffer) < 8 + (size := struct.unpack_from("!Q", buffer)[0]):
        return None
    body = bytes(buffer[8 : 8 + size])
    del buffer[: 8 + size]
    return body


def _cause(status: int, limit: float) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return f"time limit: more than {limit:g} s of computing"
    return f"crash: its process ended (status {os.waitstatus_to_exitcode(status)})"


def _finish(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    """The nursery ends, and its workers with it, once nobody holds the other side of its socket."""
    control.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
        return
    process.kill()
    process.wait()
