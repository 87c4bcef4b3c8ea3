"""Which reward models an evaluation measures: each model in every way its numbers become one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.canonical import digest, file_digest
from hizala.core.combine import AGGREGATIONS, combine
from hizala.engines.policy import reward_head
from hizala.engines.policy.heads import is_ensemble
from hizala.engines.reward.gating import FILE as GATE
from hizala.errors import ConfigError, nearest
from hizala.pipelines.context import ModelRef
from hizala.pipelines.evals.suite import Rewarded
from hizala.pipelines.material import load_template
from hizala.pipelines.scorers import TextScorer, load_scorer

# How members are combined, with the weight of their disagreement where one is needed: one standard deviation.
COMBINED: tuple[tuple[str, float | None], ...] = (("mean", None), ("minimum", None), ("mean-std", 1.0))


@dataclass(frozen=True, slots=True)
class Opening:
    """How reward models are opened.

    Attributes:
        device: "cpu" or "cuda".
        template: how texts become tokens, "chat" or "raw".
        max_length: most tokens of prompt and response; a longer response is scored as far as it goes.
        token_budget: tokens in one forward.
        weights: attribute -> weight, for models of several attributes; empty measures each attribute by itself.
    """

    device: str
    template: str
    max_length: int
    token_budget: int
    weights: Mapping[str, float]


def rewarded(ref: ModelRef, how: Opening) -> list[Rewarded]:
    """A reward model in every way its numbers become one score, named MODEL or MODEL:WAY.

    One output: itself. Members of an ensemble: each combination, and the first member alone. Attributes: each by
    itself, and their weighted sum where weights are given; with a gate of its own, the gate's mixture goes under the
    model's name and a weighted sum under MODEL:weighted. Steps: each aggregation.

    Raises:
        ModelError: the directory cannot be read.
        ConfigError: it holds no reward model, or a weight names no attribute of it.
    """
    head = reward_head(ref.path)
    if head is None:
        raise ConfigError(
            f"'{ref.name}' is a language model, not a reward model", where=str(ref.path), fix="name a classifier"
        )
    kind, labels = head
    ways = {way: {"aggregation": way} for way in AGGREGATIONS} if kind == "step" else _ways(labels, how.weights)
    if kind == "score" and (ref.path / GATE).is_file():
        ways = {way or "weighted": said for way, said in ways.items()} | {"": {}}
    return [
        Rewarded(
            f"{ref.name}:{way}" if way else ref.name,
            _key(how, ref.digest, said),
            partial(_open, ref.path, ref.path, how, said),
            steps=ref.name if kind == "step" else None,
            aggregation=way if kind == "step" else None,
            raw=_key(how, ref.digest, {}) if kind == "step" else "",
            attribute=way if kind == "score" and way in labels and not is_ensemble(labels) else None,
        )
        for way, said in ways.items()
    ]


def _ways(labels: Sequence[str], weights: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """How the outputs of a score head become one score: settings of `load_scorer` by name."""
    if len(labels) == 1:
        return {"": {}}
    alone = {label: {"weights": {label: 1.0}} for label in labels}
    if is_ensemble(labels):
        return {**{way: {"how": way, "lam": lam} for way, lam in COMBINED}, labels[0]: alone[labels[0]]}
    for name in weights:
        if name not in labels:
            known = ", ".join(labels)
            raise ConfigError(f"no attribute '{name}'{nearest(name, labels)}", fix=f"known: {known}")
    return {"": {"weights": dict(weights)}, **alone} if weights else dict(alone)


def ensemble(name: str, members: Sequence[ModelRef], how: Opening) -> list[Rewarded]:
    """Several reward models of one output each as one, in every combination, centred within each group.

    Raises:
        ConfigError: fewer than two members, one that does not give one score, or tokenizers that differ.
    """
    if len(members) < 2:
        raise ConfigError(f"the ensemble '{name}' has fewer than two members", fix="name at least two reward models")
    for ref in members:
        if [one.name for one in rewarded(ref, how)] != [ref.name]:
            raise ConfigError(f"'{ref.name}' gives several scores and cannot be a member of '{name}'")
        files = [one.path / "tokenizer.json" for one in (members[0], ref)]
        if len({file_digest(file) if file.is_file() else "" for file in files}) > 1:
            raise ConfigError(f"the members of '{name}' have different tokenizers", where=str(ref.path))
    paths = [ref.path for ref in members]
    alone = [rewarded(ref, how)[0] for ref in members]
    found = []
    for way, lam in COMBINED:
        said = {"how": way, "lam": lam, "centred": True}
        key = _key(how, [ref.digest for ref in members], said)
        opened, merge = partial(_open, paths, paths[0], how, said), partial(_merged, way, lam)
        found.append(Rewarded(f"{name}:{way}", key, opened, members=alone, merge=merge))
    return found


def _merged(way: str, lam: float | None, columns: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Members' scores of one group, centred and combined, as `engines.reward.Ensemble` does."""
    table = np.stack(columns, axis=1)
    if np.isnan(table).all(axis=0).any():
        return np.full(len(table), np.nan)
    return combine(table - np.nanmean(table, axis=0), way, lam)


def implicit(policy: ModelRef, reference: ModelRef, beta: float, how: Opening) -> Rewarded:
    """The reward that preference training hid in a policy, named POLICY:implicit."""
    said = {"reference": reference.path, "beta": beta}
    key = _key(how, policy.digest, {"reference": reference.digest, "beta": beta})
    return Rewarded(f"{policy.name}:implicit", key, partial(_open, policy.path, policy.path, how, said))


def _key(how: Opening, models: object, said: Mapping[str, Any]) -> str:
    return digest([models, dict(said), how.template, how.max_length])


def _open(path: Path | Sequence[Path], words: Path, how: Opening, said: Mapping[str, Any]) -> TextScorer:
    scorer = load_scorer(path, device=how.device, token_budget=how.token_budget, **said)
    return TextScorer(scorer, load_template(words, how.template), max_length=how.max_length)
