"""Rows of a stage on disk, kept consistent with its checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hizala.errors import CheckpointError


class Lines:
    """A file of JSON lines that a continued run cuts back to what its checkpoint knew of.

    Args:
        path: the file.
        write: False in all processes but the first, which then write nothing.
        offset: bytes at the checkpoint that is continued; 0 starts anew.
    Raises:
        CheckpointError: the file is shorter than the checkpoint says.
    """

    def __init__(self, path: Path, *, write: bool = True, offset: int = 0) -> None:
        self._file = None
        if not write:
            return
        size = path.stat().st_size if path.exists() else 0
        if size < offset:
            raise CheckpointError(
                f"the file has {size} bytes, the checkpoint was written at {offset}",
                where=str(path),
                fix="restore the file, or remove the stage's directory to start it again",
            )
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(offset)
        self._file.seek(offset)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows."""
        if self._file is not None:
            for row in rows:
                self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def offset(self) -> int:
        """Bytes written so far, safe on disk: what a checkpoint stores."""
        if self._file is None:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Flush and close."""
        if self._file is not None:
            self._file.close()
