"""A bound on the memory of a whole run, where a memory cgroup can be made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PREFIX = "hizala-sandbox-"


class MemoryBound:
    """One memory cgroup that runs use one after the other.

    Args:
        directory: the cgroup, made here; see `make`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._limit = "memory.max" if (directory / "memory.max").exists() else "memory.limit_in_bytes"
        self._set = 0
        self.usable = True  # until a process cannot be moved in

    @classmethod
    def make(cls, slot: int) -> MemoryBound | None:
        """A cgroup for this process's slot, or None where none can be made: no right to, or no memory controller."""
        for parent in _parents():
            directory = parent / f"{_PREFIX}{os.getpid()}-{slot}"
            try:
                directory.mkdir(exist_ok=True)
                bound = cls(directory)
                bound.limit(1 << 30)
            except OSError:
                with suppress(OSError):
                    directory.rmdir()
                continue
            return bound
        return None

    def limit(self, size: int) -> None:
        """Set the bound in bytes. Raises OSError when it cannot be set."""
        if size == self._set:
            return
        self._set = 0
        self._without_swap(size)  # first and last: it may never be below the other
        (self.directory / self._limit).write_text(str(size))
        self._without_swap(size)
        self._set = size

    def _without_swap(self, size: int) -> None:
        file, value = ("memory.swap.max", 0) if self._limit == "memory.max" else ("memory.memsw.limit_in_bytes", size)
        with suppress(OSError):  # a kernel that does not count swap has no such file
            (self.directory / file).write_text(str(value))

    def take(self, pid: int) -> None:
        """Move a process in; what it starts is in too. Where that is not allowed the bound is of no use."""
        try:
            (self.directory / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:  # it has ended already
            return
        except OSError:
            self.usable = False

    def kills(self) -> int:
        """How often the kernel has killed a process here for memory."""
        file = "memory.events" if self._limit == "memory.max" else "memory.oom_control"
        with suppress(OSError):
            for line in (self.directory / file).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def remove(self) -> None:
        """Take the cgroup away again; it must hold no process."""
        with suppress(OSError):
            self.directory.rmdir()


def _parents() -> Iterator[Path]:
    """Folders in which a memory cgroup may be made: our own, and for version 2 also the one above."""
    for line in _lines("/proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            yield from _existing(Path("/sys/fs/cgroup/memory"), path)
        elif not controllers:
            for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
                if (root / "cgroup.controllers").exists():
                    for own in _existing(root, path):
                        # A cgroup that holds processes cannot hand its controllers on; the one above may do so.
                        yield from (place for place in (own, own.parent) if _hands_on(place))


def _existing(root: Path, path: str) -> Iterator[Path]:
    """The folder of that path, or the root where a container shows only its own part."""
    inside = root / path.lstrip("/")
    if inside.is_dir():
        yield inside
    elif root.is_dir():
        yield root


def _hands_on(directory: Path) -> bool:
    return "memory" in " ".join(_lines(str(directory / "cgroup.subtree_control"))).split()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def sweep() -> None:
    """Remove cgroups that processes which are gone have left behind."""
    for parent in _parents():
        for directory in parent.glob(f"{_PREFIX}*"):
            owner = directory.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path("/proc", owner).exists():
                with suppress(OSError):
                    directory.rmdir()
