"""Rows from files: JSONL, JSON array, CSV, Parquet, `datasets` directories and hub ids, with bounded memory.

A row that cannot be used (bad UTF-8, bad JSON, NUL, not an object) is a broken row with its line and reason;
a file that cannot be read as what it is raises DataError. Nothing here writes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

from hizala.engines.data import tables
from hizala.errors import DataError, nearest

KINDS = ("jsonl", "json", "csv", "parquet", "arrow", "hub")
# One row may not be larger: what is longer is a broken row, read past in blocks and never held.
MAX_ROW_BYTES = 32 * 2**20
_BLOCK = 2**20
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"version https://git-lfs": "a Git LFS pointer, not the data itself",
    b"<!DOCTYPE": "an HTML page",
    b"<html": "an HTML page",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
    b"%PDF": "a PDF document",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row as read: its values, or the reason why there are none."""

    line: int
    value: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from, resolved and looked at once.

    Attributes:
        ref: the reference as given.
        kind: one of `KINDS`.
        files: the files read, in order (empty for a hub id).
        options: what followed `?` in the reference (`split`, `config`).
        name: short name used in row ids.
    """

    ref: str
    kind: str
    files: tuple[Path, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    def rows(self) -> Iterator[Row]:
        """All rows in order, broken ones included; lines count from 1 (in tables: rows)."""
        if self.kind == "hub":
            yield from _hub_rows(self.ref.removeprefix("hf:").partition("?")[0], self.options)
            return
        offset = 0
        for path in self.files:
            last = 0
            for row in self._file_rows(path):
                last = row.line
                yield Row(row.line + offset, row.value, row.reason) if offset else row
            if len(self.files) > 1:
                offset += last

    def _file_rows(self, path: Path) -> Iterator[Row]:
        try:
            if self.kind == "jsonl":
                yield from _jsonl_rows(path)
            elif self.kind == "json":
                yield from _array_rows(path)
            else:
                reader = {"csv": tables.csv_rows, "parquet": tables.parquet_rows, "arrow": tables.arrow_rows}[self.kind]
                yield from (_checked(line, value, reason) for line, value, reason in reader(path))
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise DataError(
                f"the gzip stream is damaged: {error}", where=str(path), fix="fetch or write the file again"
            ) from error
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error

    def digest(self) -> str:
        """sha256 hex of the file's bytes (equal to `sha256sum`); of the files' digests where there are several.

        Raises:
            DataError: a hub id, whose bytes are not at hand; digest its rows instead.
        """
        if self.kind == "hub":
            raise DataError("a hub dataset has no bytes of its own here", where=self.ref)
        digests = [file_digest(path) for path in self.files]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 hex of a file's bytes, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def resolve(ref: str | Path, *, kind: str | None = None) -> Source:
    """Find out what a reference means, without reading the rows.

    Args:
        ref: a file, a directory (written by `datasets`, or shards of one kind), or a hub id `owner/name`
            (`hf:owner/name` where a path of that name exists); `?split=train&config=main` may follow.
        kind: the container where suffix and content do not tell, one of `KINDS`.
    Raises:
        DataError: nothing is there, it is empty, or it is of a kind that cannot be read.
    """
    text = str(ref)
    if kind is not None and kind not in KINDS:
        raise DataError(
            f"unknown file kind '{kind}'{nearest(kind, KINDS)}", where=text, fix=f"known: {', '.join(KINDS)}"
        )
    path, options = Path(text), {}
    if not path.exists() and "?" in text:
        head, _, query = text.partition("?")
        path, options = Path(head), dict(parse_qsl(query))
        for name in options:
            if name not in ("split", "config"):
                fix = "known: split, config"
                raise DataError(f"unknown option '{name}'{nearest(name, ('split', 'config'))}", where=text, fix=fix)
    if kind == "hub" or text.startswith("hf:"):
        return Source(text, "hub", (), options, text.removeprefix("hf:").partition("?")[0].rpartition("/")[2])
    if path.is_dir():
        files, found = _directory_files(path, options)
        return Source(text, kind or found, files, options, path.name)
    if not path.exists():
        return _missing(text, path, options)
    if not path.is_file():
        raise DataError("is neither a file nor a directory", where=str(path))
    return Source(text, kind or _kind_of(path), (path,), options, path.name.split(".")[0] or path.name)


def _missing(text: str, path: Path, options: Mapping[str, str]) -> Source:
    """A hub id when it looks like one, else the error naming the nearest file."""
    parts = path.parts
    if len(parts) == 2 and not path.is_absolute() and parts[0] not in (".", "..") and _suffix(path) not in _SUFFIXES:
        return Source(text, "hub", (), options, parts[1])
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(f"no such file{nearest(path.name, siblings)}", where=str(path), fix="check the path")


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def _kind_of(path: Path) -> str:
    """The container of a file by its first bytes, then by its suffix.

    Raises:
        DataError: empty, or recognisably something else.
    """
    try:
        with open_bytes(path) as handle:
            head = handle.read(4096)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"the gzip stream is damaged: {error}", where=str(path), fix="fetch or write the file again"
        ) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError("is empty", where=str(path), fix="give a file with at least one row")
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(
                f"is {what}", where=str(path), fix="give JSONL(.gz), a JSON array, CSV, Parquet or a datasets directory"
            )
    kind = _SUFFIXES.get(_suffix(path))
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if kind in ("json", "jsonl", None) and start in b"[{":
        # A JSONL row is an object, so a file that opens with a bracket is an array, whatever it is called.
        return "json" if start == b"[" else "jsonl"
    if kind is None:
        raise DataError(
            f"is of unknown kind: suffix '{path.suffix}', content not JSON",
            where=str(path),
            fix="name it .jsonl, .json, .csv or .parquet, with .gz where compressed",
        )
    return "jsonl" if kind == "json" else kind


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, gunzipped where its first two bytes say gzip."""
    handle = path.open("rb")
    magic = handle.read(2)
    handle.seek(0)
    if magic == b"\x1f\x8b":
        return io.BufferedReader(gzip.GzipFile(fileobj=handle), _BLOCK)
    return handle


