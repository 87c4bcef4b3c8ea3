"""Rounds of making pairs and training on them, continued after an interruption to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from hizala.engines.train import Engine, MetricsLog, Objective
from hizala.pipelines.context import StageContext
from hizala.pipelines.generated.pairs import Harvest, frozen, thawed
from hizala.pipelines.lines import Lines
from hizala.pipelines.material import Batches
from hizala.pipelines.progress import Bar, say
from hizala.pipelines.training import interrupts
from hizala.records import Estimate, Finding

NO_PAIRS = 3  # rounds in a row without a single pair, after which a stage ends


class Maker(Protocol):
    """What makes the pairs of a round from the policy as it stands."""

    def harvest(self, number: int) -> Harvest:
        """The pairs of round `number` (from 0), with reference log-probs where the loss needs them."""


@dataclass(frozen=True, slots=True)
class Check:
    """What a held-out check found after a round.

    Attributes:
        passed: the round is kept.
        estimates: figures to log.
        finding: what is said where it is not kept.
    """

    passed: bool
    estimates: Mapping[str, Estimate]
    finding: Finding | None = None


class Guard(Protocol):
    """A held-out check of every round. Its state is plain values and is part of every checkpoint."""

    def look(self, number: int) -> Check:
        """Check the policy after `number` rounds; 0 is the start, which always passes."""

    def state(self) -> dict[str, Any]:
        """What later checks compare with."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a checkpoint."""


@dataclass(slots=True)
class _Place:
    """Rounds finished, steps taken in the open round, its pairs, and rounds in a row without a pair."""

    done: int = 0
    taken: int = 0
    open: Harvest | None = None
    empty: int = 0


