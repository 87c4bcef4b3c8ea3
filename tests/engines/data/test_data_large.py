"""Large files: reading and checking them takes little memory, whatever their size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GIGABYTE = 2**30
# What a bare interpreter with the readers takes is about 25 MiB; the file is a hundred times larger than the bound.
READ_MIB, CHECK_MIB = 120, 350
MEASURE = """
import json, re, sys, time
from pathlib import Path
from hizala.engines.data import read
from hizala.engines.data.check import check
kind, path = sys.argv[1:]
if kind == "read":
    groups = sum(1 for _ in read(path))
else:
    groups = check(path).counts["groups"]
# Not ru_maxrss: that one begins at the size of the process which forked this one.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps({"groups": groups, "mib": int(peak[1]) / 1024, "cpu": time.process_time()}))
"""


def block() -> tuple[bytes, int]:
    """Some megabytes of pairs and how many they are."""
    words = [f"kelime{i} güzel" for i in range(997)]
    rows = []
    for i in range(4000):
        text = " ".join(words[(i * 7 + j * 13) % 997] for j in range(40))
        row = {"prompt": f"Soru {i}: {text[:300]}", "chosen": f"{text} iyi", "rejected": text[::-1][:400]}
        rows.append(json.dumps(row, ensure_ascii=False))
    return ("\n".join(rows) + "\n").encode(), len(rows)


def write(path: Path, size: int) -> int:
    """A file of at least `size` bytes; how many rows it has."""
    if shutil.disk_usage(path.parent).free < 2 * size:
        pytest.skip(f"less than {2 * size / GIGABYTE:.1f} GB free on the disk of the temporary folder")
    data, rows = block()
    times = -(-size // len(data))
    with path.open("wb") as handle:
        for _ in range(times):
            handle.write(data)
    return rows * times


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """A place for a large file, emptied at once after the test."""
    yield tmp_path / "large.jsonl"
    (tmp_path / "large.jsonl").unlink(missing_ok=True)


def measured(kind: str, path: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", MEASURE, kind, str(path)], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.real
def test_two_gigabytes_are_read_with_bounded_memory(large: Path) -> None:
    rows = write(large, 2 * GIGABYTE)
    found = measured("read", large)
    print(found)
    assert found["groups"] == rows
    assert found["mib"] < READ_MIB
    assert found["cpu"] < 60


@pytest.mark.real
def test_checking_grows_by_bytes_a_row_not_by_the_rows(large: Path) -> None:
    rows = write(large, GIGABYTE // 4)
    found = measured("check", large)
    print(found)
    assert found["groups"] == rows
    assert found["mib"] < CHECK_MIB
