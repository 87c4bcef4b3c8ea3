"""The processes in which rewards run that could hang: a nursery that has imported them, and the workers it forks.

The nursery is a fresh interpreter with one thread, so that forking is safe and a killed worker is replaced within
milliseconds. Whatever a worker says comes back as JSON, never as something that could execute.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hizala.records import Group, Response
from hizala.registry import rewards

FORK, KILL = b"F", b"K"
STARTED = b"null"  # what a worker says first of a job
REASON = 300  # characters of a reason
MEMORY = 4 << 30  # bytes of address space of a worker
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


@dataclass(frozen=True, slots=True)
class Job:
    """Responses to one prompt for one reward.

    Attributes:
        reward: its registered name.
        settings: of the reward.
        group: prompt and meta, without responses.
        responses: what is scored.
        limit: seconds of computing for each response.
    """

    reward: str
    settings: Mapping[str, Any]
    group: Group
    responses: tuple[Response, ...]
    limit: float


def send(connection: socket.socket, body: bytes) -> None:
    """One message: its length in 8 bytes, then itself."""
    connection.sendall(struct.pack("!Q", len(body)) + body)


def receive(connection: socket.socket) -> bytes | None:
    """One message; None where the other side is gone."""
    head = _exactly(connection, 8)
    return None if head is None else _exactly(connection, struct.unpack("!Q", head)[0])


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def nursery(descriptor: int, modules: list[str], names: list[str]) -> None:
    """Serve one parent: import the modules once, then fork and end workers as it asks; end with it.

    Args:
        descriptor: of the socket to the parent.
        modules: what the workers will need; a function `warm` in one of them is called.
        names: rewards that these modules must have registered.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    try:
        for name in modules:
            warm = getattr(importlib.import_module(name), "warm", None)
            if warm is not None:
                warm()
        for name in names:
            rewards.get(name)
    except BaseException as error:
        send(control, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
        return
    send(control, b"")
    gc.collect()
    gc.freeze()
    children: set[int] = set()
    try:
        while command := control.recv(1):
            if command == FORK:
                _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
                child = os.fork()
                if child == 0:
                    _work(control, socket.socket(fileno=descriptors[0]))
                os.close(descriptors[0])
                children.add(child)
                control.sendall(struct.pack("!q", child))
            elif command == KILL:
                child = struct.unpack("!q", _exactly(control, 8) or b"\0" * 8)[0]
                control.sendall(struct.pack("!q", _ended(child) if child in children else 0))
                children.discard(child)
    finally:
        for child in children:
            _ended(child)


def _ended(child: int) -> int:
    """End a child; its wait status, which tells of what it died if it was dead already."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _work(control: socket.socket, connection: socket.socket) -> None:
    """A worker's life; it never returns."""
    status = 1
    try:
        control.close()
        _limit_itself()
        while select.select([connection], [], [])[0] and (body := receive(connection)) is not None:
            send(connection, STARTED)
            _do(connection, pickle.loads(body))
        status = 0
    finally:
        os._exit(status)


def _limit_itself() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # The kernel ends the worker at the limit, also inside a compiled function that never looks for signals.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _do(connection: socket.socket, job: Job) -> None:
    from hizala.engines.reward.base import verdict_of

    for response in job.responses:
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_PROF, job.limit)
        try:
            verdict = verdict_of(rewards.get(job.reward).fn(response, job.group, **job.settings))
            value, reason, parts = verdict.value, verdict.reason, {str(k): float(v) for k, v in verdict.parts.items()}
        except BaseException as error:  # whatever a reward does costs its own sample and nothing else
            value, reason, parts = None, f"crash: {type(error).__name__}: {error}", {}
        signal.setitimer(signal.ITIMER_PROF, 0)
        told = [value, reason[:REASON], parts, time.monotonic() - start]
        send(connection, json.dumps(told).encode("ascii"))
