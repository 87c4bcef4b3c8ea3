"""What the losses ask for, measured for one forward: log-probs of the policy, stored columns beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hizala.core.distribution import Distribution
from hizala.core.kl import k2
from hizala.core.logps import Pairs, SeqLogps
from hizala.engines.train import known
from hizala.engines.train.objective import Part
from hizala.errors import ConfigError, TrainError
from hizala.protocols import Policy, Tree
from hizala.records import TokenGroup

Column = Mapping[str, NDArray[np.floating]]
Columns = Mapping[str, Column]

# Log-probs of the same tokens under another distribution: stored columns, or for the reference a live policy.
DISTRIBUTIONS = ("reference", "old", "sampler")
# What one forward of the policy gives beside its log-probs.
OUTPUTS = ("policy", "entropy", "outside", "collision", "divergence", "values", "scores", "step_scores")
PER_TOKEN = ("policy", "entropy", "values", "collision", "divergence")
# One stored value a counted token, given as it is.
STORED = ("advantages", "old_values", "returns")
ANNOTATIONS: Mapping[str, Callable[[Sequence[TokenGroup]], Any]] = {
    "labels": known.labels,
    "grades": known.grades,
    "ranks": known.ranks,
    "margins": known.margins,
    "marks": known.marks,
}
# Known of a whole batch, not of one forward.
BATCH = ("mismatch", "running")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the losses asked for, of one forward.

    Attributes:
        groups: that were measured.
        values: name -> what the losses are given under it, of groups as they stand in the forward.
    """

    groups: Sequence[TokenGroup]
    values: Mapping[str, Any]

    def arguments(self, part: Part, running: Mapping[str, float]) -> list[Any]:
        """What a loss is called with, in the order of its parameters; as pairs where it takes pairs."""
        return [self._argument(name, part, running) for name in part.loss.measures]

    def _argument(self, name: str, part: Part, running: Mapping[str, float]) -> Any:
        if name == "running":
            return running
        if name == "attributes":
            table = known.attributes(self.groups, part.params["names"])
            return table.to(self.values["scores"].device) if "scores" in self.values else table
        value = self.values[name]
        if part.loss.data != "pair":
            return value
        if isinstance(value, SeqLogps):
            return Pairs.of(value)
        return value.unflatten(0, (-1, 2)) if name == "scores" else value

    @property
    def gap(self) -> Tensor | None:
        """(N,) nats, log old - log sampler at each counted token; None where the sampler's are not known."""
        if "sampler" not in self.values:
            return None
        old: SeqLogps = self.values.get("old", self.values["policy"])
        sampler: SeqLogps = self.values["sampler"]
        return old.tokens.detach() - sampler.tokens

    @property
    def distance(self) -> Tensor | None:
        """(N,) nats, how far the policy is from the reference at each counted token; None without both."""
        if not {"policy", "reference"} <= self.values.keys():
            return None
        return k2(self.values["policy"].tokens.detach(), self.values["reference"].tokens.detach())


def forward(
    policy: Policy,
    tree: Tree,
    names: Sequence[str],
    columns: Columns,
    *,
    reference: Policy | None = None,
    mismatch: Tensor | None = None,
    distribution: Distribution | None = None,
) -> Measured:
    """Measure the names for one row of groups.

    Args:
        policy: what is trained.
        tree: the row.
        names: of `registry.MEASURED`.
        columns: log-probs measured before.
        reference: a live reference, used instead of the stored column.
        mismatch: what was measured of the whole batch, where a loss asks for it.
        distribution: what log-probs and entropy are of, where responses were not sampled from the plain softmax.
    Returns:
        What was measured. Without a column `old`, old log-probs are the policy's own: those of the weights as they
        stand. A column `sampler` is compared with the old ones, whether a loss asks for it or not.
    Raises:
        ConfigError: a name cannot be measured.
        TrainError: a column is missing, lacks a group, or does not fit its tokens; a response lacks what is asked for.
    """
    wanted = [name for name in OUTPUTS if name in names]
    if "old" in names and "old" not in columns and "policy" not in wanted:
        wanted.insert(0, "policy")
    if distribution is not None and distribution.truncates and "policy" in wanted and "outside" not in wanted:
        wanted.append("outside")
    values: dict[str, Any] = (
        {"policy": policy.logps(tree, distribution=distribution)}
        if wanted == ["policy"]
        else policy.outputs(tree, wanted, reference=reference, distribution=distribution)
    )
    device = next(policy.module.parameters()).device
    for name in names:
        if name == "reference" and reference is not None:
            with torch.no_grad():
                values[name] = reference.logps(tree, distribution=distribution)
        elif name == "old" and name not in columns:
            # Nothing was trained since the responses were sampled: the policy itself is the one that sampled.
            values[name] = values["policy"].detach()
        elif name in DISTRIBUTIONS:
            values[name] = _stored_logps(columns, name, tree.groups, values)
        elif name in STORED:
            values[name] = _column(columns, name, tree.groups, _like(values))
        elif name in ANNOTATIONS:
            values[name] = _moved(ANNOTATIONS[name](tree.groups), device)
        elif name == "mismatch":
            values[name] = mismatch
        elif name not in OUTPUTS and name not in ("running", "attributes"):
            raise ConfigError(f"'{name}' cannot be measured on data that is already there")
    if "sampler" in columns and "sampler" not in values and "policy" in values:
        values["sampler"] = _stored_logps(columns, "sampler", tree.groups, values)
    return Measured(tree.groups, values)


