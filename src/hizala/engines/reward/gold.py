"""The embedded world's true reward."""

from __future__ import annotations

from hizala import world
from hizala.engines.reward.base import last_turn
from hizala.records import Group, Response, Verdict
from hizala.registry import reward


@reward(
    "gold",
    needs=("task", "lang", "truth"),
    summary="the embedded world's own checker: what a response is truly worth, in [0, 1]",
    isolated=False,
)
def gold(response: Response, group: Group) -> Verdict:
    """The true reward of a response to a prompt of the embedded world; see `world.gold`.

    Returns:
        Verdict: value in [0, 1], parts named by the task. Every text is scored; longer than any right answer is 0. Of
            several turns the last is the answer.
    """
    return world.gold(group, last_turn(response))
