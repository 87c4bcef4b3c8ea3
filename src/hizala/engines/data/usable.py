"""Groups that say something: ties, contradictions and labels of one kind are found before training on them.

A group that prefers nothing (both sides the same, a tie) and groups whose labels contradict each other teach nothing
or noise. They are left out, and what was left out is counted and named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hizala.engines.data.convert import prompt_key
from hizala.errors import DataError
from hizala.records import Finding, Group, Message

_NAMED = 5
WORDS = {
    "identical-sides": "pairs whose chosen and rejected are the same",
    "tied": "groups whose responses are all tied",
    "contradicting": "groups whose labels contradict themselves or another group's",
    "too-short": "lists of fewer than two responses, which rank nothing",
    "unmarked": "groups without a marked step",
}
Turns = tuple[Message, ...]


def usable(groups: Sequence[Group], shape: str) -> tuple[list[Group], list[Finding]]:
    """The groups that can teach a method of that shape something, and one finding a reason for the others.

    Pairs: sides that differ, whose scores, where both are known, agree with the order, and that no other group of the
    same prompt turns round. Thumbs: responses that are not up and down for the same prompt. Rankings: at least two
    places, no response twice at different places. Steps: at least one marked step.

    Args:
        groups: what was read.
        shape: what they hold, one of `registry.DATA_SHAPES`; a shape without labels drops nothing.
    """
    judge = _JUDGES.get(shape)
    if judge is None:
        return list(groups), []
    reasons = list(judge(groups))
    findings = []
    for kind, words in WORDS.items():
        out = [group.id for group, reason in zip(groups, reasons, strict=True) if reason == kind]
        if out:
            findings.append(Finding(kind, "warning", words, ", ".join(out[:_NAMED]), len(out)))
    return [group for group, reason in zip(groups, reasons, strict=True) if not reason], findings


def require_both_thumbs(groups: Sequence[Group], where: str) -> None:
    """Refuse thumbs that all point one way: what is up is known only beside what is down.

    Raises:
        DataError: with the counts.
    """
    up = sum(response.label is True for group in groups for response in group.responses)
    down = sum(response.label is False for group in groups for response in group.responses)
    if up and down:
        return
    raise DataError(
        f"all thumbs point one way: {up} up, {down} down",
        where=where,
        fix="add responses with the other thumb, or train on the good ones with sft",
    )


def _pairs(groups: Sequence[Group]) -> Iterator[str]:
    orders: set[tuple[str, Turns, Turns]] = set()
    keys = []
    for group in groups:
        chosen, rejected = (response.messages for response in group.responses)
        keys.append((prompt_key(group), chosen, rejected))
        orders.add(keys[-1])
    for group, (prompt, chosen, rejected) in zip(groups, keys, strict=True):
        scores = [response.score for response in group.responses]
        margin = group.meta.get("margin")
        if chosen == rejected:
            yield "identical-sides"
        elif (prompt, rejected, chosen) in orders:
            yield "contradicting"
        elif scores[0] is not None and scores[1] is not None and scores[0] <= scores[1]:
            yield "tied" if scores[0] == scores[1] else "contradicting"
        elif isinstance(margin, int | float) and margin < 0:
            yield "contradicting"
        else:
            yield ""


def _thumbs(groups: Sequence[Group]) -> Iterator[str]:
    labels: dict[tuple[str, Turns], set[bool | None]] = {}
    keys = [prompt_key(group) for group in groups]
    for group, key in zip(groups, keys, strict=True):
        for response in group.responses:
            labels.setdefault((key, response.messages), set()).add(response.label)
    for group, key in zip(groups, keys, strict=True):
        torn = any(len(labels[key, response.messages]) > 1 for response in group.responses)
        yield "contradicting" if torn else ""


def _rankings(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        places: dict[Turns, set[int | None]] = {}
        for response in group.responses:
            places.setdefault(response.messages, set()).add(response.rank)
        if len(group.responses) < 2:
            yield "too-short"
        elif len({response.rank for response in group.responses}) < 2:
            yield "tied"
        else:
            yield "contradicting" if any(len(ranks) > 1 for ranks in places.values()) else ""


def _steps(groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        marked = any(step.correct is not None for response in group.responses for step in response.steps)
        yield "" if marked else "unmarked"


_JUDGES: dict[str, Callable[[Sequence[Group]], Iterator[str]]] = {
    "pair": _pairs,
    "thumb": _thumbs,
    "ranking": _rankings,
    "steps": _steps,
}
