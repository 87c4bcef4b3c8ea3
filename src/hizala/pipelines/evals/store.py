"""What was computed of a model, kept under a digest of all it depends on, so that no model is asked twice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hizala.canonical import digest

VERSION = 1


class Store:
    """JSON values by key, each in a file of its own that appears whole or not at all.

    Args:
        directory: where; None stores nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    def path(self, key: Mapping[str, Any]) -> Path | None:
        """The file of a key."""
        return None if self.directory is None else self.directory / f"{digest({'version': VERSION, **key})}.json"

    def get(self, key: Mapping[str, Any]) -> Any:
        """The stored value, or None when there is none or the file is damaged."""
        path = self.path(key)
        if path is None or not path.is_file():
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            return held["value"] if held["digest"] == digest(held["value"]) else None
        except (ValueError, KeyError, TypeError, OSError):
            return None

    def put(self, key: Mapping[str, Any], value: Any) -> None:
        """Keep a value. Raises OSError when it cannot be written; the file that was there stays."""
        path = self.path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump({"digest": digest(value), "value": value}, file, allow_nan=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
