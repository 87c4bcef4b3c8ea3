"""A penalty of repetition."""

from __future__ import annotations

import re
from typing import Annotated

from hizala.core.detect.language import fold
from hizala.records import Group, Response, Verdict
from hizala.registry import Bound, reward

# Words are cut into pieces of eight letters, so that one endless word repeats itself too; signs count each.
_PIECE = re.compile(r"\w{1,8}|[^\w\s]")


@reward("repetition", summary="minus the share of repeated n-grams, in [-1, 0]", isolated=False)
def repetition(
    response: Response,
    group: Group,
    *,
    n: Annotated[int, Bound(ge=1, le=100)] = 4,
    free: Annotated[float, Bound(ge=0, lt=1)] = 0.0,
) -> Verdict:
    """Minus the share of a response's n-grams that stand in it already.

    share = 1 - different n-grams / n-grams,  value = -max(0, share - free) / (1 - free)

    Args:
        n: words in a gram; words longer than eight letters count as several, signs as words.
        free: share that costs nothing.
    Returns:
        Verdict: in [-1, 0]; 0 for a response shorter than n.
    Source: Yeo et al. 2025, arXiv:2502.03373, the n-gram repetition penalty; there of each token, here of the whole.
    Differs: open-r1 splits at blanks, so that an endless run without one costs nothing.
    """
    pieces = _PIECE.findall(fold(response.text))
    total = len(pieces) - n + 1
    if total <= 0:
        return Verdict(0.0)
    different = len(set(zip(*(pieces[i:] for i in range(n)), strict=False)))
    share = 1 - different / total
    return Verdict(-max(0.0, share - free) / (1 - free))
