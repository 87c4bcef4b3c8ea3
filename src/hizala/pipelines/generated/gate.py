"""The held-out check of stages that teach themselves: what must not get worse, measured against the start."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from hizala import world
from hizala.core.stats import mean_interval, paired_difference
from hizala.engines.train import measure
from hizala.errors import ConfigError, DataError
from hizala.pipelines.candidates import Prompt
from hizala.pipelines.generated.loop import Check
from hizala.pipelines.generated.parts import Parts
from hizala.pipelines.generated.settings import Gated
from hizala.pipelines.material import open_source, with_unique_ids
from hizala.records import Estimate, Finding, Group, TokenGroup

LOOKING = 1 << 31  # the same random numbers at every look, and apart from those of training
LENGTH = "gate/length"


class HeldOut:
    """Figures on held-out data after every iteration, against the same figures at the start.

    An iteration fails where the paired difference to the start lies below -tolerance with its whole 95 % interval, or
    where the mean response length has changed by more than its share. So a fall that the data cannot tell from chance
    passes: the interval's half-width, logged at each look, is the fall that can be overlooked.

    Args:
        parts: of the stage.
        settings: name the gates.
    Raises:
        ConfigError, DataError: the gates' data are missing or of another kind.
    """

    def __init__(self, parts: Parts, settings: Gated) -> None:
        self.parts, self.settings = parts, settings
        self.prompts: list[Prompt] = []
        self.pairs: list[TokenGroup] = []
        self.groups: list[Group] = []
        for kind, ref in settings.gates:
            self._take_prompts(ref) if kind == "gold" else self._take_pairs(ref)
        self._clusters: dict[str, list[Hashable]] = {
            "gate/gold": [p.ids for p in self.prompts],
            LENGTH: [p.ids for p in self.prompts],
            "gate/accuracy": [tuple(pair.prompt) for pair in self.pairs],
        }
        self._start: dict[str, list[float]] = {}

    def look(self, number: int) -> Check:
        """Measure after `number` iterations; the first look is what later ones are compared with."""
        values = {**self._sampled(), **self._ranked()}
        estimates = {name: mean_interval(v, self._clusters[name]) for name, v in values.items()}
        if not self._start:
            self._start = values
            return Check(True, estimates)
        reasons = []
        for name, now in values.items():
            change = paired_difference(self._start[name], now, self._clusters[name])
            estimates[f"{name}_change"] = change
            reasons += self._fault(name, change)
        if not reasons:
            return Check(True, estimates)
        message = f"iteration {number} is undone: {'; '.join(reasons)}"
        return Check(False, estimates, Finding("gate", "warning", message, where=f"iteration {number}"))

    def state(self) -> dict[str, Any]:
        """The values at the start."""
        return {name: np.asarray(values) for name, values in self._start.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the values at the start from a checkpoint."""
        self._start = {name: values.tolist() for name, values in state.items()}

    def _fault(self, name: str, change: Estimate) -> list[str]:
        if name == LENGTH:
            start, most = float(np.mean(self._start[LENGTH])), self.settings.gate_length
            if most is not None and abs(change.value) > most * start:
                return [f"responses are {change.value:+.1f} tokens longer than the {start:.1f} of the start"]
            return []
        if change.high < -self.settings.gate_tolerance:
            return [f"{name} fell by {-change.value:.3f} ({change.low:.3f} to {change.high:.3f}) below the start"]
        return []

    def _take_prompts(self, ref: str) -> None:
        for group in with_unique_ids(open_source(ref, shape="prompt")):
            if "truth" not in group.meta:
                raise ConfigError(
                    "a gold gate needs prompts of the embedded world, whose true reward is known",
                    where=ref,
                    fix="use pairs:REF with people's preferences for other data",
                )
            self.prompts.append(Prompt(group, tuple(self.parts.template.encode_prompt(group))))
            self.groups.append(group)

    def _take_pairs(self, ref: str) -> None:
        groups = with_unique_ids(open_source(ref, shape="pair"))
        encoded = self.parts.template.encode_all(groups)
        if len(encoded.tokens) < 2:
            raise DataError("a gate needs at least two pairs", where=ref)
        self.pairs += encoded.tokens
        self.groups += groups

    def _sampled(self) -> dict[str, list[float]]:
        """True reward and length of one response to each prompt."""
        if not self.prompts:
            return {}
        answers = self.parts.asker.ask(self.prompts, 1, LOOKING, bar="held-out check")
        verdicts = [world.gold(a.prompt.group, a.texts[0]).value for a in answers]
        gold = [math.nan if value is None else value for value in verdicts]
        return {"gate/gold": gold, LENGTH: [float(len(a.samples[0].ids)) for a in answers]}

    def _ranked(self) -> dict[str, list[float]]:
        """Whether the chosen side of each pair is the likelier a token: 1, 0, or one half where both are level."""
        if not self.pairs:
            return {}
        values = measure(self.parts.policy, self.pairs, self.parts.settings.token_budget)
        return {"gate/accuracy": [_right(pair, v) for pair, v in zip(self.pairs, values, strict=True)]}


def _right(pair: TokenGroup, values: Sequence[float] | np.ndarray) -> float:
    first = int(np.count_nonzero(pair.responses[0].mask))
    margin = float(np.mean(values[:first]) - np.mean(values[first:]))
    return 0.5 if margin == 0 else float(margin > 0)
