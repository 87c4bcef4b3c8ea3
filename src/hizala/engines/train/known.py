"""What the data say of responses and pairs, as tensors in the order of a forward's responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hizala.core.logps import Lists, Marks
from hizala.errors import TrainError, nearest
from hizala.records import TokenBranch, TokenGroup


def labels(groups: Sequence[TokenGroup]) -> Tensor:
    """(R,) bool thumbs. Raises TrainError for a response without one."""
    return torch.tensor(_of_each(groups, "thumb", lambda r: r.label), dtype=torch.bool)


def grades(groups: Sequence[TokenGroup]) -> Tensor:
    """(R,) float32 scores of the annotator. Raises TrainError for a response without one."""
    return torch.tensor(_of_each(groups, "score", lambda r: r.score), dtype=torch.float32)


def ranks(groups: Sequence[TokenGroup]) -> Lists:
    """Ranks of the responses of each group. Raises TrainError for a response without one."""
    rank = torch.tensor(_of_each(groups, "rank", lambda r: r.rank), dtype=torch.long)
    sizes = torch.tensor([len(group.responses) for group in groups], dtype=torch.long)
    return Lists(rank, torch.repeat_interleave(torch.arange(len(groups)), sizes))


def attributes(groups: Sequence[TokenGroup], names: Sequence[str]) -> Tensor:
    """(R, A) float32 grades of the named qualities, NaN where one is not known.

    Raises:
        TrainError: a response is graded for a quality that is not named, which would count without being trained on.
    """
    for group in groups:
        for response in group.responses:
            if odd := sorted(response.attributes.keys() - set(names)):
                raise TrainError(
                    f"a response is graded for '{odd[0]}', which is not trained on{nearest(odd[0], names)}",
                    where=f"group {group.id}",
                    fix=f"trained on: {', '.join(names)}",
                )
    rows = [[r.attributes.get(name, math.nan) for name in names] for group in groups for r in group.responses]
    return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(names))


def margins(groups: Sequence[TokenGroup]) -> Tensor:
    """(P,) float32, how strongly each pair's first response is preferred. Raises TrainError where it is not known."""
    for group in groups:
        if group.margin is None:
            raise TrainError(
                "a loss asks for the margin of a pair, but the pair has none",
                where=f"group {group.id}",
                fix="give each row a `margin`, or a score to both responses",
            )
    return torch.tensor([group.margin for group in groups], dtype=torch.float32)


def marks(groups: Sequence[TokenGroup]) -> Marks:
    """The marked steps of all responses."""
    responses = [response for group in groups for response in group.responses]
    correct = [right for response in responses for _, right in response.marks]
    segments = [index for index, response in enumerate(responses) for _ in response.marks]
    return Marks(torch.tensor(correct, dtype=torch.bool), torch.tensor(segments, dtype=torch.long))


def counted(groups: Sequence[TokenGroup]) -> tuple[Tensor, Tensor]:
    """(N,) int64 response of each counted token, and (R,) int64 counted tokens of each response."""
    count = torch.tensor([sum(map(bool, response.mask)) for group in groups for response in group.responses])
    return torch.repeat_interleave(torch.arange(len(count)), count), count


def _of_each(groups: Sequence[TokenGroup], what: str, read: Callable[[TokenBranch], Any]) -> list[Any]:
    values = []
    for group in groups:
        for response in group.responses:
            value = read(response)
            if value is None:
                raise TrainError(f"a loss asks for the {what} of each response, but one has none", where=group.id)
            values.append(value)
    return values
