"""What the losses ask for, measured for one forward: log-probs of the policy, stored columns beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hizala.core.logps import Pairs, SeqLogps
from hizala.errors import ConfigError, TrainError
from hizala.protocols import Policy, Tree
from hizala.records import TokenGroup
from hizala.registry import Loss

Column = Mapping[str, NDArray[np.floating]]
Columns = Mapping[str, Column]

# Columns that are log-probs of the same tokens under another distribution.
DISTRIBUTIONS = ("reference", "old", "sampler")


def arguments(values: Mapping[str, SeqLogps], loss: Loss) -> list[SeqLogps | Pairs]:
    """What a loss is called with: the values it names, as pairs where it takes pairs."""
    return [Pairs.of(values[name]) if loss.data == "pair" else values[name] for name in loss.measures]


def forward(policy: Policy, tree: Tree, names: Sequence[str], columns: Columns) -> dict[str, SeqLogps]:
    """Measure the names for one row of groups.

    Raises:
        ConfigError: a name cannot be measured.
        TrainError: a column is missing, lacks a group, or does not fit its tokens.
    """
    logps = policy.logps(tree)
    values = {"policy": logps}
    for name in names:
        if name in DISTRIBUTIONS:
            tokens = _column(columns, name, tree.groups, logps.tokens)
            values[name] = SeqLogps(tokens, logps.segments, logps.count)
        elif name != "policy":
            raise ConfigError(f"'{name}' cannot be measured on data that is already there")
    return values


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
def measure(policy: Policy, groups: Sequence[TokenGroup], token_budget: int) -> list[NDArray[np.float32]]:
    """Log-probs of the counted tokens of each group, without gradient.

    For the reference distribution of a policy with adapters, call it inside `policy.reference()`.

    Args:
        policy: measured as in evaluation (no dropout).
        groups: in any number.
        token_budget: tokens in one forward.
    Returns:
        One (N_g,) float32 array a group, nats, responses one after another.
    """
    training = policy.module.training
    policy.module.eval()
    try:
        out: list[NDArray[np.float32]] = []
        for tree in policy.pack(groups, token_budget):
            flat = policy.logps(tree).tokens.float().cpu().numpy()
            ends = np.cumsum([counted(group) for group in tree.groups])
            out.extend(part.copy() for part in np.split(flat, ends[:-1]))
        return out
    finally:
        policy.module.train(training)
