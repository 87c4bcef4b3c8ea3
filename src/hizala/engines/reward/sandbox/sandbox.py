"""A place where a stranger's program can be run."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import Literal

from hizala.engines.reward.sandbox import launch, memory
from hizala.engines.reward.sandbox.process import Process
from hizala.engines.reward.sandbox.seccomp import filter_for
from hizala.engines.reward.sandbox.spec import BOX, Language, Limits, Outcome, languages
from hizala.errors import SandboxError
from hizala.records import Finding

Isolation = Literal["bubblewrap", "none_i_trust_the_code"]
_NUMBERS = itertools.count()  # of slots, over all sandboxes of this process


@dataclass(slots=True)
class _Slot:
    """What one run at a time may use: an id to drop root to, and a cgroup."""

    number: int
    bound: memory.MemoryBound | None


class Sandbox:
    """Runs programs that nobody vouches for; may be used from many threads at once.

    A program sees the system's interpreters and libraries read-only, its own files read-only and a private /tmp; no
    network, no other process, no environment, no file of anyone. See `Limits` for what it may use.

    Args:
        language: name of a registered language.
        limits: of each run, unless a run is given its own.
        isolation: "bubblewrap"; or "none_i_trust_the_code": limits of each process and of time alone, for programs
            that you wrote or read. Then a program can read and write what you can, and reach the network.
    Raises:
        ConfigError: unknown language.
        SandboxError: the isolation asked for cannot be had here; the message says how to get it.
    """

    def __init__(
        self,
        language: str = "python",
        *,
        limits: Limits | None = None,
        isolation: Isolation = "bubblewrap",
    ) -> None:
        self.language: Language = languages.get(language)
        self.limits = limits or Limits()
        self.isolation = isolation
        self.tools = launch.find_tools(isolation)
        self.interpreter = launch.find_interpreter(self.language, isolation)
        self._support = {
            name: resources("hizala.engines.reward.sandbox").joinpath(f"{name}.py").read_bytes()
            for name in self.language.support
        }
        self._filter = filter_for() if self.tools.bwrap else b""
        self._lock = threading.Lock()
        self._free: list[_Slot] = []
        self._slots: list[_Slot] = []
        memory.sweep()
        self._probe()

    def _probe(self) -> None:
        """Run the language's first program: what cannot be had shows now, not in the middle of training."""
        outcome = self.run(self.language.first, limits=Limits(seconds=30.0))
        if outcome.status == "exited" and outcome.code == 0:
            if self.language.keeps:
                self._support = {self.language.keeps: outcome.stdout}
            return
        said = outcome.reason or outcome.stderr.decode(errors="replace").strip()
        raise SandboxError(f"the sandbox for code does not work here: {said}", fix=launch.INSTALL)

    @property
    def bounded(self) -> bool:
        """Whether the memory of a whole run is bounded by the kernel (else it is watched)."""
        return any(slot.bound is not None and slot.bound.usable for slot in self._slots)

    def findings(self) -> list[Finding]:
        """What a user should know of this sandbox."""
        if self.tools.bwrap:
            return []
        message = "programs run without a sandbox, as the setting says: they can read, write and reach what you can"
        return [Finding("code_without_sandbox", "warning", message)]

    def run(self, source: str, *, stdin: bytes = b"", limits: Limits | None = None) -> Outcome:
        """Run a program to its end, or to a limit.

        Args:
            source: the program's text.
            stdin: what it can read.
        """
        with self.open({self.language.file: source.encode(errors="surrogatepass")}, limits=limits) as process:
            process.send(stdin, end=True)
            process.drain()
        return process.outcome

    def open(
        self, files: Mapping[str, bytes], arguments: Sequence[str] | None = None, *, limits: Limits | None = None
    ) -> Running:
        """A process to talk with, as a context; it is killed when the context is left.

        Args:
            files: name to bytes, put beside the language's own.
            arguments: of the interpreter, `{box}` standing for the folder of the files; default: run the program.
        """
        return Running(self, files, arguments, limits or self.limits)

    def take(self) -> _Slot:
        """A slot that no other run is using."""
        with self._lock:
            if self._free:
                return self._free.pop()
            slot = _Slot(next(_NUMBERS), None)
            self._slots.append(slot)
        if self.tools.bwrap:
            slot.bound = memory.MemoryBound.make(slot.number)
        return slot

    def give(self, slot: _Slot) -> None:
        """Hand a slot back."""
        with self._lock:
            self._free.append(slot)

    def start(
        self, slot: _Slot, files: Mapping[str, bytes], arguments: Sequence[str] | None, limits: Limits, home: str
    ) -> Process:
        """Start a process in a slot. `home`: the folder of the files where there is no sandbox."""
        everything = {**self._support, **files}
        box = BOX if self.tools.bwrap else home
        template = self.language.arguments if arguments is None else arguments
        places = {"box": box, "file": f"{box}/{self.language.file}"}
        command = [self.interpreter.path, *(part.format(**places) for part in template)]
        limiting = launch.limited(self.tools, self.language, limits)
        if not self.tools.bwrap:
            variables = launch.environment(self.language, home)
            return self._bare(slot, everything, [*limiting, *command], limits, home, variables)
        given: dict[str, int] = {}
        opened: list[int] = []
        try:
            for name, data in everything.items():
                given[name] = _readable(data)
                opened.append(given[name])
            opened.append(seccomp := _readable(self._filter))
            status, status_end = os.pipe()
            start_end, start = os.pipe()
            opened += [status_end, start_end, start]
            confined = launch.confined(
                self.tools,
                limits,
                files=given,
                mounts=self.interpreter.mounts,
                variables=launch.environment(self.language, "/tmp"),
                descriptors=(seccomp, status_end, start_end),
            )
            outer = [*launch.dropped(self.tools, slot.number), *confined, *limiting, *command]
            passed = [*given.values(), seccomp, status_end, start_end]
            popen = _spawn(outer, passed, "/", {})
            for descriptor in (status_end, start_end):
                os.close(descriptor)
                opened.remove(descriptor)
            return Process(popen, limits, status=status, start=start, bound=_bound(slot, limits))
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _bare(
        self,
        slot: _Slot,
        files: Mapping[str, bytes],
        command: Sequence[str],
        limits: Limits,
        home: str,
        variables: Mapping[str, str],
    ) -> Process:
        for name, data in files.items():
            with open(os.path.join(home, name), "wb") as file:
                file.write(data)
        return Process(_spawn(command, (), home, variables), limits)

    def close(self) -> None:
        """Take away what runs have left: their cgroups."""
        with self._lock:
            for slot in self._slots:
                if slot.bound is not None:
                    slot.bound.remove()
            self._slots, self._free = [], []

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Running:
    """A process in a sandbox, as a context: `with sandbox.open(...) as process`."""

    def __init__(
        self, sandbox: Sandbox, files: Mapping[str, bytes], arguments: Sequence[str] | None, limits: Limits
    ) -> None:
        self._sandbox, self._files, self._arguments, self._limits = sandbox, files, arguments, limits

    def __enter__(self) -> Process:
        self._slot = self._sandbox.take()
        self._home = tempfile.mkdtemp(prefix="hizala-") if not self._sandbox.tools.bwrap else ""
        try:
            self._process = self._sandbox.start(self._slot, self._files, self._arguments, self._limits, self._home)
        except BaseException:
            self._leave()
            raise
        return self._process

    def __exit__(self, *error: object) -> None:
        try:
            self._process.outcome = self._process.finish()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)
        self._sandbox.give(self._slot)


def _bound(slot: _Slot, limits: Limits) -> memory.MemoryBound | None:
    """The slot's cgroup with this limit; None where there is none, and memory is watched alone."""
    if slot.bound is None or not slot.bound.usable:
        return None
    try:
        slot.bound.limit(limits.memory)
    except OSError:  # what the last run has left cannot be taken back yet
        return None
    return slot.bound


def _readable(data: bytes) -> int:
    """A descriptor these bytes can be read from, and that cannot be written."""
    writable = os.memfd_create("hizala", os.MFD_CLOEXEC)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(writable, left) :]
        return os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writable)


def _spawn(
    command: Sequence[str], descriptors: Sequence[int], folder: str, variables: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start it with nothing of ours: no environment, no descriptor but these."""
    pipe = subprocess.PIPE
    with suppress(ValueError):
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            cwd=folder,
            env=dict(variables),
            pass_fds=descriptors,
            start_new_session=True,
        )
    raise SandboxError("a program's arguments hold a zero byte")
