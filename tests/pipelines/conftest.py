"""Small recipes on the embedded model that train for seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """A recipe file with the given stage lines; runs go below the test's own directory."""

    def write(*stages: str, name: str = "tiny", model: str = "embedded", extra: str = "") -> Path:
        path = tmp_path / f"{name}.yaml"
        lines = "\n".join(f"  - {stage}" for stage in stages)
        head = f"name: {name}\nmodel: {model}\nseed: 3\nthreads: 1\nout: {tmp_path / 'runs'}\ntrackers: []\n"
        path.write_text(f"{head}{extra}stages:\n{lines}\n")
        return path

    return write
