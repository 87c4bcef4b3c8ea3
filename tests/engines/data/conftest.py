"""Model directories and real data for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_models import CHATML, FAMILIES, FIXTURES, byte_level, write_model
from tokenizers import Tokenizer


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family("qwen3") -> its model directory, made once."""
    root = tmp_path_factory.mktemp("families")

    def make(name: str) -> Path:
        if not (root / name).exists():
            row = FAMILIES[name]
            write_model(
                root / name,
                row["make"](),
                (FIXTURES / f"{name}.jinja").read_text("utf-8"),
                special=row["special"].split(" "),
                plain=row.get("plain", "").split(),
                names=row["names"],
                stops=row["stops"],
            )
        return root / name

    return make


@pytest.fixture
def chatml(tmp_path: Path) -> Callable[..., Path]:
    """chatml(template, ...) -> a ChatML model directory with that template and these changes."""

    def make(template: str | None = CHATML, *, tokenizer: Tokenizer | None = None, **changes: Any) -> Path:
        given: dict[str, Any] = {
            "special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            "plain": ["<think>", "</think>"],
            "names": {"eos_token": "<|im_end|>"},
            **changes,
        }
        return write_model(tmp_path / "model", tokenizer or byte_level(), template, **given)

    return make


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, where there is one."""
    named = os.environ.get("HIZALA_SHARED_DATA")
    candidates = [Path(named)] if named else [p / "shared" / "data" for p in Path(__file__).parents]
    for path in candidates:
        if (path / "hh_harmless").is_dir():
            return path
    pytest.skip("real data are absent: set HIZALA_SHARED_DATA, or put them at ../shared/data beside the checkout")