class Rounds:
    """The loop of every stage that makes its own preferences.

    for each round: make pairs; take the round's steps on them; check; keep or roll back

    Args:
        context: of the stage.
        engine, objective: what trains and what is minimised.
        maker: makes the pairs.
        rounds: how many.
        steps: optimiser steps in each; None takes one step on all pairs of the round.
        batch_size: pairs in a step, where `steps` is given.
        save_every: steps between checkpoints.
        guard: held-out check after every round; the round that fails it is undone and the stage ends.
    """

    def __init__(
        self,
        context: StageContext,
        engine: Engine,
        objective: Objective,
        maker: Maker,
        *,
        rounds: int,
        steps: int | None,
        batch_size: int,
        save_every: int,
        guard: Guard | None = None,
    ) -> None:
        self.context, self.engine, self.objective, self.maker = context, engine, objective, maker
        self.rounds, self.steps, self.batch_size, self.save_every = rounds, steps, batch_size, save_every
        self.guard = guard
        self.home = context.dir / "checkpoints"
        self.findings: list[Finding] = []
        self.place = _Place()
        self.stopped = False
        self.fresh = True
        self._stop = False

    def run(self) -> None:
        """All remaining rounds. On the first interrupt a checkpoint is written and KeyboardInterrupt raised."""
        with ExitStack() as stack:
            stack.enter_context(interrupts(self._ask_to_stop))
            self.log, self.lines = self._resume()
            stack.callback(self.log.close)
            stack.callback(self.lines.close)
            total = self.rounds * (self.steps or 1)
            done = self.place.done * (self.steps or 1) + self.place.taken
            self.bar = stack.enter_context(Bar(self.context.stage.name, total, done))
            if self.guard is not None and self.fresh:
                self._check(0)
            while self.place.done < self.rounds and not self.stopped:
                self._round(self.place.done)
        for finding in self.engine.findings:
            say(f"  {finding.severity}: {finding.message}")
        self.findings += self.engine.findings

    def _round(self, number: int) -> None:
        place = self.place
        if place.open is None:
            place.open = self.maker.harvest(number)
            self.lines.add(place.open.rows)
            place.open.rows = []
            if self.steps is not None:
                self.log.train(self.engine.steps, {"round": float(number + 1), **place.open.metrics})
                self._save()
        harvest = place.open
        place.empty = 0 if harvest.pairs else place.empty + 1
        if harvest.pairs:
            self._train(harvest, number)
        elif self.steps is None:
            self.log.train(self.engine.steps, {"round": float(number + 1), **harvest.metrics})
        place.done, place.taken, place.open = number + 1, 0, None
        if self.guard is not None and harvest.pairs:
            self._check(number + 1)
        if place.empty >= (NO_PAIRS if self.steps is None else 1) and not self.stopped:
            self._end_without_pairs(number + 1)
        last = place.done == self.rounds or self.stopped
        if last or self.steps is not None or place.done % self.save_every == 0:
            self._save()
        self._leave_if_asked(last)

    def _train(self, harvest: Harvest, number: int) -> None:
        steps = self.steps or 1
        size = self.batch_size if self.steps is not None else len(harvest.pairs)
        batches = Batches(len(harvest.pairs), size, self.context.recipe.seed + number)
        columns: Mapping[str, Mapping[str, np.ndarray]] = {"reference": harvest.reference} if harvest.reference else {}
        for step in range(self.place.taken, steps):
            groups = [harvest.pairs[i] for i in batches[step]] if self.steps is not None else harvest.pairs
            report = self.engine.step(groups, self.objective, columns)
            made = harvest.metrics if self.steps is None else {}
            self.log.train(self.engine.steps, {"round": float(number + 1), **report.metrics, **made}, report.perf)
            self.bar.advance(1, _headline({**report.metrics, **made}))
            self.place.taken = step + 1
            if self.steps is not None and step + 1 < steps:
                if (step + 1) % self.save_every == 0 or self._stop:
                    self._save()
                self._leave_if_asked(last=False)

    def _check(self, number: int) -> None:
        """Measure the held-out check; keep the weights as the last good ones, or go back to those."""
        assert self.guard is not None
        check = self.guard.look(number)
        self.log.evaluation(self.engine.steps, check.estimates)
        for name, estimate in check.estimates.items():
            say(f"  round {number}: {name} {estimate}")
        if check.passed:
            self.engine.save(self.home, self._state(), best=True)
            return
        assert check.finding is not None
        self._finding(check.finding)
        place = self.place
        self.engine.load(self.home, best=True)
        self.place, self.stopped = place, True
        if self.context.ledger is not None:
            payload = {"stage": self.context.stage.name, "round": number, "reason": check.finding.message}
            self.context.ledger.append("round.rejected", payload)

    def _end_without_pairs(self, number: int) -> None:
        message = f"no pair was found in round {number}; the stage ends with the weights it has"
        self._finding(Finding("no-pairs", "warning", message, where=f"round {number}"))
        self.stopped = True

    def _finding(self, finding: Finding) -> None:
        self.findings.append(finding)
        say(f"  {finding.severity}: {finding.message}")

    def _state(self) -> dict[str, Any]:
        place = self.place
        return {
            "done": place.done,
            "taken": place.taken,
            "empty": place.empty,
            "open": None if place.open is None else frozen(place.open),
            "metrics": self.log.offset(),
            "lines": self.lines.offset(),
            "guard": {} if self.guard is None else self.guard.state(),
            "stopped": self.stopped,
            "findings": [[f.kind, f.severity, f.message, f.where] for f in self.findings],
        }

    def _save(self) -> None:
        self.engine.save(self.home, self._state())

    def _resume(self) -> tuple[MetricsLog, Lines]:
        state = self.engine.load(self.home)
        first, path = self.context.first, self.context.dir / "samples.jsonl"
        self.fresh = state is None
        if state is None:
            return MetricsLog(self.context.dir, write=first), Lines(path, write=first)
        opened = None if state["open"] is None else thawed(state["open"])
        self.place = _Place(state["done"], state["taken"], opened, state["empty"])
        self.stopped = state["stopped"]
        self.findings = [Finding(*known) for known in state["findings"]]
        if self.guard is not None:
            self.guard.restore(state["guard"])
        say(f"  continuing after round {self.place.done}, step {self.place.taken} of the next")
        log = MetricsLog(self.context.dir, write=first, offset=state["metrics"])
        return log, Lines(path, write=first, offset=state["lines"])

    def _ask_to_stop(self) -> None:
        self._stop = True
        say("  stopping soon: a checkpoint will be written (press again to stop at once)")

    def _leave_if_asked(self, last: bool) -> None:
        if self._stop and not last:
            if self.steps is None:
                self._save()
            raise KeyboardInterrupt


def _headline(metrics: Mapping[str, float]) -> dict[str, float]:
    wanted = ("loss", "samples/score", "pairs/yield", "dpo/margin")
    return {name: metrics[name] for name in wanted if name in metrics}
