"""Mismatched examples: prompts with responses to other prompts, from which KTO estimates its reference point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hizala.errors import DataError
from hizala.records import TokenGroup

SUFFIX = "~mismatch"


def mismatched(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """Each group's prompt with the first response of the next group that has another prompt, round the end.

    The partner is fixed by the data, not by the batch, so that the reference log-probs of all of them can be
    measured once.

    Args:
        groups: of one part of the data (training, held out).
    Returns:
        One group a group, in order, of one response; ids end in `SUFFIX`.
    Raises:
        DataError: all groups have the same prompt.
    """
    keys = [tuple(group.prompt) for group in groups]
    out = []
    # The last group is compared with the first: going backwards, the next different prompt is known at once.
    following: dict[int, int] = {}
    for index in range(len(groups) - 1, -len(groups) - 1, -1):
        after = (index + 1) % len(groups)
        place = index % len(groups)
        if keys[after] != keys[place]:
            following[place] = after
        elif after in following:
            following[place] = following[after]
    for index, group in enumerate(groups):
        if index not in following:
            raise DataError(
                "all groups have the same prompt, so no response can be given to another one",
                where=group.id,
                fix="use data with at least two prompts, or a loss without a mismatched reference point",
            )
        response = groups[following[index]].responses[0]
        out.append(replace(group, responses=(response,), id=f"{group.id}{SUFFIX}", margin=None))
    return out
