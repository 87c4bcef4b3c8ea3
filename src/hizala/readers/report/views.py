"""What the report shows, as plain records: `load` fills them from a run directory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate as a result file gives it; NaN where it gives none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    unscored: int = 0
    method: str = ""
    level: float = 0.95

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference b - a of two models in one metric."""

    a: str
    b: str
    metric: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Results:
    """What an evaluation stage found: model -> metric -> figure, both in the order of the file; details as read."""

    models: Mapping[str, Mapping[str, Figure]]
    paired: tuple[Paired, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's response; score None is "not scored", `others` counts further samples of the same prompt."""

    text: str
    score: float | None
    reason: str = ""
    truncated: bool = False
    others: int = 0


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A prompt with the models' responses."""

    prompt: str
    task: str
    lang: str
    gold: tuple[tuple[str, str], ...]
    responses: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Sampled:
    """A response of online RL; `cut` characters are left out, score None is "not scored", tokens None not known."""

    text: str
    cut: int
    score: float | None
    parts: tuple[tuple[str, float], ...]
    reason: str
    tokens: int | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """A prompt of one step with its responses; `cut` characters of the prompt are left out."""

    step: int
    prompt: str
    cut: int
    task: str
    lang: str
    responses: tuple[Sampled, ...]


@dataclass(frozen=True, slots=True)
class Rollouts:
    """What was read of the samples of a stage of online RL.

    Attributes:
        groups: by rising step.
        steps: those read.
        of_steps: steps that were sampled.
        prompts, of_prompts: most prompts of one step that were read, and that there are.
    """

    groups: tuple[SampledGroup, ...]
    steps: tuple[int, ...]
    of_steps: int
    prompts: int
    of_prompts: int


@dataclass(frozen=True, slots=True)
class RewardCount:
    """What one reward was asked and answered; NaN is not known."""

    name: str
    calls: float
    scored: float
    unscored: tuple[tuple[str, float], ...]
    left_out: float
    cached: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """A finding about the data or the training."""

    severity: str
    kind: str
    message: str
    where: str
    count: int


@dataclass(frozen=True, slots=True)
class LengthRow:
    """Lengths of one side of the data, in `unit`."""

    side: str
    unit: str
    n: float
    mean: float
    median: float
    p95: float
    largest: float


@dataclass(frozen=True, slots=True)
class DataView:
    """What a stage found: findings, single figures by dotted name, lengths, and tables of numbers under a name."""

    notes: tuple[Note, ...] = ()
    facts: tuple[tuple[str, str | float | Figure], ...] = ()
    lengths: tuple[LengthRow, ...] = ()
    tables: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of a run. Series map a metric's name to (step, value) in the order written."""

    number: int
    name: str
    kind: str
    status: str
    reason: str = ""
    seconds: float | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    parent: str = ""
    data: DataView | None = None
    train: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    held_out: Mapping[str, tuple[tuple[float, Figure], ...]] = field(default_factory=dict)
    perf: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    results: Results | None = None
    samples: tuple[SampleRow, ...] = ()
    rollouts: Rollouts | None = None
    counts: tuple[RewardCount, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What verification said. `ok` None: there is no ledger."""

    ok: bool | None
    entries: int = 0
    head: str = ""
    files: int = 0
    problems: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything the report shows.

    Attributes:
        status: "done", "running", "failed", "interrupted" or "empty".
        problems: files that could not be read as they should, in words.
    """

    name: str
    model: str
    seed: str
    status: str
    stages: tuple[StageView, ...]
    ledger: LedgerView
    recipe: str = ""
    resolved: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    ended: str = ""
    problems: tuple[str, ...] = ()
