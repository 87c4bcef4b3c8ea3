"""The evidence ledger: append-only, hash-chained, one JSON object a line. Standard library only.

An entry is {seq, time, kind, payload, files, prev, hash}; `hash` is the sha256 of the canonical JSON of the
rest, `prev` the hash of the entry before. `files` maps run-relative paths to sha256, or to null for a file
that was removed. What the chain cannot show is that whole entries were cut off its end: the head hash, which
reports print, does.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any

from hizala.canonical import canonical, digest, file_digest, plain
from hizala.errors import LedgerError, RunError
from hizala.redact import redact

NAME = "ledger.jsonl"
LOCK = "ledger.lock"
GENESIS = "0" * 64
_KEYS = {"seq", "time", "kind", "payload", "files", "prev", "hash"}
_BEGINS, _FINISHES, _FRESH = "begins", "finishes", "fresh"  # reserved keys of a payload


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    seq: int
    time: str
    kind: str
    payload: Mapping[str, Any]
    files: Mapping[str, str | None]
    prev: str
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found.

    Attributes:
        ok: the chain holds and every recorded file is as recorded.
        entries: entries whose chain holds.
        problem: the first problem in words, None when ok.
        seq: the entry the first problem belongs to, None when it belongs to none.
        head: hash of the last good entry.
        files: recorded files that are as recorded.
        problems: every problem found; a broken chain ends the search.
        unfinished: directories begun and not finished, whose new files are not yet proven.
    """

    ok: bool
    entries: int
    problem: str | None
    seq: int | None
    head: str = GENESIS
    files: int = 0
    problems: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


