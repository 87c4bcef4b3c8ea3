"""One reward of a composition: its settings, what it cannot score, its cache keys, and its counts."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from hizala.config import Strict, schema_of
from hizala.engines.reward.base import RewardContext, verdict_of
from hizala.errors import ConfigError, nearest
from hizala.records import Group, Response, Verdict
from hizala.registry import RewardSpec

REASONS = 50  # kinds of reasons that are counted apart
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Report:
    """What one component did since it was built.

    Attributes:
        calls: responses it was asked about.
        scored: those it gave a value.
        unscored: reason -> responses it gave none; one reason a kind, details cut.
        left_out: responses it was not asked about, being optional where the data lack what it needs.
        cached: responses answered by an earlier verdict on the same content.
        seconds: of work; where processes work side by side their times are added.
    """

    calls: int = 0
    scored: int = 0
    unscored: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    cached: int = 0
    seconds: float = 0.0


class Component:
    """One reward with its weight.

    Args:
        name: in reports and parts.
        spec: the registered reward.
        weight: in the sum; 0 measures and adds nothing.
        optional: where a group lacks what the reward needs, its responses are scored without it.
        settings: of the reward, checked.
        context: what it is made with.
    """

    def __init__(
        self,
        name: str,
        spec: RewardSpec,
        weight: float,
        *,
        optional: bool = False,
        settings: Mapping[str, Any],
        context: RewardContext,
    ) -> None:
        self.name, self.spec, self.weight, self.optional, self.settings = name, spec, weight, optional, dict(settings)
        self.whole: Any = spec.fn(context, **self.settings) if spec.whole else None
        self.cached = spec.isolated or bool(getattr(self.whole, "pointwise", False))
        self.threaded = spec.whole and bool(getattr(self.whole, "threaded", True))
        self._digest = hashlib.sha256(pickle.dumps((spec.name, sorted(self.settings.items())))).digest()
        self._count: Counter[str] = Counter()
        self._unscored: Counter[str] = Counter()
        self._seconds = 0.0
        self.running: threading.Thread | None = None

    def lacks(self, group: Group) -> str | None:
        """What the reward needs and the group does not know; None where nothing lacks."""
        return next((key for key in self.spec.needs if group.meta.get(key) is None), None)

    def key(self, group: bytes, response: Response) -> bytes:
        """Digest of all that a verdict may depend on.

        Args:
            group: digest of the prompt and meta.
        """
        known = (response.truncated, len(response.logps or ()), response.steps, response.score, response.label)
        said = tuple((m.role, m.content) for m in response.messages)
        return hashlib.sha256(self._digest + group + pickle.dumps((said, known))).digest()

    def one(self, response: Response, group: Group) -> Verdict:
        """A function's verdict on one response, here and now. `group` comes without responses."""
        try:
            return verdict_of(self.spec.fn(response, group, **self.settings))
        except Exception as error:
            return crashed(error)

    def many(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """A class's verdicts on whole groups. Where it crashes it is asked about each group alone."""
        try:
            found = self.whole.score(groups)
            table = [[verdict_of(verdict) for verdict in row] for row in found]
            if [len(row) for row in table] != [len(group.responses) for group in groups]:
                raise ValueError("one verdict a response was asked for")
            return table
        except Exception as error:
            if len(groups) == 1:
                return [[crashed(error)] * len(groups[0].responses)]
            return [self.many([group])[0] for group in groups]

    def count(self, verdicts: Sequence[Verdict], *, cached: int, seconds: float) -> None:
        """Note what was found."""
        self._count["calls"] += len(verdicts)
        self._count["cached"] += cached
        self._seconds += seconds
        for verdict in verdicts:
            if verdict.value is None:
                kind = verdict.reason.partition(":")[0][:60]
                self._unscored[kind if kind in self._unscored or len(self._unscored) < REASONS else "other"] += 1

    def leave_out(self, number: int) -> None:
        """Note responses that were not asked about."""
        self._count["left_out"] += number

    def report(self) -> Report:
        """Counts since it was built."""
        calls, unscored = self._count["calls"], dict(self._unscored)
        scored = calls - sum(unscored.values())
        return Report(calls, scored, unscored, self._count["left_out"], self._count["cached"], self._seconds)

    def close(self) -> None:
        """Let go of what the reward holds."""
        close = getattr(self.whole, "close", None)
        if close is not None:
            close()


class Pending:
    """A call of `Component.many` in a thread of its own, which is left behind at the limit: threads cannot be ended.

    Args:
        component: whose class is called; while an earlier call has not come back it is not called again.
        groups: what it scores.
        limit: seconds.
    """

    def __init__(self, component: Component, groups: Sequence[Group], limit: float) -> None:
        self.component, self.groups, self.limit = component, groups, limit
        self.found: list[list[Verdict]] | None = None
        self.thread: threading.Thread | None = None
        if component.running is None or not component.running.is_alive():
            self.thread = component.running = threading.Thread(target=self._run, daemon=True)
            self.thread.start()

    def _run(self) -> None:
        self.found = self.component.many(self.groups)

    def get(self, waited: float) -> list[list[Verdict]]:
        """The verdicts, waited for until the limit.

        Args:
            waited: seconds that have passed already.
        """
        reason = "time limit: an earlier batch is still being scored"
        if self.thread is not None:
            self.thread.join(max(self.limit - waited, 0.0))
            reason = f"time limit: the batch was not scored within {self.limit:g} s"
        if self.found is not None:
            return self.found
        return [[Verdict(None, reason)] * len(group.responses) for group in self.groups]


def crashed(error: Exception) -> Verdict:
    """Not scored, because the reward raised an error."""
    return Verdict(None, f"crash: {type(error).__name__}: {error}"[:300])


def settings_of(spec: RewardSpec, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of a reward, checked against its signature, defaults filled in.

    Raises:
        ConfigError: an unknown setting (the nearest one is offered), a missing one, or a value that is refused.
    """
    model: type[Strict] = schema_of(spec.fn)
    known = tuple(model.model_fields)
    for key in given:
        if key not in known:
            told = ", ".join((*known, "weight", "kind", "optional"))
            raise ConfigError(
                f"reward '{spec.name}' has no setting '{key}'{nearest(key, known)}", where=where, fix=f"known: {told}"
            )
    try:
        # JSON is the strict mode in which a list fills a tuple and an integer a float, and nothing else converts.
        settings = model.model_validate_json(json.dumps(dict(given)), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        raise ConfigError(f"reward '{spec.name}': {place}: {message}", where=where) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"reward '{spec.name}': a setting is no plain value ({error})", where=where) from None
    values = {name: getattr(settings, name) for name in known}
    if spec.check is not None:
        spec.check(**values)
    return values


def without_responses(group: Group) -> Group:
    """The prompt and what is known of it."""
    return replace(group, responses=())
