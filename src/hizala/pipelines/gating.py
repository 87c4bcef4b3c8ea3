"""The stage `reward_gate`: teach a reward model of attributes, from pairs, which of them counts for which prompt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from hizala.config import Strict
from hizala.engines.policy import load
from hizala.engines.reward import Gated, Outputs
from hizala.engines.reward.gating import fit_on
from hizala.errors import ConfigError, nearest
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.material import load_template, open_source, prepare
from hizala.pipelines.progress import say, working
from hizala.pipelines.rundir import model_digest
from hizala.records import TokenGroup

SUMMARY = "a gate that weighs a reward model's attributes by prompt, learned from pairs"


class GateSettings(Strict):
    """Settings of a gate over attributes (Wang et al. 2024, arXiv:2406.12845, sec. 3)."""

    data: Annotated[
        str | list[str], Field(description="preference pairs: a file, a directory, a hub id, or world:NAME")
    ]
    format: Annotated[str, Field(description="format of the rows; 'auto' recognises it")] = "auto"
    limit: Annotated[int | None, Field(ge=1, description="use at most this many rows")] = None
    reward: Annotated[
        str | None, Field(description="name of the reward model of attributes; default: the last one made")
    ] = None
    decay: Annotated[float, Field(ge=0, description="pull towards shares that are the same for every prompt")] = 0.01
    holdout: Annotated[float, Field(ge=0, lt=1, description="share of the prompts kept for the accuracy")] = 0.2
    max_holdout: Annotated[int, Field(ge=1, description="most groups held out")] = 512
    max_length: Annotated[int, Field(ge=2, description="most tokens of prompt and response together")] = 1024
    token_budget: Annotated[int, Field(ge=16, description="tokens in one forward")] = 8192


def train_gate(context: StageContext) -> None:
    """Run the stage: fit the gate, measure it on held-out pairs, write the reward model with its gate.

    Raises:
        ConfigError: there is no reward model of several attributes.
        DataError, TemplateError, ModelError: as their parts say.
    """
    settings = context.stage.config
    assert isinstance(settings, GateSettings)
    ref = _reward(context, settings)
    template = load_template(ref.path, "chat")
    source = open_source(settings.data, shape="pair", format=settings.format, limit=settings.limit)
    material = prepare(
        source,
        template,
        holdout=settings.holdout,
        max_holdout=settings.max_holdout,
        max_length=settings.max_length,
        seed=context.recipe.seed,
    )
    policy = load(ref.path, device=context.device)
    head = policy.reward_head
    if head is None or len(head.labels) < 2:
        raise ConfigError(
            f"'{ref.name}' has no attributes that a gate could weigh", fix="train one with reward_attributes first"
        )
    outputs = Outputs(policy, head.labels, token_budget=settings.token_budget)
    with working("gate fitted"):
        gate = fit_on(outputs, material.train, decay=settings.decay)
    gated = Gated(outputs, gate)
    figures = _figures(gated, material.held_out)
    target = context.dir / "model"
    if context.ledger is not None:
        say(f"  gate: {len(material.train)} pairs, " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
        context.ledger.append(
            "gate",
            {"stage": context.stage.name, "reward": ref.name, "source": source.name, "digest": source.digest,
             "tokens": material.digest, "train": len(material.train), "held_out": len(material.held_out), **figures},
        )  # fmt: skip
        _write(ref.path, target, gated)
    model = ModelRef(context.stage.name, target, model_digest(target), ref.name, None, "reward")
    context.outputs["model"] = {
        "name": model.name, "digest": model.digest, "parent": model.parent, "beta": None, "kind": model.kind
    }  # fmt: skip


def _reward(context: StageContext, settings: GateSettings) -> ModelRef:
    if settings.reward is None and context.rewards:
        return next(reversed(context.rewards.values()))
    if settings.reward in context.rewards:
        return context.rewards[settings.reward or ""]
    known = ", ".join(context.rewards) or "none"
    what = (
        f"no reward model '{settings.reward}'{nearest(settings.reward, context.rewards)}"
        if settings.reward
        else ("no reward model")
    )
    raise ConfigError(f"there is {what} before this stage", fix=f"made so far: {known}; train one first")


def _figures(gated: Gated, pairs: list[TokenGroup]) -> dict[str, float]:
    """Accuracy on held-out pairs of the gate, and of equal shares; and the mean share of each attribute."""
    if not pairs:
        return {}
    shares = gated.shares(pairs)
    tables = gated.attributes.outputs(pairs)
    equal = np.full(shares.shape[1], 1 / shares.shape[1])
    right = [float(s[0] > s[1]) for s in gated.score(pairs)]
    plain = [float(s[0] > s[1]) for s in (gated.gate.mixed(equal, table) for table in tables)]
    names = {
        f"share of {name}": float(share) for name, share in zip(gated.attributes.labels, shares.mean(0), strict=True)
    }
    return {"accuracy": float(np.mean(right)), "accuracy of equal shares": float(np.mean(plain)), **names}


def _write(source: Path, target: Path, gated: Gated) -> None:
    """The reward model's directory with the gate in it, at once or not at all."""
    partial = target.with_name(".model.partial")
    for path in (partial, target):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, partial)
    gated.gate.save(partial)
    partial.rename(target)
