"""What is refused before a run directory is made: settings that would have no effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import hizala
from hizala.errors import HizalaError

PAIRS = '"world:preferences?n=16"'


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ('sft: {data: "world:chat?n=16", side: chosen, steps: 1}', "side .chosen. has no effect"),
        ('sft: {data: "world:chat?n=16", format: messages, steps: 1}', "`format` has no effect"),
        (f"evaluate: {{suites: [world], data: {PAIRS}}}", "`data` has no effect"),
        ("evaluate: {suites: [preferences], held_out_of: dpo}", "no training stage 'dpo'"),
        ("evaluate: {suites: [preferences]}", "needs preference pairs"),
    ],
)
def test_a_setting_without_effect_is_refused(write_recipe: Callable[..., Path], stage: str, message: str) -> None:
    recipe = write_recipe(stage)
    with pytest.raises(HizalaError, match=message):
        hizala.run(recipe, report=False)
    assert not (recipe.parent / "runs").exists()
