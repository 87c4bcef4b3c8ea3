"""A disk that is really full: a file system of a few kilobytes in a namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

INSIDE = """
set -e
mount -t tmpfs -o size=64k tmpfs "$1"
shift
"$@"
"""


def on_a_small_disk(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with `folder` mounted on a disk of 64 kB, gone when the command ends."""
    shell = ["unshare", "--map-root-user", "--mount", "sh", "-c", INSIDE, "sh", str(folder), *command]
    return subprocess.run(shell, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module", autouse=True)
def namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the system gives no namespace to mount in."""
    try:
        done = on_a_small_disk(tmp_path_factory.mktemp("probe"), "true")
    except FileNotFoundError:
        pytest.skip("no `unshare` here")
    if done.returncode != 0:
        pytest.skip(f"no namespace to mount a small disk in: {done.stderr.strip()}")


LEDGER = """
import sys
from pathlib import Path
from hizala.errors import RunError
from hizala.ledger import Ledger, read, verify

run = Path(sys.argv[1])
with Ledger(run) as ledger:
    written = 0
    try:
        while True:
            ledger.append("tick", {"n": written, "pad": "x" * 3000})
            written += 1
    except RunError as error:
        print(error)
    assert written > 5
    assert len(read(run)) == written
    assert verify(run).ok
    try:
        ledger.append("tick", {"pad": "x" * 9000})
    except RunError:
        pass
    assert verify(run).ok
with Ledger(run):
    pass
assert len(read(run)) == written
print("kept")
"""


def test_the_ledger_keeps_every_whole_entry_and_says_why_it_stopped(tmp_path: Path) -> None:
    done = on_a_small_disk(tmp_path, sys.executable, "-c", LEDGER, str(tmp_path))
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == f"{tmp_path / 'ledger.jsonl'}: the ledger cannot be written: No space left on device"
    assert last == "kept"


def test_the_command_line_says_that_the_disk_is_full(tmp_path: Path) -> None:
    command = 'head -c 70000 /dev/zero > fill 2>/dev/null || true; exec "$0" -m hizala schema --out schema.json'
    done = on_a_small_disk(tmp_path, "sh", "-c", f"cd {tmp_path}; {command}", sys.executable)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