def _like(values: Mapping[str, Any]) -> Tensor:
    """(N,) something measured of each counted token, whose type and device a stored column takes."""
    value = next(values[name] for name in (*PER_TOKEN, *DISTRIBUTIONS, *STORED) if name in values)
    return value.tokens if isinstance(value, SeqLogps) else value


def _stored_logps(columns: Columns, name: str, groups: Sequence[TokenGroup], values: Mapping[str, Any]) -> SeqLogps:
    """A stored column with the responses its tokens belong to. No policy need be measured for it."""
    like = _like(values)
    segments, count = (part.to(like.device) for part in known.counted(groups))
    return SeqLogps(_column(columns, name, groups, like), segments, count)


def _moved(value: Any, device: torch.device) -> Any:
    """An annotation on the device of the policy."""
    if isinstance(value, Tensor):
        return value.to(device)
    return type(value)(*(getattr(value, name).to(device) for name in value.__slots__))


@torch.no_grad()
def log_ratios(
    policy: Policy, groups: Sequence[TokenGroup], columns: Columns, token_budget: int, reference: Policy | None
) -> tuple[float, int]:
    """Sum over the responses of log pi - log ref, nats, and how many responses; without gradient."""
    total, count = 0.0, 0
    for tree in policy.pack(groups, token_budget):
        values = forward(policy, tree, ("policy", "reference"), columns, reference=reference).values
        total += float((values["policy"].total - values["reference"].total).double().sum())
        count += len(values["policy"].count)
    return total, count


def counted(group: TokenGroup) -> int:
    """Tokens of a group that count for the loss."""
    return sum(sum(map(bool, response.mask)) for response in group.responses)


def _column(columns: Columns, name: str, groups: Sequence[TokenGroup], like: Tensor) -> Tensor:
    if name not in columns:
        raise TrainError(f"a loss asks for '{name}', but no such column was given", fix=f"measure '{name}' first")
    column = columns[name]
    try:
        parts = [column[group.id] for group in groups]
    except KeyError as error:
        raise TrainError(f"column '{name}' has no group {error}", fix=f"measure '{name}' on the same data") from None
    flat = np.concatenate(parts)
    if flat.shape != tuple(like.shape):
        for group, part in zip(groups, parts, strict=True):
            if len(part) != counted(group):
                raise TrainError(
                    f"column '{name}' has {len(part)} values for {counted(group)} counted tokens",
                    where=f"group {group.id}",
                    fix=f"measure '{name}' again on the same tokens",
                )
    return torch.from_numpy(flat).to(like.device, like.dtype)


@torch.no_grad()
def measure(
    policy: Policy, groups: Sequence[TokenGroup], token_budget: int, *, distribution: Distribution | None = None
) -> list[NDArray[np.float32]]:
    """Log-probs of the counted tokens of each group, without gradient.

    For the reference distribution of a policy with adapters, call it inside `policy.reference()`.

    Args:
        policy: measured as in evaluation (no dropout).
        groups: in any number.
        token_budget: tokens in one forward.
        distribution: see `forward`.
    Returns:
        One (N_g,) float32 array a group, nats, responses one after another.
    """
    return measure_all(policy, groups, ("policy",), token_budget, distribution=distribution)["policy"]


@torch.no_grad()
def measure_all(
    policy: Policy,
    groups: Sequence[TokenGroup],
    names: Sequence[str],
    token_budget: int,
    *,
    distribution: Distribution | None = None,
) -> dict[str, list[NDArray[np.float32]]]:
    """Several things of the counted tokens of each group in one forward, without gradient.

    Args:
        policy, groups, token_budget, distribution: as for `measure`.
        names: of policy (log-probs), entropy, outside (1 where a token is one the distribution cuts off), values.
    Returns:
        name -> one (N_g,) float32 array a group, responses one after another.
    """
    training = policy.module.training
    policy.module.eval()
    out: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    try:
        for tree in policy.pack(groups, token_budget):
            found = forward(policy, tree, names, {}, distribution=distribution).values
            ends = np.cumsum([counted(group) for group in tree.groups])
            for name in names:
                value = found[name]
                flat = (value.tokens if isinstance(value, SeqLogps) else value).float().cpu().numpy()
                out[name].extend(part.copy() for part in np.split(flat, ends[:-1]))
        return out
    finally:
        policy.module.train(training)
