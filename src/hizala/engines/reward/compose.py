"""Several rewards as one: weights, caching, time limits, and a count of everything that was not scored."""

from __future__ import annotations

import hashlib
import math
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, Literal

from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.component import Component, Pending, Place, Report, settings_of, without_responses
from hizala.engines.reward.pool import Pool
from hizala.engines.reward.worker import Job
from hizala.errors import ConfigError
from hizala.records import Finding, Group, Response, Verdict
from hizala.registry import RewardSpec, rewards

WHERE = "rewards"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One reward of a recipe's mapping, checked: its name there, what is registered, its weight and settings."""

    name: str
    spec: RewardSpec
    weight: float
    optional: bool
    settings: Mapping[str, Any]


def read(spec: Mapping[str, float | Mapping[str, Any]]) -> list[Wanted]:
    """A recipe's mapping, checked; nothing is opened or started.

    Args:
        spec: name -> weight, or name -> {weight: 1.0, kind: NAME, optional: false, settings...}. `kind` names the
            registered reward where the name does not, so that one reward can stand twice. `optional` scores the
            groups that lack what the reward needs without it.
    Raises:
        ConfigError: no reward, an unknown one, a weight that is no finite number, or a setting that is refused.
    """
    import_module("hizala.engines.reward.known")  # registers what ships; here, for those modules may import this one
    if not spec:
        raise ConfigError("no reward is given", where=WHERE, fix="write rewards: {math: 1.0}")
    wanted = []
    for name, given in spec.items():
        values = dict(given) if isinstance(given, Mapping) else {"weight": given}
        where = f"{WHERE}.{name}"
        weight, optional = values.pop("weight", 1.0), values.pop("optional", False)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ConfigError(f"the weight of a reward is a finite number, not {weight!r}", where=where)
        if not isinstance(optional, bool):
            raise ConfigError(f"optional is true or false, not {optional!r}", where=where)
        entry = rewards.get(str(values.pop("kind", name)))
        if entry.isolated and entry.fn.__module__ == "__main__":
            raise ConfigError(
                f"reward '{entry.name}' stands in the program that runs, which no other process can import",
                where=where,
                fix="put it in a module of its own, or register it with isolated=False",
            )
        wanted.append(Wanted(name, entry, float(weight), optional, settings_of(entry, values, where)))
    if not any(one.weight for one in wanted):
        raise ConfigError("every reward has weight 0", where=WHERE, fix="give one a weight")
    return wanted


def build(spec: Mapping[str, float | Mapping[str, Any]], context: RewardContext | None = None) -> Composed:
    """Rewards from a recipe's mapping.

    value = sum_c weight_c * r_c,  not scored where any r_c of non-zero weight is not

    Args:
        spec: as `read` takes it.
        context: what rewards are made with.
    Raises:
        ConfigError: what `read` refuses, or a reward that cannot be made.
    """
    context = context or RewardContext()
    components = [
        Component(one.name, one.spec, one.weight, optional=one.optional, settings=one.settings, context=context)
        for one in read(spec)
    ]
    return Composed(components, context)


@dataclass(slots=True)
class _Work:
    """What one component still has to do in one call: places by group, and what is known already."""

    component: Component
    table: dict[Place, Verdict] = field(default_factory=dict)
    todo: dict[int, list[int]] = field(default_factory=dict)
    keys: dict[Place, bytes] = field(default_factory=dict)
    same: dict[Place, Place] = field(default_factory=dict)
    cached: int = 0
    seconds: float = 0.0

    def groups(self, groups: Sequence[Group]) -> list[Group]:
        """The groups with what is left of them."""
        left = [(groups[g], some) for g, some in self.todo.items()]
        return [replace(group, responses=tuple(group.responses[i] for i in some)) for group, some in left]

    def here(self, groups: Sequence[Group]) -> None:
        """Do what is left in this thread."""
        start = time.monotonic()
        left = self.groups(groups)
        if self.component.spec.whole:
            self.fill(self.component.many(left))
        else:
            bare = [(group, without_responses(group)) for group in left]
            self.fill([[self.component.one(response, b) for response in group.responses] for group, b in bare])
        self.seconds = time.monotonic() - start

    def fill(self, found: Sequence[Sequence[Verdict]]) -> None:
        """Put the verdicts on what was left where they belong."""
        for (g, some), row in zip(self.todo.items(), found, strict=True):
            self.table.update({(g, i): verdict for i, verdict in zip(some, row, strict=True)})


