"""What is known of responses, brought to their tokens: where marked steps end, how strongly a side is preferred."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from hizala.errors import DataError
from hizala.records import Group, Response, Step


def solid(text: str, hidden: str = "") -> list[int]:
    """Positions of the characters that are neither white space nor `hidden`."""
    return [i for i, c in enumerate(text) if not c.isspace() and c not in hidden]


def squeezed(text: str, hidden: str = "") -> str:
    """The text without white space and without the characters in `hidden`."""
    return "".join(c for c in text if not c.isspace() and c not in hidden)


def step_sizes(steps: Sequence[Step], text: str) -> list[int]:
    """For each step the solid characters of the text up to the step's end.

    White space between steps is layout: it may stand in the text, in the steps, or in neither.

    Raises:
        DataError: a step is empty, or the steps one after another are not the text.
    """
    whole, done, ends = squeezed(text), 0, []
    for number, step in enumerate(steps, 1):
        part = squeezed(step.text)
        if not part:
            raise DataError(f"step {number} of {len(steps)} is empty")
        if not whole.startswith(part, done):
            raise DataError(f"the steps do not make up the response: step {number} of {len(steps)} is not what follows")
        done += len(part)
        ends.append(done)
    if done != len(whole):
        raise DataError(f"the steps do not make up the response: {len(whole) - done} of its characters are in no step")
    return ends


def locate(
    response: Response, body: str, opened: str, spans: Sequence[tuple[int, int]], hidden: str
) -> list[tuple[int, bool]]:
    """(index of the token that holds the step's last character, the step is right) of each marked step.

    Args:
        response: of one assistant turn.
        body: how the template wrote that turn.
        opened: what stands before it; may hold the turn's first words.
        spans: (start, end) of each token of the body, in characters.
        hidden: characters of body and opened that are not the author's.
    Raises:
        DataError: the steps do not make up the response, or a step's end is not in the body.
    """
    if len(response.messages) != 1:
        raise DataError("steps can be marked in a response of one turn only")
    text = response.messages[0].content
    sizes, places = step_sizes(response.steps, text), solid(body, hidden)
    written, wanted = squeezed(body, hidden), squeezed(text)
    offset = written.find(wanted)
    if offset < 0:
        before = squeezed(opened, hidden)
        offset = (before + written).rfind(wanted) - len(before)
    starts = [start for start, _ in spans]
    marks = []
    for step, size in zip(response.steps, sizes, strict=True):
        at = offset + size - 1
        if step.correct is None:
            continue
        if not 0 <= at < len(places):
            raise DataError("the chat template takes a marked step out of the response")
        token = bisect_right(starts, places[at]) - 1
        if token < 0 or places[at] >= spans[token][1]:
            raise DataError("the tokenizer leaves out the end of a marked step")
        marks.append((token, step.correct))
    return marks


def margin_of(group: Group) -> float | None:
    """How strongly a pair's first response is preferred: the row's `margin`, else the difference of its scores.

    Raises:
        DataError: the margin is no number.
    """
    if len(group.responses) != 2 or [r.rank for r in group.responses] != [0, 1]:
        return None
    margin = group.meta.get("margin")
    if margin is None:
        chosen, rejected = (response.score for response in group.responses)
        return None if chosen is None or rejected is None else chosen - rejected
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not math.isfinite(margin):
        raise DataError("'margin' is not a finite number", where=group.id)
    return float(margin)
