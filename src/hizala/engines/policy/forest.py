"""Forest: groups packed into one row of tokens, each prompt once, its responses branching from it.

Positions restart at the prompt's end for every response. A response sees its prompt and itself, nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Row:
    """N tokens in a row: groups, each a prompt and the responses that branch from it.

    Attributes:
        spans: where each group stands.
        ids: (N,) tokens.
        positions: (N,) positions; each response continues its prompt.
    """

    spans: tuple[Span, ...]
    ids: Tensor
    positions: Tensor
    cache: dict[object, object] = field(default_factory=dict, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens in the row."""
        return int(self.ids.shape[0])

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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forest(Row):
    """A row of G groups with R responses in all, M of whose tokens are counted.

    Attributes:
        groups: the groups, in order.
        predictors: (M,) row index whose hidden state predicts a counted token.
        targets: (M,) the counted tokens.
        segments: (M,) the response each belongs to.
        count: (R,) counted tokens of each response.
        last: (R,) row index of each response's last token (its prompt's last token when it is empty).
        marks: (S,) row index of each marked step's last token, in the order of responses and steps.
    """

    groups: tuple[TokenGroup, ...]
    predictors: Tensor
    targets: Tensor
    segments: Tensor
    count: Tensor
    last: Tensor
    marks: Tensor

    @property
    def scored(self) -> int:
        """Counted tokens in the row."""
        return int(self.targets.shape[0])


class Focus(NamedTuple):
    """What there is to compute where the states of some rows only are asked for.

    Attributes:
        row: the tokens that are asked for or seen by one that is.
        rows: (K,) places in it that are asked for, ascending, each once.
        places: (M,) where each row that was asked for stands among `rows`.
    """

    row: Row
    rows: Tensor
    places: Tensor


def focus(tree: Row, rows: Tensor) -> Focus:
    """Leave out what no asked row sees: the ends of responses, and groups of which nothing is asked.

    Args:
        tree: a row of groups.
        rows: (M,) places in it, in any order, repeats allowed.
    """
    # Where nothing is asked for, one token is computed: what follows stays part of the graph.
    asked, places = torch.unique(rows if len(rows) else rows.new_zeros(1), return_inverse=True)
    wanted: list[int] = asked.tolist()
    spans, kept, start = [], [], 0

    def reach(first: int, stop: int) -> int:
        """Tokens of [first, stop) up to the last that is asked for."""
        found = bisect_left(wanted, stop) - 1
        return max(0, wanted[found] - first + 1) if found >= 0 else 0

    for span in tree.spans:
        at, lengths = span.start + span.prompt, []
        for n in span.responses:
            lengths.append(reach(at, at + n))
            at += n
        prompt = span.prompt if any(lengths) else reach(span.start, span.start + span.prompt)
        if not prompt:
            continue
        spans.append(Span(start, prompt, tuple(lengths)))
        start += spans[-1].tokens
        kept.append(torch.arange(span.start, span.start + prompt))
        at = span.start + span.prompt
        for n, length in zip(span.responses, lengths, strict=True):
            kept.append(torch.arange(at, at + length))
            at += n
    if start == tree.tokens:
        return Focus(tree, asked, places[: len(rows)])
    keep = torch.cat(kept).to(tree.ids.device)
    row = Row(spans=tuple(spans), ids=tree.ids[keep], positions=tree.positions[keep])
    return Focus(row, torch.searchsorted(keep, asked), places[: len(rows)])


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