def _directory_files(path: Path, options: Mapping[str, str]) -> tuple[tuple[Path, ...], str]:
    """The files of a directory in order, and their kind: a saved dataset, or shards of one kind."""
    if (path / "dataset_dict.json").is_file():
        splits = _json_file(path / "dataset_dict.json").get("splits", [])
        split = options.get("split", "train" if "train" in splits else "")
        if split not in splits:
            asked = (
                f"has no split '{split}'{nearest(split, splits)}" if split else "has several splits and none is named"
            )
            raise DataError(asked, where=str(path), fix=f"write {path}?split=NAME with one of: {', '.join(splits)}")
        path = path / split
    if (path / "state.json").is_file():
        names = [entry["filename"] for entry in _json_file(path / "state.json").get("_data_files", [])]
        files = tuple(path / name for name in names)
        for name, file in zip(names, files, strict=True):
            if Path(name).name != name or not file.is_file():
                raise DataError("a data file of the saved dataset is missing", where=str(file))
        return files, "arrow"
    shards: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        if file.is_file() and (kind := _SUFFIXES.get(_suffix(file))) in ("jsonl", "parquet", "arrow"):
            shards.setdefault(str(kind), []).append(file)
    if len(shards) != 1:
        seen = "no data files" if not shards else f"files of several kinds ({', '.join(sorted(shards))})"
        raise DataError(
            f"the directory holds {seen}",
            where=str(path),
            fix="give one file, a directory written by datasets' save_to_disk, or shards of one kind",
        )
    kind, found = next(iter(shards.items()))
    return tuple(found), kind


