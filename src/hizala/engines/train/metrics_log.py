"""The metrics of a stage on disk, kept consistent with its checkpoints."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from hizala.errors import CheckpointError
from hizala.records import Estimate

METRICS, PERF = "metrics.jsonl", "perf.jsonl"


class MetricsLog:
    """`metrics.jsonl` (deterministic) and `perf.jsonl` (the machine) of one stage.

    A checkpoint stores `offset()`; opened with it again, the files are cut back to what they held then, so that a
    continued run writes the same bytes as an undisturbed one. Without an offset the files start empty.

    Args:
        directory: of the stage.
        write: False in all processes but the first, which then write nothing.
        offset: from the checkpoint that is continued.
    Raises:
        CheckpointError: a file is shorter than the checkpoint says.
    """

    def __init__(self, directory: Path, *, write: bool = True, offset: Mapping[str, int] | None = None) -> None:
        self._files: dict[str, IO[bytes]] = {}
        if not write:
            return
        directory.mkdir(parents=True, exist_ok=True)
        for name in (METRICS, PERF):
            path = directory / name
            keep = (offset or {}).get(name, 0)
            size = path.stat().st_size if path.exists() else 0
            if size < keep:
                raise CheckpointError(
                    f"the file has {size} bytes, the checkpoint was written at {keep}",
                    where=str(path),
                    fix="restore the file, or remove the stage's directory to start it again",
                )
            file = path.open("r+b" if path.exists() else "w+b")
            file.truncate(keep)
            file.seek(keep)
            self._files[name] = file

    def train(self, step: int, metrics: Mapping[str, float], perf: Mapping[str, Any] | None = None) -> None:
        """A training step's row, and its row about the machine."""
        self._write(METRICS, {"step": step, "split": "train", **metrics})
        if perf is not None:
            self._write(PERF, {"step": step, **perf})

    def evaluation(self, step: int, estimates: Mapping[str, Estimate]) -> None:
        """Held-out figures with their intervals."""
        rows = {k: {"value": e.value, "low": e.low, "high": e.high, "n": e.n} for k, e in estimates.items()}
        self._write(METRICS, {"step": step, "split": "eval", **rows})

    def offset(self) -> dict[str, int]:
        """Bytes written so far, safe on disk: what a checkpoint stores."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def close(self) -> None:
        """Flush and close."""
        for file in self._files.values():
            file.close()

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        if name in self._files:
            line = json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            self._files[name].write(line.encode() + b"\n")
            self._files[name].flush()


def _finite(value: Any) -> Any:
    """The value with what JSON has no number for (inf, nan) as None."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
