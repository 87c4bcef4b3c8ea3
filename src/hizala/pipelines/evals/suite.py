"""What a suite is given and what it returns, the registry of suites, and comparisons between models."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hizala.core.stats import mean_interval, paired_difference
from hizala.errors import EvalError
from hizala.protocols import Policy, Sampler, Tokenizer
from hizala.records import Estimate, Finding, Group
from hizala.registry import Registry

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model to evaluate.

    Attributes:
        name: its name in results (`base`, `sft`, `dpo`).
        digest: over its files; keys what is stored of it.
        load: opens it; called only when something must be computed, and what it returns is not kept.
        parent: name of the model it was trained from.
        beta: scale of its implicit reward, per nat, where it was trained on preferences.
    """

    name: str
    digest: str
    load: Callable[[], Policy]
    parent: str | None = None
    beta: float | None = None


class Scorer(Protocol):
    """An opened reward model."""

    def score(self, groups: Sequence[Group]) -> Sequence[NDArray[np.floating[Any]]]:
        """(R,) scores of each group's responses, higher is better; NaN where one cannot be scored."""


class StepScorer(Scorer, Protocol):
    """An opened process reward model; `score` puts the steps of a response together as it was told to."""

    def steps(self, groups: Sequence[Group]) -> Sequence[Sequence[NDArray[np.floating[Any]]]]:
        """For each group and response the probability that each of its `steps` is right, (S,)."""


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A reward model to evaluate.

    Attributes:
        name: its name in results.
        digest: of everything its scores depend on; keys what is stored of it.
        load: opens it, as `Evaluated.load` does.
        steps: name under which its figures of marked steps stand, where what `load` gives is a `StepScorer`; the same
            for every way its steps become one score.
        attribute: the graded quality its score predicts; None: the response as a whole.
        members: reward models whose scores make up its own; they are asked once for all that rests on them.
        merge: (one column of scores a member) -> its scores; for models with members.
        aggregation: how its steps become one score; for models of steps, so that the steps are asked for once.
        raw: digest of what its steps' probabilities depend on; for models of steps.
    """

    name: str
    digest: str
    load: Callable[[], Scorer]
    steps: str | None = None
    attribute: str | None = None
    members: Sequence[Rewarded] = ()
    merge: Callable[[Sequence[NDArray[np.float64]]], NDArray[np.float64]] | None = None
    aggregation: str | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class EvalContext:
    """What a suite may use. Figures must not depend on `store`, `token_budget` or `progress`.

    Attributes:
        models: in the order they were made.
        tokenizer: of all of them.
        sampler_for: a sampler on an opened model that reports (samples done, samples in all).
        seed: of all sampling; every model draws with the same random numbers.
        prompts: how many test prompts a sampling suite takes.
        samples: responses sampled for each prompt.
        max_tokens: most tokens of a sampled response.
        sampling: what else the samples depend on (temperature and the like), as plain values; part of their key.
        pairs: preference pairs, read when a suite asks for them; None where the recipe names none.
        groups: the same data whatever its kind (pairs, rankings, marked steps).
        rewards: reward models, in the order they were made.
        max_length: most tokens of prompt and response of a pair.
        beta: scale of the implicit reward of models that have none of their own, per nat.
        token_budget: tokens in one forward.
        dtype: what the opened models compute log-probs in; part of the key of stored log-probs.
        store: directory for samples and log-probs, so that an interrupted evaluation continues; None keeps nothing.
        progress: (what is being done, units) -> how to report it.
    """

    models: Sequence[Evaluated]
    tokenizer: Tokenizer
    sampler_for: Callable[[Policy, Progress], Sampler]
    seed: int = 0
    prompts: int = 500
    samples: int = 1
    max_tokens: int = 96
    sampling: Mapping[str, Any] = field(default_factory=dict)
    pairs: Callable[[], Iterable[Group]] | None = None
    groups: Callable[[], Iterable[Group]] | None = None
    rewards: Sequence[Rewarded] = ()
    max_length: int = 1024
    beta: float = 0.1
    token_budget: int = 8192
    dtype: str = "float32"
    store: Path | None = None
    progress: Callable[[str, int], Progress] = lambda _label, _total: lambda _done, _all: None


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two models on the same units: above zero where `b` is higher."""

    a: str
    b: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a suite found.

    Attributes:
        models: model -> metric -> figure.
        paired: differences between models.
        samples: rows of samples.jsonl, empty for a suite that samples nothing.
        findings: what was dropped, cut or could not be done.
        details: suite -> model -> plain values that a report draws and that no figure can hold.
    """

    models: Mapping[str, Mapping[str, Estimate]]
    paired: Sequence[Paired] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def results(self) -> dict[str, Any]:
        """The content of results.json; NaN stands as null."""
        return {
            "models": {m: {name: row(e) for name, e in metrics.items()} for m, metrics in self.models.items()},
            "paired": [{"a": p.a, "b": p.b, "metric": p.metric, **row(p.estimate)} for p in self.paired],
            **({"details": self.details} if self.details else {}),
        }

    def merged(self, other: SuiteResult) -> SuiteResult:
        """Both results as one."""
        names = [*self.models, *(m for m in other.models if m not in self.models)]
        return SuiteResult(
            {m: {**self.models.get(m, {}), **other.models.get(m, {})} for m in names},
            (*self.paired, *other.paired),
            (*self.samples, *other.samples),
            (*self.findings, *other.findings),
            {**self.details, **other.details},
        )


@dataclass(frozen=True, slots=True)
class SuiteSpec:
    """A registered suite, and what the recipe must give it.

    Attributes:
        needs_pairs: preference data.
        needs_groups: data of any kind that reward models can be measured on.
        needs_rewards: a reward model.
    """

    name: str
    summary: str
    run: Callable[[EvalContext], SuiteResult]
    needs_pairs: bool = False
    needs_groups: bool = False
    needs_rewards: bool = False

    @property
    def needs_data(self) -> bool:
        """Whether the recipe must name data."""
        return self.needs_pairs or self.needs_groups


suites: Registry[SuiteSpec] = Registry("suite")


def suite(
    name: str, *, needs_pairs: bool = False, needs_groups: bool = False, needs_rewards: bool = False
) -> Callable[[Callable[[EvalContext], SuiteResult]], Callable[[EvalContext], SuiteResult]]:
    """Register a function as a suite; its docstring's first line is the summary."""

    def register(fn: Callable[[EvalContext], SuiteResult]) -> Callable[[EvalContext], SuiteResult]:
        summary = (fn.__doc__ or "").strip().split("\n")[0]
        suites.add(name, SuiteSpec(name, summary, fn, needs_pairs, needs_groups, needs_rewards))
        return fn

    return register


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric's values for one model, unit by unit; the same units in the same order for every model.

    Attributes:
        values: None is "not scored".
        clusters: one key a value: what is drawn together by the bootstrap.
    """

    values: Sequence[float | None]
    clusters: Sequence[Hashable]


def estimates(measures: Mapping[str, Measure], seed: int = 0) -> dict[str, Estimate]:
    """Each metric's mean with its 95 % interval."""
    return {name: mean_interval(m.values, m.clusters, seed=seed) for name, m in measures.items()}


def comparisons(by_model: Mapping[str, Mapping[str, Measure]], seed: int = 0) -> list[Paired]:
    """Paired differences between each model and the next, and between the first and the last.

    Raises:
        EvalError: two models were not measured on the same units.
    """
    names = list(by_model)
    couples = list(pairwise(names))
    if len(names) > 2:
        couples.append((names[0], names[-1]))
    found = []
    for a, b in couples:
        for metric, left in by_model[a].items():
            right = by_model[b].get(metric)
            if right is None:
                continue
            if list(left.clusters) != list(right.clusters):
                raise EvalError(f"'{a}' and '{b}' were not measured on the same units", where=metric)
            found.append(Paired(a, b, metric, paired_difference(left.values, right.values, left.clusters, seed=seed)))
    return found


def row(estimate: Estimate) -> dict[str, Any]:
    """An estimate as strict JSON takes it: a figure that is not finite stands as null."""

    def finite(x: float) -> float | None:
        return x if math.isfinite(x) else None

    return {
        "value": finite(estimate.value),
        "low": finite(estimate.low),
        "high": finite(estimate.high),
        "n": estimate.n,
        "unscored": estimate.unscored,
        "method": estimate.method,
        "level": estimate.level,
    }