def _json_file(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from error
    return value if isinstance(value, dict) else {}


def parse_object(raw: bytes, line: int) -> Row:
    """One JSON object from one line's bytes, or the reason why there is none."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Row(line, None, f"invalid UTF-8 at byte {error.start + 1}")
    except json.JSONDecodeError as error:
        if b"\x00" in raw:
            return Row(line, None, "NUL byte in the text")
        return Row(line, None, f"invalid JSON: {error.msg.removesuffix(' at')} at column {error.pos + 1}")
    except RecursionError:
        return Row(line, None, "nested too deeply")
    except ValueError as error:
        return Row(line, None, f"invalid JSON: {error}")
    # NUL and lone surrogates can hide in escapes only; the cheap look at the bytes spares most rows the walk.
    if b"\\u0000" in raw or b"\\ud" in raw or b"\\uD" in raw:
        return _checked(line, value, "")
    if not isinstance(value, dict):
        return Row(line, None, f"not an object but {_type_name(value)}")
    return Row(line, value)


def _checked(line: int, value: object, reason: str) -> Row:
    """A row whose strings hold neither NUL nor lone surrogates."""
    if reason:
        return Row(line, None, reason)
    if not isinstance(value, dict):
        return Row(line, None, f"not an object but {_type_name(value)}")
    problem = _text_problem(value)
    return Row(line, None, problem) if problem else Row(line, value)


def _text_problem(value: object) -> str:
    if isinstance(value, str):
        if "\x00" in value:
            return "NUL character in the text"
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return "invalid UTF-8 (lone surrogate) in the text"
    elif isinstance(value, dict):
        return next(filter(None, (_text_problem(v) for v in value.values())), "")
    elif isinstance(value, list | tuple):
        return next(filter(None, (_text_problem(v) for v in value)), "")
    return ""


def _type_name(value: object) -> str:
    names = {"list": "an array", "str": "a string", "int": "a number", "float": "a number", "bool": "a boolean"}
    return "null" if value is None else names.get(type(value).__name__, type(value).__name__)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    """Lines end at LF only: U+0085 and U+2028 belong to the text."""
    with open_bytes(path) as handle:
        line = 0
        while raw := handle.readline(MAX_ROW_BYTES + 1):
            line += 1
            if len(raw) > MAX_ROW_BYTES and not raw.endswith(b"\n"):
                while (rest := handle.readline(_BLOCK)) and not rest.endswith(b"\n"):
                    pass
                yield Row(line, None, f"longer than {MAX_ROW_BYTES // 2**20} MiB")
                continue
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw := raw.strip(b" \t\r\n"):
                yield parse_object(raw, line)


_SPACE = re.compile(r"[ \t\r\n]*")


class _ArrayText:
    """A window over the text of a JSON array: grows on demand, forgets what was read."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._reader = io.TextIOWrapper(handle, "utf-8-sig", errors="surrogateescape", newline="")
        self.text, self.at, self.line, self.ended = "", 0, 1, False

    def grow(self) -> None:
        block = self._reader.read(max(_BLOCK, len(self.text) - self.at))
        self.ended = not block
        self.text, self.at = self.text[self.at :] + block, 0

    def move(self, at: int) -> None:
        self.line += self.text.count("\n", self.at, at)
        self.at = at

    def next_mark(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.move(space.end() if space else self.at)
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.grow()

    def value(self, decoder: json.JSONDecoder, path: Path) -> tuple[object, int]:
        """The next value and where it ends. Raises DataError: there is no way to find the row after a broken one."""
        where = f"{path}:{self.line}"
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
                # A number may go on in the next block; brackets and quotes close themselves.
                if end < len(self.text) or self.ended:
                    return value, end
            except RecursionError as error:
                raise DataError("nested too deeply", where=where) from error
            except ValueError as error:
                if self.ended:
                    cause = getattr(error, "msg", str(error))
                    raise DataError(f"invalid JSON: {cause}", where=where, fix="repair the file") from error
            if len(self.text) - self.at > MAX_ROW_BYTES:
                raise DataError(f"a row is broken or longer than {MAX_ROW_BYTES // 2**20} MiB", where=where)
            self.grow()


def _array_rows(path: Path) -> Iterator[Row]:
    """Objects of a JSON array, one by one."""
    decoder = json.JSONDecoder()
    with open_bytes(path) as handle:
        window = _ArrayText(handle)
        if window.next_mark() != "[":
            raise DataError("does not start with a JSON array", where=str(path))
        window.move(window.at + 1)
        if window.next_mark() == "]":
            raise DataError("the JSON array is empty", where=str(path))
        while True:
            window.next_mark()
            value, end = window.value(decoder, path)
            yield _checked(window.line, value, "")
            window.move(end)
            mark = window.next_mark()
            if mark not in (",", "]"):
                problem = "the file ends inside the array" if not mark else f"expected ',' or ']', found '{mark}'"
                raise DataError(f"invalid JSON: {problem}", where=f"{path}:{window.line}", fix="repair the file")
            window.move(window.at + 1)
            if mark == "]":
                if window.next_mark():
                    raise DataError("text after the end of the JSON array", where=f"{path}:{window.line}")
                return


def _reachable(name: str) -> None:
    """Fail at once where the hub's name does not resolve; the library would try for half a minute.

    Raises:
        DataError: no network. With a proxy or HF_HUB_OFFLINE=1 (the library's own cache) nothing is looked up.
    """
    if any(os.environ.get(key) for key in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    host = urlsplit(os.environ.get("HF_ENDPOINT", "")).hostname or "huggingface.co"
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise DataError(
            f"there is no such file, and {host} cannot be reached to look for a dataset of that name",
            where=name,
            fix="check the path or the network; HF_HUB_OFFLINE=1 reads what the library has cached",
        ) from error


def _hub_rows(name: str, options: Mapping[str, str]) -> Iterator[Row]:
    """Rows of a hub dataset, streamed. The library is loaded only here."""
    _reachable(name)
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "reading from the hub needs the 'datasets' package", where=name, fix="pip install 'hizala[hub]'"
        ) from error
    try:
        rows = datasets.load_dataset(name, options.get("config"), split=options.get("split", "train"), streaming=True)
        for number, value in enumerate(rows, 1):
            yield _checked(number, dict(value), "")
    except DataError:
        raise
    except Exception as error:  # the library raises dozens of types for network, names and formats
        cause = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"the hub dataset cannot be loaded: {cause}",
            where=name,
            fix="check the name, split and network, or give a local file (there is no file of this name either)",
        ) from error


def read_rows(
    ref: str | Path, *, format: str | None = None, on_broken: Callable[[int, str], None] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) for every row of a reference, streamed.

    Args:
        ref: see `resolve`.
        format: the container, one of `KINDS`; found by itself when None.
        on_broken: told (line, reason) of each broken row; without it the first one raises.
    Raises:
        DataError: the file cannot be read, or a row is broken and nobody listens.
    """
    source = resolve(ref, kind=format)
    for row in source.rows():
        if row.value is not None:
            yield row.line, row.value
        elif on_broken is not None:
            on_broken(row.line, row.reason)
        else:
            raise DataError(row.reason, where=f"{ref}:{row.line}")
