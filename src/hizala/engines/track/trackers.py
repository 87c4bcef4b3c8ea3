"""Trackers by name, and the fan-out that keeps a broken tracker from breaking a run.

The run directory is the record; a tracker is a live view of it. So a library that is missing is refused before the
run begins, and a tracker that fails later (no network, no login) is dropped with one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hizala.errors import ConfigError
from hizala.protocols import Tracker
from hizala.records import Finding
from hizala.registry import Registry

FAILURES_BEFORE_DROP = 3


@dataclass(frozen=True, slots=True)
class Target:
    """What a tracker is told about the run it follows.

    Attributes:
        run_dir: the run directory; a tracker that writes files writes them below it.
        project: what groups runs on the tracker's side.
        name: the run's name, stable across restarts so that a continued run continues its curves.
        config: the resolved recipe as plain values.
    """

    run_dir: Path
    project: str
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackerSpec:
    """One row of the tracker table: `module` is what must be importable, `install` is how to get it."""

    name: str
    summary: str
    module: str
    install: str
    open: Callable[[Target], Tracker]


trackers: Registry[TrackerSpec] = Registry("tracker")


def tracker(name: str, *, module: str, install: str) -> Callable[[type], type]:
    """Register a class whose constructor takes a `Target`; its docstring's first line is the summary."""

    def register(cls: type) -> type:
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        trackers.add(name, TrackerSpec(name, summary, module, install, cls))
        return cls

    return register


def check(names: Sequence[str]) -> None:
    """Refuse unknown trackers, repeated ones and missing libraries, importing none of them.

    Raises:
        ConfigError: with the nearest name, or with the command that installs the library.
    """
    for name in names:
        spec = trackers.get(name)
        if list(names).count(name) > 1:
            raise ConfigError(f"tracker '{name}' is named twice", where="trackers")
        if find_spec(spec.module) is None:
            raise ConfigError(
                f"tracker '{name}' needs the package '{spec.module}', which is not installed",
                where="trackers",
                fix=f"run: {spec.install}   (or take '{name}' out of `trackers`)",
            )


class Trackers:
    """All trackers of a run as one: a tracker that fails is reported once and never stops the run.

    Args:
        names: registered trackers; checked first, see `check`.
        target: the run.
    Raises:
        ConfigError: as `check`. A tracker whose library is there but will not start becomes a finding.
    """

    def __init__(self, names: Sequence[str], target: Target) -> None:
        check(names)
        self._open: dict[str, Tracker] = {}
        self._failures: dict[str, int] = {}
        self._running: dict[str, int] = {}  # failures since the last success
        self._first: dict[str, str] = {}
        self._dropped: set[str] = set()
        for name in names:
            try:
                self._open[name] = trackers.get(name).open(target)
            except Exception as error:  # any error of a third party's library; it must not reach the run
                self._failed(name, f"could not start: {_brief(error)}", drop=True)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the trackers still written to."""
        return tuple(self._open)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One warning for each tracker that failed, with how often and whether it was dropped."""
        return tuple(
            Finding(
                kind="tracker",
                severity="warning",
                message=f"{name}: {first}" + ("; not written to any more" if name in self._dropped else ""),
                where="trackers",
                count=self._failures[name],
            )
            for name, first in self._first.items()
        )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Send one row of metrics to every tracker; one that fails three times running is dropped."""
        for name, one in list(self._open.items()):
            try:
                one.log(metrics, step)
            except Exception as error:
                self._failed(name, f"step {step}: {_brief(error)}")
            else:
                self._running[name] = 0

    def log_row(self, row: Mapping[str, Any]) -> None:
        """Send one row of metrics.jsonl, see `scalars`."""
        self.log(*scalars(row))

    def close(self) -> None:
        """Close every tracker; safe to call twice."""
        while self._open:
            name, one = self._open.popitem()
            try:
                one.close()
            except Exception as error:
                self._failed(name, f"on closing: {_brief(error)}")

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failed(self, name: str, message: str, drop: bool = False) -> None:
        self._failures[name] = self._failures.get(name, 0) + 1
        self._running[name] = self._running.get(name, 0) + 1
        self._first.setdefault(name, message)
        if drop or self._running[name] >= FAILURES_BEFORE_DROP:
            self._open.pop(name, None)
            self._dropped.add(name)


def scalars(row: Mapping[str, Any]) -> tuple[dict[str, float], int]:
    """The numbers of one metrics.jsonl row as trackers take them, and its step.

    `{"step": 3, "split": "train", "dpo/loss": 0.7}` gives `{"train/dpo/loss": 0.7}`, 3. An estimate gives its value
    under the name itself and its bounds under name_low and name_high. What is not a number is left out.
    """
    prefix = f"{row['split']}/" if row.get("split") else ""
    out: dict[str, float] = {}
    for key, value in row.items():
        if key in ("step", "split") or isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            out[prefix + key] = float(value)
        elif isinstance(value, Mapping) and isinstance(value.get("value"), int | float):
            out[prefix + key] = float(value["value"])
            out.update(
                {f"{prefix}{key}_{end}": float(value[end]) for end in ("low", "high") if value.get(end) is not None}
            )
    return out, int(row["step"])


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