class Composed:
    """Weighted rewards, scored together. `build` makes one.

    Functions of linear time run here, others in worker processes, classes each in a thread; all at the same time.
    """

    name = "rewards"

    def __init__(self, components: Sequence[Component], context: RewardContext) -> None:
        self.components, self.context = tuple(components), context
        isolated = [component.spec for component in components if component.spec.isolated]
        self._pool = Pool(
            sorted({spec.fn.__module__ for spec in isolated}),
            context.processes,
            sorted({spec.name for spec in isolated}),
        )
        self._cache: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, groups: Sequence[Group]) -> list[Finding]:
        """Whether the data have what the rewards need, before anything is sampled.

        Returns:
            A finding for each reward that cannot score some of the groups, and what rewards say of themselves.
        Raises:
            ConfigError: a reward can score none of them.
        """
        findings: list[Finding] = []
        for component in self.components:
            findings += getattr(component.whole, "findings", list)()
            lacking = [key for group in groups if (key := component.lacks(group)) is not None]
            if groups and len(lacking) == len(groups):
                raise ConfigError(
                    f"reward '{component.name}' needs `{lacking[0]}` of each prompt, and none of {len(groups)} has it",
                    where=f"{WHERE}.{component.name}",
                    fix=f"give the data a column `{lacking[0]}`, or take the reward out",
                )
            if lacking:
                what = "are scored without it" if component.optional else "are not scored"
                message = (
                    f"{len(lacking)} of {len(groups)} prompts lack `{lacking[0]}` for '{component.name}' and {what}"
                )
                severity: Literal["info", "warning"] = "info" if component.optional else "warning"
                findings.append(Finding("reward_needs", severity, message, WHERE, len(lacking)))
        return findings

    def score(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """One list a group, one verdict a response: the weighted sum, and in `parts` each reward's own value.

        A component that could not score leaves the value None and its name out of `parts`; the reason names it. Of a
        scored response the reason is what the rewards remark of it ("math: wrong answer: 41").
        """
        with self._lock:
            start = time.monotonic()
            works = [self._plan(component, groups) for component in self.components]
            left = [work for work in works if work.todo]
            pending = [
                (work, Pending(work.component, work.groups(groups), self.context.batch_limit))
                for work in left
                if work.component.threaded
            ]
            self._isolated([work for work in left if work.component.spec.isolated], groups)
            for work in left:
                if not work.component.spec.isolated and not work.component.threaded:
                    work.here(groups)
            for work, call in pending:
                work.fill(call.get(time.monotonic() - start))
                work.seconds = time.monotonic() - start
            for work in works:
                self._keep(work)
            return [[self._sum(works, (g, i)) for i in range(len(group.responses))] for g, group in enumerate(groups)]

    def report(self) -> dict[str, Report]:
        """Counts of each component since it was built."""
        return {component.name: component.report() for component in self.components}

    def close(self) -> None:
        """End worker processes and let go of what the rewards hold."""
        self._pool.close()
        for component in self.components:
            component.close()

    def _plan(self, component: Component, groups: Sequence[Group]) -> _Work:
        """What is known of a component's verdicts already, and what has to be found."""
        work = _Work(component)
        first: dict[bytes, Place] = {}
        for g, group in enumerate(groups):
            missing = component.lacks(group)
            if missing is not None and component.optional:
                component.leave_out(len(group.responses))
                continue
            if missing is not None:
                reason = f"no `{missing}` in the data"
                work.table.update({(g, i): Verdict(None, reason) for i in range(len(group.responses))})
                continue
            base = _digest(group) if component.cached and self.context.cache else None
            for i, response in enumerate(group.responses):
                if base is not None:
                    key = component.key(base, response)
                    if key in first:
                        work.same[g, i] = first[key]
                        continue
                    first[key] = (g, i)
                    if key in self._cache:
                        self._cache.move_to_end(key)
                        work.table[g, i] = self._cache[key]
                        work.cached += 1
                        continue
                    work.keys[g, i] = key
                work.todo.setdefault(g, []).append(i)
        return work

    def _isolated(self, works: Sequence[_Work], groups: Sequence[Group]) -> None:
        """Functions that could hang, of all components at once, in worker processes."""
        if not works:
            return
        jobs, owners = [], []
        for work in works:
            spec, settings = work.component.spec, work.component.settings
            for group in work.groups(groups):
                bare, limit = without_responses(group), self.context.time_limit
                jobs.append(Job(spec.name, settings, bare, tuple(map(_light, group.responses)), limit))
                owners.append(work)
        found: dict[int, list[list[Verdict]]] = {id(work): [] for work in works}
        for work, outcomes in zip(owners, self._pool.run(jobs), strict=True):
            found[id(work)].append([outcome.verdict for outcome in outcomes])
            work.seconds += sum(outcome.seconds for outcome in outcomes)
        for work in works:
            work.fill(found[id(work)])

    def _keep(self, work: _Work) -> None:
        """Answer what was asked twice, remember what was found, count everything."""
        for place, key in work.keys.items():
            # What a class could not score now (a server that was busy) it may score another time.
            if work.table[place].value is not None or work.component.spec.isolated:
                self._cache[key] = work.table[place]
        while len(self._cache) > self.context.cache:
            self._cache.popitem(last=False)
        for place, other in work.same.items():
            work.table[place] = work.table[other]
        cached = work.cached + len(work.same)
        work.component.count(list(work.table.values()), cached=cached, seconds=work.seconds)

    def _sum(self, works: Sequence[_Work], place: Place) -> Verdict:
        total, parts, asked = 0.0, {}, False
        reasons, notes = list[str](), list[str]()
        for work in works:
            verdict, component = work.table.get(place), work.component
            if verdict is None:
                continue
            if verdict.value is not None:
                parts[component.name] = verdict.value
                total += component.weight * verdict.value
                asked = asked or component.weight != 0
                notes += [f"{component.name}: {verdict.reason}"] if verdict.reason else []
            elif component.weight:
                reasons.append(f"{component.name}: {verdict.reason}")
        if not reasons and not asked:
            reasons.append("no reward applies to this prompt")
        return Verdict(None if reasons else total, "; ".join(reasons + notes), parts)


def _light(response: Response) -> Response:
    """The response with the number of its log-probs and not the numbers: a worker is told how many tokens there are."""
    count: Any = None if response.logps is None else range(len(response.logps))
    return replace(response, logps=count)


def _digest(group: Group) -> bytes:
    """Of the prompt and of all that is known of it. Equal content may be written differently: that costs a hit."""
    said = tuple((m.role, m.content) for m in group.prompt)
    return hashlib.sha256(pickle.dumps((said, sorted(group.meta.items())))).digest()
