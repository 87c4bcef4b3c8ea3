"""Metrics of a batch that is measured in parts: sums and counts, brought together once at the end of the step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hizala.core.kl import k3
from hizala.core.logps import Terms
from hizala.core.reduce import Layout
from hizala.engines.train.measuring import Measured
from hizala.engines.train.objective import Objective
from hizala.engines.train.world import World
from hizala.errors import TrainError


class Tally:
    """Sums of metrics over the parts of a batch, kept on the device; read once."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}
        self._peaks: dict[str, float] = {}

    def add(self, name: str, values: Tensor, *, count: float | None = None, live: bool = True) -> None:
        """Add values to a metric's sum, and their number (or `count`) to its count; a part that is not live adds 0."""
        total = values.detach().double().sum() if live else torch.zeros((), dtype=torch.float64, device=values.device)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        number = (values.numel() if count is None else count) if live else 0.0
        self._counts[name] = self._counts.get(name, 0.0) + number

    def compare(self, gap: Tensor, *, live: bool = True) -> None:
        """Add how far the trainer's log-probs are from the sampler's: (N,) nats, log old - log sampler."""
        gap = gap.detach().double()
        weight = gap.exp()
        self.add("mismatch/mean", gap.abs(), live=live)
        self.add("mismatch/kl", k3(torch.zeros_like(gap), gap), live=live)
        self.add("mismatch/weight", weight, live=live)
        self.add("mismatch/ess", weight.square(), live=live)
        if live and gap.numel():
            self._peaks["mismatch/max"] = max(self._peaks.get("mismatch/max", 0.0), float(gap.abs().max()))

    def peaks(self, world: World) -> dict[str, float]:
        """Metrics of which the largest value counts, over all processes."""
        found = world.gather(self._peaks) if world.size > 1 else [self._peaks]
        return {name: max(p.get(name, 0.0) for p in found) for name in sorted({n for p in found for n in p})}

    def read(self, world: World) -> tuple[dict[str, float], dict[str, float]]:
        """(sums, counts) over all processes: one transfer, one collective."""
        names = list(self._sums)
        sums = torch.stack([self._sums[name] for name in names])
        counts = torch.tensor([self._counts[name] for name in names], dtype=torch.float64, device=sums.device)
        both = world.add(torch.cat([sums, counts])).tolist()
        return dict(zip(names, both[: len(names)], strict=True)), dict(zip(names, both[len(names) :], strict=True))


def per_group(
    layout: Layout, objective: Objective, terms: list[Terms], measured: Measured
) -> dict[str, NDArray[np.float64]]:
    """Each metric as one value a group: the mean over the group's units; NaN for a group without any.

    Args:
        layout: of the groups that were measured.
        objective: whose parts gave the terms, in order.
        terms: of each part.
        measured: what they were made from.
    Returns:
        metric -> (G,).
    """
    rows = {}
    total = np.zeros(len(layout.size))
    for part, of in zip(objective.parts, terms, strict=True):
        name = part.loss.name
        rows[f"{name}/loss"] = _group_mean(layout, of.loss, of, name)
        total = total + part.weight * rows[f"{name}/loss"]
        for metric, metric_values in of.metrics.items():
            rows[f"{name}/{metric}"] = _group_mean(layout, metric_values, of, name)
    away = measured.distance
    if away is not None:
        segments = measured.values["policy"].segments.cpu().numpy()
        rows["kl"] = _mean(away, _response_group(layout)[segments], len(layout.size))
    return {"loss": total} | rows


def _group_mean(layout: Layout, values: Tensor, terms: Terms, name: str) -> NDArray[np.float64]:
    """Mean within each group of values that stand one a unit, one a response or one a group."""
    of_response = _response_group(layout)
    if terms.segments is not None and values.shape == terms.loss.shape:
        segments = terms.segments.cpu().numpy()
        index = segments if terms.unit == "chosen_token" else of_response[segments]
    elif len(values) == len(layout.size):
        index = np.arange(len(values))
    elif len(values) == len(of_response):
        index = of_response
    else:
        raise TrainError(f"loss '{name}' returned {len(values)} values for {len(layout.size)} groups")
    return _mean(values, index, len(layout.size))


def _response_group(layout: Layout) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(layout.size)), layout.size)


def _mean(values: Tensor, index: NDArray[np.int64], groups: int) -> NDArray[np.float64]:
    sums = np.bincount(index, weights=values.detach().double().cpu().numpy(), minlength=groups)
    counts = np.bincount(index, minlength=groups)
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
