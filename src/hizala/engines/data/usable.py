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


def reason_of(group: Group, shape: str) -> str:
    """Why a group by itself teaches nothing (a key of `WORDS`), or ""."""
    if shape == "pair":
        return _pair(group)
    if shape == "ranking":
        return _ranking(group)
    if shape == "steps" and not any(step.correct is not None for r in group.responses for step in r.steps):
        return "unmarked"
    return ""


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


def _pair(group: Group) -> str:
    first, second = group.responses
    margin = group.meta.get("margin")
    if first.messages == second.messages:
        return "identical-sides"
    if first.score is not None and second.score is not None and first.score <= second.score:
        return "tied" if first.score == second.score else "contradicting"
    return "contradicting" if isinstance(margin, int | float) and margin < 0 else ""


def _ranking(group: Group) -> str:
    if len(group.responses) < 2:
        return "too-short"
    if len({response.rank for response in group.responses}) < 2:
        return "tied"
    places: dict[Turns, int | None] = {}
    torn = any(places.setdefault(r.messages, r.rank) != r.rank for r in group.responses)
    return "contradicting" if torn else ""


def _pairs(groups: Sequence[Group]) -> Iterator[str]:
    keys = [(prompt_key(group), *(response.messages for response in group.responses)) for group in groups]
    orders = set(keys)
    for group, (prompt, chosen, rejected) in zip(groups, keys, strict=True):
        turned = chosen != rejected and (prompt, rejected, chosen) in orders
        yield "contradicting" if turned else _pair(group)


def _thumbs(groups: Sequence[Group]) -> Iterator[str]:
    labels: dict[tuple[str, Turns], set[bool | None]] = {}
    keys = [prompt_key(group) for group in groups]
    for group, key in zip(groups, keys, strict=True):
        for response in group.responses:
            labels.setdefault((key, response.messages), set()).add(response.label)
    for group, key in zip(groups, keys, strict=True):
        torn = any(len(labels[key, response.messages]) > 1 for response in group.responses)
        yield "contradicting" if torn else ""


def _alone(shape: str) -> Callable[[Sequence[Group]], Iterator[str]]:
    return lambda groups: (reason_of(group, shape) for group in groups)


_JUDGES: dict[str, Callable[[Sequence[Group]], Iterator[str]]] = {
    "pair": _pairs,
    "thumb": _thumbs,
    "ranking": _alone("ranking"),
    "steps": _alone("steps"),
}
