"""What a sandboxed run is given and what it leaves: limits, languages, outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hizala.errors import ConfigError
from hizala.registry import Registry

MIB = 1 << 20
BOX = "/box"  # where a program's files stand inside the sandbox

Status = Literal["exited", "time", "cpu", "memory", "output", "files", "broken"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Every field must be positive.

    Attributes:
        seconds: wall time; then the whole tree is killed.
        cpu_seconds: processor time, of one process (hard) and of all together (watched).
        memory: bytes: address space of one process (hard), resident memory of all together and of their files (hard
            where a memory cgroup can be made, else watched).
        processes: processes and threads at one time.
        files: open files of one process.
        disk: bytes of the private /tmp, and of one file in it.
        names: files and folders in /tmp (watched).
        output: bytes of standard output and standard error together; then the tree is killed.
    """

    seconds: float = 5.0
    cpu_seconds: float = 5.0
    memory: int = 512 * MIB
    processes: int = 16
    files: int = 64
    disk: int = 16 * MIB
    names: int = 10_000
    output: int = MIB

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be greater than 0", where="limits")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Attributes:
        status: "exited" (by itself; see `code`), the limit that stopped it, or "broken": the sandbox itself failed, so
            nothing is known of the program.
        code: exit status, 128 + the signal that ended it; None unless it exited.
        stdout, stderr: what it wrote, cut at the limit of output.
        seconds: wall time from the moment it was let go.
        detail: for "broken", what went wrong.
    """

    status: Status
    code: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    detail: str = ""

    @property
    def reason(self) -> str:
        """Why it did not end well, in a few words; "" when it exited with 0."""
        if self.status != "exited":
            return f"{STOPPED[self.status]}{': ' + self.detail if self.detail else ''}"
        if self.code == 0:
            return ""
        last = self.stderr[-2000:].decode(errors="replace").strip().rpartition("\n")[2]
        return f"exit status {self.code}" + (f" ({readable(last)[:200]})" if last else "")


def readable(text: str) -> str:
    """A program's words without what could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


STOPPED: Mapping[Status, str] = {
    "time": "stopped at the time limit",
    "cpu": "stopped at the limit of processor time",
    "memory": "stopped at the memory limit",
    "output": "stopped at the limit of output",
    "files": "stopped at the limit of files",
    "broken": "the sandbox failed",
}


@dataclass(frozen=True, slots=True)
class Language:
    """How programs of one language are run.

    Attributes:
        name: the name in settings.
        tags: what may stand behind the fence of a code block in this language, lower case.
        file: name of the program's file.
        programs: the interpreter's names, first found first taken.
        arguments: what follows the interpreter; `{box}` is the folder of the files, `{file}` the program's path.
        support: files of this package (`.py`) that stand beside the program, under their names without the ending.
        environment: variables the program sees besides PATH, HOME and LANG.
        first: a program that is run before any other, to see that programs can be run.
        keeps: name of the file that what it writes is kept as, in place of `support`; "": it is not kept.
        address_space: whether the limit of address space may be set (some runtimes reserve far more than they use).
    """

    name: str
    tags: tuple[str, ...]
    file: str
    programs: tuple[str, ...]
    arguments: tuple[str, ...] = ("{file}",)
    environment: Mapping[str, str] = field(default_factory=dict)
    support: tuple[str, ...] = ()
    first: str = ""
    keeps: str = ""
    address_space: bool = True


# What stands beside each Python program is compiled once, by the Python that will run it.
_COMPILE = """
import importlib.util, marshal, os, sys
if os.fork() == 0:
    os._exit(0)
os.wait()
with open(sys.path[0] + "/inside") as file:
    code = compile(file.read(), "inside", "exec")
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
"""

languages: Registry[Language] = Registry("language")
languages.add(
    "python",
    Language(
        "python",
        tags=("python", "python3", "py", "py3"),
        file="program.py",
        programs=("python3",),
        # No site-packages: an answer rests on the standard library alone, the same on every machine.
        arguments=("-s", "-S", "-B", "{box}/inside", "run", "{file}"),
        support=("inside",),
        first=_COMPILE,
        keeps="inside",
        # One hash seed: the same program gives the same output each time. One arena: threads reserve no address space.
        environment={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1"},
    ),
)