class Ledger:
    """The ledger of a run directory, open for writing by one process.

    A last line torn by a crash is cut off and the cut recorded; any other damage refuses to open.

    Args:
        run_dir: the run directory; it must exist.
    Raises:
        RunError: no such directory, or another process holds the ledger.
        LedgerError: the ledger is damaged.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = Path(run_dir)
        if not self.run_dir.is_dir():
            raise RunError("no such run directory", where=str(self.run_dir))
        self.path = self.run_dir / NAME
        self._lock = _hold(self.run_dir / LOCK)
        try:
            torn = self._open()
        except BaseException:
            self._lock.close()
            raise
        if torn:
            self.append("ledger.recovered", {"cut_bytes": len(torn), "cut_sha256": digest(torn.hex())})

    def _open(self) -> bytes:
        new = not self.path.exists()
        raw = b"" if new else self.path.read_bytes()
        whole, torn = _split_torn(raw)
        entries = list(_chain(whole, self.path))
        self._seq = len(entries)
        self._head = entries[-1].hash if entries else GENESIS
        # Without a buffer: what a full disk did not take must not come back later.
        self._file = self.path.open("ab", buffering=0)
        if torn:
            self._file.truncate(len(whole))
        self._size = len(whole)
        os.fsync(self._file.fileno())
        if new:
            _sync_directory(self.run_dir)
        return torn

    @property
    def head(self) -> str:
        """Hash of the last entry; it stands for the whole ledger."""
        return self._head

    def append(
        self, kind: str, payload: Mapping[str, Any], files: Sequence[Path] = (), *, removed: Sequence[Path] = ()
    ) -> Entry:
        """Write one entry and wait until it is on disk.

        Args:
            kind: what happened, one word.
            payload: plain values; secrets among them are redacted.
            files: files of the run directory to record; a directory stands for all files in it.
            removed: files recorded earlier that are gone now; a directory stands for all that were in it.
        Raises:
            LedgerError: a file lies outside the run directory, or someone else wrote to the ledger.
            RunError: the disk is full or not writable; the ledger stays as it was.
        """
        if self._file.closed:
            raise LedgerError("the ledger is closed", where=str(self.path))
        if self.path.stat().st_size != self._size:
            raise LedgerError("the ledger was changed by someone else", where=str(self.path))
        recorded: dict[str, str | None] = {self._name(path): None for path in removed}
        for path in _expand(files):
            recorded[self._name(path)] = file_digest(path)
        body = {
            "seq": self._seq,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "kind": kind,
            "payload": redact(plain(payload)),
            "files": recorded,
            "prev": self._head,
        }
        entry = Entry(**body, hash=digest(body))
        self._write(canonical({**body, "hash": entry.hash}).encode("ascii") + b"\n")
        self._seq, self._head = self._seq + 1, entry.hash
        return entry

    def begin(self, kind: str, directory: Path, payload: Mapping[str, Any], *, fresh: bool = True) -> Entry:
        """Say that files below `directory` are being written until `finish`; `fresh` forgets older records of it."""
        return self.append(kind, {**payload, _BEGINS: self._name(directory), _FRESH: fresh})

    def finish(self, kind: str, directory: Path, payload: Mapping[str, Any]) -> Entry:
        """Record every file below `directory` (TensorBoard's and lock files excepted) and close it."""
        root = self.run_dir.resolve()
        files = [p for p in _expand([directory]) if not _free(p.resolve().relative_to(root))]
        return self.append(kind, {**payload, _FINISHES: self._name(directory)}, files)

    def close(self) -> None:
        """Release the ledger."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _name(self, path: Path) -> str:
        full, root = Path(path).resolve(), self.run_dir.resolve()
        if not full.is_relative_to(root) or full == root:
            raise LedgerError("is not inside the run directory", where=str(path))
        return full.relative_to(root).as_posix()

    def _write(self, line: bytes) -> None:
        rest = line
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            os.truncate(self.path, self._size)
            raise RunError(f"the ledger cannot be written: {error.strerror}", where=str(self.path)) from None
        self._size += len(line)


def read(run_dir: Path) -> list[Entry]:
    """The entries of a ledger; a torn last line is left out. Raises LedgerError when the chain is broken."""
    path = _existing(run_dir)
    return list(_chain(_split_torn(path.read_bytes())[0], path))


def verify(run_dir: Path) -> Verification:
    """Prove that a run directory is as its ledger says: the chain first, then every file.

    Raises:
        RunError: there is no ledger.
    """
    run_dir = Path(run_dir)
    path = _existing(run_dir)
    whole, torn = _split_torn(path.read_bytes())
    entries: list[Entry] = []
    try:
        for entry in _chain(whole, path):
            entries.append(entry)
        if torn:
            raise LedgerError("the last line is torn: the writer was stopped, or someone cut the file")
        if not entries:
            raise LedgerError("the ledger is empty")
    except LedgerError as error:
        head = entries[-1].hash if entries else GENESIS
        problem = f"entry {len(entries)}: {error.message}"
        return Verification(False, len(entries), problem, len(entries), head, 0, (problem,))
    known, unfinished = _state(entries)
    problems: list[tuple[str, int | None]] = []
    for name, (recorded, seq) in sorted(known.items(), key=lambda item: (item[1][1], item[0])):
        problem = _file_problem(run_dir, name, recorded)
        if problem:
            problems.append((f"entry {seq}: {name} {problem}", seq))
    good = sum(recorded is not None for recorded, _ in known.values()) - len(problems)
    problems += [(f"{name} is not recorded in the ledger", None) for name in _strangers(run_dir, known, unfinished)]
    words = tuple(problem for problem, _ in problems)
    first, at = problems[0] if problems else (None, None)
    return Verification(not problems, len(entries), first, at, entries[-1].hash, max(good, 0), words, unfinished)


def _existing(run_dir: Path) -> Path:
    path = Path(run_dir) / NAME
    if not path.is_file():
        raise RunError(f"no {NAME} here", where=str(run_dir), fix="name the directory of a run")
    return path


def _hold(path: Path) -> IO[bytes]:
    """The lock file, held until it is closed or the process ends, however it ends."""
    try:
        file = path.open("ab")
    except OSError as error:
        raise RunError(f"the run directory cannot be written: {error.strerror}", where=str(path.parent)) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        fix = "wait for it, or end it"
        raise RunError("another process is writing to this run", where=str(path.parent), fix=fix) from None
    return file


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _split_torn(raw: bytes) -> tuple[bytes, bytes]:
    """Whole lines, and what follows the last line end."""
    end = raw.rfind(b"\n") + 1
    return raw[:end], raw[end:]


def _chain(raw: bytes, path: Path) -> Iterator[Entry]:
    """The entries in order. Raises LedgerError at the first that does not hold."""
    head = GENESIS
    for seq, line in enumerate(raw.split(b"\n")[:-1]):
        entry, problem = _entry(line, seq, head)
        if entry is None:
            raise LedgerError(problem, where=f"{path}:{seq + 1}", fix="restore the file from a copy")
        yield entry
        head = entry.hash


def _entry(line: bytes, seq: int, prev: str) -> tuple[Entry | None, str]:
    """The entry of a line, or None and what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None, "is not JSON"
    if not isinstance(value, dict) or set(value) != _KEYS:
        return None, "is not an entry"
    body = {key: item for key, item in value.items() if key != "hash"}
    try:
        same = canonical(value).encode("ascii") == line and digest(body) == value["hash"]
    except (ValueError, TypeError):
        same = False
    if not same:
        return None, "was changed: its hash does not fit its content"
    if value["seq"] != seq or isinstance(value["seq"], bool):
        return None, f"entries are missing or reordered: found entry {value['seq']!r}"
    if value["prev"] != prev:
        return None, "does not follow from the entry before it"
    shapes = (("time", str), ("kind", str), ("payload", dict), ("files", dict))
    if any(not isinstance(value[key], kind) for key, kind in shapes):
        return None, "is not an entry"
    frozen = {key: MappingProxyType(value[key]) for key in ("payload", "files")}
    return Entry(**{**value, **frozen}), ""


def _state(entries: Iterable[Entry]) -> tuple[dict[str, tuple[str | None, int]], tuple[str, ...]]:
    """The latest record of every file with its entry, and the directories still being written."""
    known: dict[str, tuple[str | None, int]] = {}
    unfinished: dict[str, None] = {}
    for entry in entries:
        if isinstance(directory := entry.payload.get(_BEGINS), str):
            unfinished[directory] = None
            if entry.payload.get(_FRESH):
                known = {name: item for name, item in known.items() if not name.startswith(directory + "/")}
        if isinstance(directory := entry.payload.get(_FINISHES), str):
            unfinished.pop(directory, None)
        for name, recorded in entry.files.items():
            for inner in [inner for inner in known if recorded is None and inner.startswith(name + "/")]:
                known[inner] = (None, entry.seq)
            known[name] = (recorded, entry.seq)
    return known, tuple(unfinished)


def _file_problem(run_dir: Path, name: str, recorded: str | None) -> str:
    path = run_dir / name
    if recorded is None:
        return "is recorded as removed but is there" if path.is_file() else ""
    if path.is_symlink():
        return "was replaced by a link"
    if not path.is_file():
        return "is missing"
    try:
        return "" if file_digest(path) == recorded else "was changed"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _strangers(run_dir: Path, known: Mapping[str, Any], unfinished: Sequence[str]) -> Iterator[str]:
    """Files below `stages` that no entry names."""
    for path in sorted((run_dir / "stages").rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        relative = path.relative_to(run_dir)
        name = relative.as_posix()
        if name not in known and not _free(relative) and not any(name.startswith(d + "/") for d in unfinished):
            yield name


def _free(relative: Path) -> bool:
    """Whether a file needs no record: event files of TensorBoard, locks, the report made from the rest."""
    return "tb" in relative.parts[:-1] or relative.suffix == ".lock" or relative.name == "report.html"


def _expand(paths: Iterable[Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(item for item in path.rglob("*") if item.is_file())
        elif path.is_file():
            yield path
        else:
            raise LedgerError("no such file to record", where=str(path))
