"""Broken data files: each is one clear error with file and fix, and nothing on disk changes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hizala.engines.data import read
from hizala.engines.data.check import check
from hizala.errors import DataError

GOOD = b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n'
PACKED = gzip.compress(GOOD * 5000)


def file(name: str, data: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_bytes(data)
        return str(folder / name)

    return make


def folder(**files: bytes) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        (root / "set").mkdir()
        for name, data in files.items():
            (root / "set" / name.replace("__", ".")).write_bytes(data)
        return str(root / "set")

    return make


CASES: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing file": (lambda f: str(f / "yok.jsonl"), "no such file"),
    "misspelt file": (lambda f: file("pairs.jsonl", GOOD)(f).replace("pairs", "pirs"), "did you mean 'pairs.jsonl'"),
    "empty file": (file("d.jsonl", b""), "is empty"),
    "only blank lines": (file("d.jsonl", b"\n \n\n"), "is empty"),
    "empty array": (file("d.json", b"[ ]"), "array is empty"),
    "cut array": (file("d.json", b'[{"prompt": "a", "response": "b"}, {"prompt"'), "invalid JSON"),
    "array without end": (file("d.json", b'[{"prompt": "a", "response": "b"}'), "ends inside the array"),
    "text after the array": (file("d.json", b'[{"prompt": "a", "response": "b"}] x'), "text after the end"),
    "cut gzip": (file("d.jsonl.gz", PACKED[: len(PACKED) // 2]), "gzip stream is damaged"),
    "damaged gzip": (file("d.jsonl.gz", PACKED[:-8] + b"\x00" * 8), "gzip stream is damaged"),
    "zip": (file("d.jsonl", b"PK\x03\x04" + b"\x00" * 50), "is a zip archive"),
    "zstd": (file("d.jsonl.zst", b"\x28\xb5\x2f\xfd" + b"\x00" * 50), "is zstd-compressed"),
    "utf-16": (file("d.jsonl", GOOD.decode().encode("utf-16")), "is UTF-16 text"),
    "lfs pointer": (file("d.parquet", b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    "html": (file("d.jsonl", b"<!DOCTYPE html><html></html>"), "is an HTML page"),
    "unknown kind": (file("d.xyz", b"hello"), "is of unknown kind"),
    "cut parquet": (file("d.parquet", b"PAR1" + b"\x00" * 100), "damaged Parquet"),
    "not arrow": (file("d.arrow", b"\xff\xff\xff\xff" + b"\x01" * 100), "damaged Arrow"),
    "csv without header names": (file("d.csv", b"prompt,\na,b\n"), "column without a name"),
    "csv with a column twice": (file("d.csv", b"a,b,a\n1,2,3\n"), "names 'a' twice"),
    "csv with an open quote": (file("d.csv", b'prompt,response\n"a,b\nc,d\n'), "damaged CSV"),
    "csv with a header only": (file("d.csv", b"prompt,response\n"), "no usable row"),
    "pretty-printed json": (file("d.json", json.dumps({"prompt": "a", "x": [1]}, indent=1).encode()), "no usable row"),
    "binary": (file("d.jsonl", bytes(range(256)) * 8), "no usable row|unknown kind"),
    "no known format": (file("d.jsonl", b'{"text": "a"}\n'), "no format is recognised"),
    "ambiguous format": (
        file("d.jsonl", b'{"prompt": "a", "response": "b", "chosen": "c", "rejected": "d"}\n'),
        "ambiguous",
    ),
    "mostly broken": (file("d.jsonl", GOOD + b"x\n"), "1 of 2 rows are broken"),
    "empty directory": (folder(), "holds no data files"),
    "mixed directory": (folder(a__jsonl=GOOD, b__parquet=b"PAR1"), "files of several kinds"),
    "saved dataset without its data": (
        folder(state__json=b'{"_data_files": [{"filename": "data-0.arrow"}]}'),
        "data file of the saved dataset is missing",
    ),
    "saved dataset that reaches outside": (
        folder(state__json=b'{"_data_files": [{"filename": "../../etc/passwd"}]}'),
        "data file of the saved dataset is missing",
    ),
    "saved dataset with a damaged state": (folder(state__json=b"{"), "cannot be read"),
    "unknown option": (lambda f: file("d.jsonl", GOOD)(f) + "?splt=train", "did you mean 'split'"),
    "other format named": (file("d.jsonl", b'{"messages": []}\n' * 3), "no format is recognised"),
}


def state(root: Path) -> dict[str, tuple[bytes | None, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("case", CASES)
def test_broken_data_is_one_clear_error_and_changes_nothing(tmp_path: Path, case: str) -> None:
    make, message = CASES[case]
    ref = make(tmp_path)
    before = state(tmp_path)
    with pytest.raises(DataError, match=message) as error:
        list(read(ref))
    assert str(tmp_path) in str(error.value)
    assert "Traceback" not in str(error.value)
    assert state(tmp_path) == before


def test_the_check_reports_broken_rows_instead_of_stopping(tmp_path: Path) -> None:
    ref = file("d.jsonl", GOOD + b"x\n" * 3)(tmp_path)
    report = check(ref)
    assert (report.exit_code, report.counts["dropped:broken-row"]) == (1, 3)
    assert [finding.where for finding in report.broken] == ["d:2", "d:3", "d:4"]


def test_a_named_format_reports_other_rows_as_broken(tmp_path: Path) -> None:
    ref = file("d.jsonl", b'{"messages": []}\n' + GOOD * 20)(tmp_path)
    source = read(ref, format="pair")
    assert source.counts["groups"] == 20
    assert source.findings[0].message == "'chosen' is missing"
