"""Mismatched examples: another prompt's response, fixed by the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hizala.errors import ConfigError, DataError
from hizala.pipelines import build
from hizala.pipelines.mismatch import mismatched
from hizala.records import TokenBranch, TokenGroup


def group(name: str, prompt: list[int], *responses: int) -> TokenGroup:
    return TokenGroup(prompt, tuple(TokenBranch([r], [True], label=True) for r in responses), name)


def test_every_prompt_gets_the_next_response_of_another_prompt() -> None:
    groups = [
        group("a", [1], 10),
        group("b", [1], 11),
        group("c", [2], 12, 13),
        group("d", [3], 14),
        group("e", [1], 15),
    ]
    found = mismatched(groups)
    assert [list(g.prompt) for g in found] == [list(g.prompt) for g in groups]
    assert [[list(r.ids) for r in g.responses] for g in found] == [[[12]], [[12]], [[14]], [[15]], [[12]]]
    assert [g.id for g in found] == ["a~mismatch", "b~mismatch", "c~mismatch", "d~mismatch", "e~mismatch"]


def test_a_single_prompt_has_no_mismatch() -> None:
    with pytest.raises(DataError, match="same prompt"):
        mismatched([group("a", [1], 10), group("b", [1], 11)])


REFERENCED = "world:preferences?n=60&tasks=style"


@pytest.mark.parametrize(
    "stage",
    [
        "kto: {data: 'world:thumbs?n=60', steps: 2, batch_size: 8}",
        "kto: {data: 'world:thumbs?n=60', steps: 2, batch_size: 8, lora: {rank: 2}}",
        f"tdpo: {{data: '{REFERENCED}', steps: 2, batch_size: 8}}",
        f"tdpo: {{data: '{REFERENCED}', steps: 2, batch_size: 8, lora: {{rank: 2}}}}",
        f"dpo: {{data: '{REFERENCED}', steps: 3, batch_size: 8, reference: synced, sync_every: 2, sync_mix: 0.5}}",
        f"dpo: {{data: '{REFERENCED}', steps: 2, batch_size: 8, reference: none}}",
        f"mixture: {{data: '{REFERENCED}', steps: 2, batch_size: 8, losses: {{dpo: {{}}, simpo: {{weight: 0.5}}}}}}",
        "pl_dpo: {data: 'world:rankings?n=40&k=3', steps: 2, batch_size: 8}",
        f"reward: {{data: '{REFERENCED}', steps: 2, batch_size: 8, members: 2}}",
        "reward_process: {data: 'world:steps?n=40', steps: 2, batch_size: 8}",
    ],
)
def test_a_stage_of_each_kind_of_reference_and_data_trains(write_recipe: Callable[..., Path], stage: str) -> None:
    from hizala.api import load_recipe

    result = build.run(load_recipe(write_recipe(stage)))
    name = stage.partition(":")[0]
    assert (result.models[name] / "config.json").is_file()


@pytest.mark.parametrize(
    ("stage", "match"),
    [
        ("kto: {data: 'world:thumbs?n=60', reference: none}", "needs a reference"),
        (f"dpo: {{data: '{REFERENCED}', reference: synced}}", "sync_every"),
        (f"dpo: {{data: '{REFERENCED}', sync_mix: 0.5}}", "no effect"),
        (f"dpo: {{data: '{REFERENCED}', reference: synced, sync_every: 1, lora: {{}}}}", "cannot follow adapters"),
        (f"simpo: {{data: '{REFERENCED}', reference: none}}", "reference"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(write_recipe: Callable[..., Path], stage: str, match: str) -> None:
    from hizala.api import load_recipe

    with pytest.raises(ConfigError, match=match):
        build.run(load_recipe(write_recipe(stage)))
