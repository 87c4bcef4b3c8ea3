"""Where the published annotations are, and how annotation files are written for a test."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("HIZALA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(scope="session")
def published() -> Callable[[str], Path]:
    """Path of a published file by its name below the shared data; the test is skipped where it is absent."""

    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip("the shared data sets are not here: set HIZALA_SHARED_DATA")
        return SHARED / name

    return find


@pytest.fixture(scope="session")
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """Rows of a JSON Lines file, read without the code under test."""

    def load(path: Path) -> list[dict[str, Any]]:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        return [json.loads(line) for line in text.split("\n") if line]

    return load


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as JSON Lines and give the path."""

    def put(rows: Iterable[Mapping[str, Any]], name: str = "annotations.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return put
