"""Reference log-probs: measured once, stored by what they depend on, read back after."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hizala.engines.policy import Policy
from hizala.engines.train import measure
from hizala.pipelines.context import StageContext
from hizala.pipelines.progress import Bar, say
from hizala.pipelines.rundir import code_digest
from hizala.pipelines.settings import TrainSettings
from hizala.records import TokenGroup


def store(context: StageContext) -> Path:
    """Where stored log-probs live: beside the runs, so that a sweep measures them once."""
    return Path(context.recipe.out) / ".reference"


def measured(
    context: StageContext, policy: Policy, groups: Sequence[TokenGroup], tokens: str, settings: TrainSettings
) -> Mapping[str, np.ndarray]:
    """Reference log-probs of every counted token of `groups`, by group id.

    The reference is the model the stage starts from: the untrained policy itself (adapters off), so no second
    model is held. Stored under a digest of the model, the tokens, the number format and the code.

    Args:
        context: the stage.
        policy: freshly loaded, not yet trained nor resumed.
        groups: training and held-out groups.
        tokens: digest of the groups' tokens and masks.
        settings: the stage's settings.
    Returns:
        group id -> (N_g,) float32, nats, responses in order.
    """
    identity = "\n".join((context.model.digest, tokens, settings.dtype, code_digest()))
    path = store(context) / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.safetensors"
    sizes = [sum(int(np.count_nonzero(r.mask)) for r in group.responses) for group in groups]
    flat = _read(path, sum(sizes))
    if flat is None:
        flat = _measure(policy, groups, settings.token_budget)
        if context.first:
            _write(path, flat)
    else:
        say(f"  reference log-probs read back from {path}")
    ends = np.cumsum(sizes)
    return {group.id: flat[end - size : end] for group, size, end in zip(groups, sizes, ends, strict=True)}


def _measure(policy: Policy, groups: Sequence[TokenGroup], token_budget: int) -> np.ndarray:
    parts: list[np.ndarray] = []
    adapters_off = policy.reference() if policy.has_adapters else nullcontext()
    with Bar("reference log-probs", len(groups)) as bar, adapters_off:
        for start in range(0, len(groups), 64):
            part = groups[start : start + 64]
            parts.extend(measure(policy, part, token_budget))
            bar.advance(len(part))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _read(path: Path, expected: int) -> np.ndarray | None:
    if not path.is_file():
        return None
    try:
        flat = load_file(path)["logps"]
    except (SafetensorError, KeyError, OSError):
        say(f"  stored reference log-probs are damaged and measured again: {path}")
        return None
    return flat if flat.shape == (expected,) and flat.dtype == np.float32 else None


def _write(path: Path, flat: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file({"logps": np.ascontiguousarray(flat, dtype=np.float32)}, partial)
    os.replace(partial, path)
