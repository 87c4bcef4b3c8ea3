"""The embedded world: tasks with a known truth, and a small model that speaks its language."""

from __future__ import annotations

from pathlib import Path

from hizala.world.reflective import reasoning
from hizala.world.refs import SAMPLERS, resolve
from hizala.world.sample import (
    FAMILIES,
    TASKS,
    attributes,
    chat,
    generate,
    gold,
    ornamented,
    preferences,
    prompts,
    qualities,
    rankings,
    respond,
    steps,
    thumbs,
)
from hizala.world.tooluse import tools


def model_dir() -> Path:
    """Directory of the shipped model: Hugging Face files, a Qwen 3 of about a million parameters."""
    return Path(__file__).parent / "model"


__all__ = [
    "FAMILIES",
    "SAMPLERS",
    "TASKS",
    "attributes",
    "chat",
    "generate",
    "gold",
    "model_dir",
    "ornamented",
    "preferences",
    "prompts",
    "qualities",
    "rankings",
    "reasoning",
    "resolve",
    "respond",
    "steps",
    "thumbs",
    "tools",
]
