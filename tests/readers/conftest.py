"""A finished synthetic run, written once, and copies of it to change."""

import runpy
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; read only."""
    write_run = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))["write_run"]
    return write_run(tmp_path_factory.mktemp("runs") / "quickstart", steps=120, each=25)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run to change."""
    return Path(shutil.copytree(finished, tmp_path / "quickstart"))
