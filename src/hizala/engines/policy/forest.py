"""Forest: groups packed into one row of tokens, each prompt once, its responses branching from it.

Positions restart at the prompt's end for every response. A response sees its prompt and itself, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from hizala.errors import DataError
from hizala.records import TokenBranch, TokenGroup


@dataclass(frozen=True, slots=True)
class Span:
    """Where a group stands in the row: first token, prompt length, length of each response."""

    start: int
    prompt: int
    responses: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of the group."""
        return self.prompt + sum(self.responses)


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """A row of N tokens holding G groups with R responses in all, M of whose tokens are counted.

    Attributes:
        groups: the groups, in order.
        spans: where each stands.
        ids: (N,) tokens.
        positions: (N,) positions; each response continues its prompt.
        predictors: (M,) row index whose hidden state predicts a counted token.
        targets: (M,) the counted tokens.
        segments: (M,) the response each belongs to.
        count: (R,) counted tokens of each response.
        last: (R,) row index of each response's last token (its prompt's last token when it is empty).
        marks: (S,) row index of each marked step's last token, in the order of responses and steps.
    """

    groups: tuple[TokenGroup, ...]
    spans: tuple[Span, ...]
    ids: Tensor
    positions: Tensor
    predictors: Tensor
    targets: Tensor
    segments: Tensor
    count: Tensor
    last: Tensor
    marks: Tensor
    cache: dict[object, object] = field(default_factory=dict, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens in the row."""
        return int(self.ids.shape[0])

    @property
    def scored(self) -> int:
        """Counted tokens in the row."""
        return int(self.targets.shape[0])

    def branches(self) -> tuple[Tensor, Tensor]:
        """(N,) group of each token and (N,) branch: 0 for a prompt, 1.. for the responses of its group."""
        group, branch = [], []
        for g, span in enumerate(self.spans):
            group += [g] * span.tokens
            branch += [0] * span.prompt
            for b, n in enumerate(span.responses):
                branch += [b + 1] * n
        device = self.ids.device
        return torch.tensor(group, device=device), torch.tensor(branch, device=device)


def pack(
    groups: Sequence[TokenGroup], token_budget: int, device: str | torch.device = "cpu", *, sharing: bool = True
) -> list[Forest]:
    """Whole groups in order, in rows of at most `token_budget` tokens; a group larger than that stands alone.

    Without sharing, every response brings a copy of its prompt; nothing else changes.
    """
    rows: list[list[TokenGroup]] = []
    held = 0
    for group in groups:
        size = group.tokens + (0 if sharing else len(group.prompt) * max(0, len(group.responses) - 1))
        if not rows or held + size > token_budget:
            rows.append([])
            held = 0
        rows[-1].append(group)
        held += size
    return [plant(row, device, sharing=sharing) for row in rows]


def plant(groups: Sequence[TokenGroup], device: str | torch.device = "cpu", *, sharing: bool = True) -> Forest:
    """One row of these groups.

    Raises:
        DataError: a prompt is empty (nothing would predict a response's first token), or a mask has another length.
    """
    ids: list[int] = []
    positions: list[int] = []
    predictors: list[int] = []
    targets: list[int] = []
    segments: list[int] = []
    count: list[int] = []
    last: list[int] = []
    marks: list[int] = []
    spans: list[Span] = []
    for group, responses in _trees(groups, sharing):
        start, prompt = len(ids), len(group.prompt)
        if prompt == 0:
            raise DataError("a prompt has no tokens", where=group.id, fix="give every prompt at least one token")
        ids += group.prompt
        positions += range(prompt)
        for response in responses:
            first, n = len(ids), len(response.ids)
            if len(response.mask) != n:
                raise DataError(f"a mask has {len(response.mask)} marks for {n} tokens", where=group.id)
            ids += response.ids
            positions += range(prompt, prompt + n)
            marked = [i for i, counts in enumerate(response.mask) if counts]
            predictors += [first + i - 1 if i else start + prompt - 1 for i in marked]
            targets += [response.ids[i] for i in marked]
            segments += [len(count)] * len(marked)
            count.append(len(marked))
            last.append(first + n - 1 if n else start + prompt - 1)
            marks += [first + index for index, _ in response.marks]
        spans.append(Span(start, prompt, tuple(len(r.ids) for r in responses)))

    def row(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long).to(device)

    return Forest(
        groups=tuple(groups),
        spans=tuple(spans),
        ids=row(ids),
        positions=row(positions),
        predictors=row(predictors),
        targets=row(targets),
        segments=row(segments),
        count=row(count),
        last=row(last),
        marks=row(marks),
    )


def _trees(groups: Sequence[TokenGroup], sharing: bool) -> Iterator[tuple[TokenGroup, tuple[TokenBranch, ...]]]:
    """Prompts with the responses that branch from them: all of a group's, or one by one."""
    for group in groups:
        if sharing or not group.responses:
            yield group, group.responses
        else:
            yield from ((group, (response,)) for response in group.responses)
