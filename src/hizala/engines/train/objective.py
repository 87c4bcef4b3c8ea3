"""What a step minimises: the losses of one row of the table with their weights, parameters and reductions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hizala.algorithms import Algorithm
from hizala.core import losses as _registered  # noqa: F401  importing registers every loss
from hizala.core.logps import Terms
from hizala.core.reduce import REDUCTIONS, Layout, check_reduction, denominator
from hizala.engines.train.settings import check_bound
from hizala.errors import ConfigError, TrainError, nearest
from hizala.registry import MEASURED, Bound, Loss, losses


@dataclass(frozen=True, slots=True)
class Part:
    """One loss of an objective.

    Attributes:
        loss: the registered loss.
        weight: > 0, what its reduced value is multiplied by.
        call: the loss with its parameters filled in; takes what it measures, in order.
        reduction: what its terms are averaged over, or None for their own unit.
        params: every keyword-only parameter with its value.
    """

    loss: Loss
    weight: float
    call: Callable[..., Terms]
    reduction: str | None
    params: Mapping[str, Any]

    def reduction_of(self, terms: Terms) -> str:
        """The reduction that applies to these terms: the chosen one where their unit allows it."""
        allowed = REDUCTIONS.get(terms.unit, ())
        if self.reduction in allowed:
            return str(self.reduction)
        chosen = allowed[0] if allowed else terms.unit
        check_reduction(terms.unit, chosen)
        return chosen


@dataclass(frozen=True, slots=True)
class Objective:
    """The losses that one step minimises.

    Attributes:
        name: of the row it came from.
        data: what each group must hold.
        parts: losses with weight > 0.
        measures: union of what they ask to be measured, in the order of `registry.MEASURED`.
        length: tokens that reduction "fixed" counts for each response.
    """

    name: str
    data: str
    parts: tuple[Part, ...]
    measures: tuple[str, ...]
    length: int = 1

    @classmethod
    def of(
        cls,
        row: Algorithm,
        params: Mapping[str, Any] | None = None,
        *,
        weights: Mapping[str, float] | None = None,
        reduction: str | None = None,
        length: int | None = None,
    ) -> Objective:
        """Build an objective from a row of the table.

        Args:
            row: the algorithm.
            params: values for the losses' keyword-only parameters; those left out keep their defaults.
            weights: replace the row's weights by loss name; 0 switches a loss off.
            reduction: what token losses are averaged over, "token", "response" or "fixed"; default: the loss's own
                unit.
            length: tokens that "fixed" counts for each response, given with it and with it alone.
        Raises:
            ConfigError: a name is unknown, a value out of bounds, or a value that has no effect.
        """
        params, weights = params or {}, weights or {}
        for name in weights:
            if name not in row.losses:
                raise ConfigError(f"'{row.name}' has no loss '{name}'{nearest(name, row.losses)}")
        active = {name: weights.get(name, weight) for name, weight in row.losses.items()}
        for name, weight in active.items():
            check_bound(f"weight of loss '{name}'", weight, Bound(ge=0))
        if not any(active.values()):
            raise ConfigError(f"every loss of '{row.name}' has weight 0", fix="give one a weight")
        owners = {parameter: name for name in row.losses for parameter in parameters(losses.get(name))}
        owners |= {parameter: name for name in row.losses if active[name] for parameter in parameters(losses.get(name))}
        for name, value in params.items():
            _check_parameter(row, name, value, owners, active)
        parts = tuple(
            _part(losses.get(name), weight, params, reduction) for name, weight in active.items() if weight > 0
        )
        for part in parts:
            if part.loss.data != row.data:
                raise ConfigError(f"loss '{part.loss.name}' takes {part.loss.data} data, '{row.name}' {row.data}")
        _check_reduction(row, parts, reduction)
        if (reduction == "fixed") != (length is not None):
            raise ConfigError("reduction 'fixed' and a length go together", fix="give both or neither")
        return cls(row.name, row.data, parts, _measures(parts), length or 1)

    @classmethod
    def mixture(
        cls, name: str, losses_of: Mapping[str, Mapping[str, Any]], *, reduction: str | None = None
    ) -> Objective:
        """A weighted sum of losses that take the same data, each with parameters of its own.

        Args:
            name: of the objective.
            losses_of: loss name -> its `weight` (1 when not given) and parameters.
            reduction: as in `of`.
        Raises:
            ConfigError: no loss, losses of different data, or what `of` refuses.
        """
        if not losses_of:
            raise ConfigError(f"'{name}' mixes no losses", fix="give `losses: {dpo: {weight: 1.0}}`")
        kinds = {loss: losses.get(loss).data for loss in losses_of}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{loss} takes {kind} data" for loss, kind in kinds.items())
            raise ConfigError(f"losses of different data cannot be mixed: {told}", fix="mix losses of one kind")
        data = next(iter(kinds.values()))
        single = []
        for loss, given in losses_of.items():
            row = Algorithm(name, data, {loss: 1.0}, "", "")
            params = {key: value for key, value in given.items() if key != "weight"}
            weights = {loss: given["weight"]} if "weight" in given else {}
            single.append(cls.of(row, params, weights=weights))
        parts = tuple(part for objective in single for part in objective.parts)
        _check_reduction(Algorithm(name, data, {}, "", ""), parts, reduction)
        parts = tuple(replace(part, reduction=reduction) for part in parts)
        return cls(name, data, parts, _measures(parts))

    def denominators(self, layout: Layout) -> Callable[[Part, Terms], float]:
        """Denominators of the whole batch, for each part when its terms are known."""
        known: dict[tuple[str, str], float] = {}

        def of(part: Part, terms: Terms) -> float:
            key = (terms.unit, part.reduction_of(terms))
            if key not in known:
                known[key] = denominator(layout, *key, self.length)
            return known[key]

        return of

    def check_split(self, parts: int) -> None:
        """Raise TrainError when a batch is split into several forwards and a loss couples its groups."""
        coupled = [part.loss.name for part in self.parts if not part.loss.separable]
        if parts > 1 and coupled:
            raise TrainError(
                f"loss '{coupled[0]}' couples the groups of a batch, which was to be split into {parts} forwards",
                fix="raise token_budget or lower batch_size so that a batch is one forward, on one process",
            )


def parameters(loss: Loss) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a loss: its configuration."""
    return {n: p for n, p in inspect.signature(loss.fn).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _part(loss: Loss, weight: float, params: Mapping[str, Any], reduction: str | None) -> Part:
    values = {name: params.get(name, parameter.default) for name, parameter in parameters(loss).items()}
    return Part(loss, float(weight), partial(loss.fn, **values), reduction, values)


def _measures(parts: tuple[Part, ...]) -> tuple[str, ...]:
    """What the losses ask for together, in the order of the vocabulary."""
    wanted = {name for part in parts for name in part.loss.measures}
    return tuple(name for name in MEASURED if name in wanted)


def _check_parameter(
    row: Algorithm, name: str, value: Any, owners: Mapping[str, str], active: Mapping[str, float]
) -> None:
    if name not in owners:
        known = ", ".join(sorted(owners)) or "none"
        raise ConfigError(f"'{row.name}' has no parameter '{name}'{nearest(name, owners)}", fix=f"known: {known}")
    loss = losses.get(owners[name])
    if not active[loss.name] and value != parameters(loss)[name].default:
        raise ConfigError(
            f"{name} has no effect: it belongs to loss '{loss.name}', whose weight is 0",
            fix=f"remove it, or give '{loss.name}' a weight",
        )
    hint = get_type_hints(loss.fn, include_extras=True)[name]
    if get_origin(hint) is Annotated and isinstance(value, int | float):
        for bound in get_args(hint)[1:]:
            if isinstance(bound, Bound):
                check_bound(name, value, bound)


def _check_reduction(row: Algorithm, parts: tuple[Part, ...], reduction: str | None) -> None:
    if reduction is None:
        return
    units = [part.loss.unit for part in parts]
    if not any(reduction in REDUCTIONS[unit] for unit in units):
        raise ConfigError(
            f"reduction '{reduction}' has no effect: the losses of '{row.name}' count {', '.join(sorted(set(units)))}",
            fix="remove it",
        )
