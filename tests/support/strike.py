"""Kill a training process at a chosen moment, as a power cut would."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Moment = Callable[[], bool]


def rows_written(metrics: Path, rows: int) -> Moment:
    """The metrics log has at least that many lines."""
    return lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= rows


def checkpoint_being_written(checkpoints: Path, step: int, size: int) -> Moment:
    """A checkpoint of that step or a later one is half written: its temporary directory holds `size` bytes or more."""

    def now() -> bool:
        for path in checkpoints.glob(".tmp-step-*"):
            if "gone" in path.name or int(path.name.split("-")[2]) < step:
                continue
            try:
                if sum(file.stat().st_size for file in path.iterdir()) >= size:
                    return True
            except FileNotFoundError:
                continue
        return False

    return now


def strike(command: Sequence[str], moment: Moment, *, delay: float = 0.0, patience: float = 120.0) -> bool:
    """Start a command and send SIGKILL once the moment has come. True: it was killed; False: it ended by itself."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < deadline:
            if moment():
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.0002)
        if process.poll() is None:
            process.kill()
            raise AssertionError(f"the moment did not come within {patience} s")
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read().decode()[-2000:]
        return False
