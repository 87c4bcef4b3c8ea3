"""The final answer of a response: where it stands, and whether it is one. Linear in the text's length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hizala.records import Group, Response

LONGEST = 400  # characters of an answer
ECHO = 20  # a prompt of so many characters is recognised when it is repeated
_OPEN, _CLOSE = "<think>", "</think>"
_TAG_OPEN, _TAG_CLOSE = "<answer>", "</answer>"
_BRACES = re.compile(r"\\(?:boxed|fbox)[ \t]*\{|\\[{}]|[{}]")
_HASH = re.compile(r"^[ \t]*#{4}(?!#)[ \t]*(?=\S)", re.MULTILINE)
_EMPHASIS = r"[*_`]{0,3}"
_LABEL = re.compile(
    rf"^[ \t>*_`#-]{{0,12}}(?:(?:my |the )?final )?(?:nihai |son )?(?:answer|cevap|cevab[ıi]|yan[ıi]t)[ \t]{{0,4}}"
    rf"{_EMPHASIS}[ \t]{{0,4}}[:：=][ \t]*{_EMPHASIS}[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
# On the last line alone: above it may stand the choices A, B, C.
_SHORT = re.compile(r"[ \t]*A[ \t]{0,4}:[ \t]*(?=\S)")
_RESULT = re.compile(
    rf"^[ \t>*_`#-]{{0,12}}(?:final )?(?:result|sonuç|sonuc)[ \t]{{0,4}}{_EMPHASIS}[ \t]{{0,4}}[:：=]"
    rf"[ \t]*{_EMPHASIS}[ \t]*",
    re.MULTILINE | re.IGNORECASE,
)
_SAID = re.compile(
    r"\b(?:the (?:final |correct )?answer is|answer[ \t]*:|(?:doğru |son )?cevap[ \t]*:?|(?:doğru |son )?yanıt[ \t]*:?)"
    r"[ \t]*:?[ \t]*",
    re.IGNORECASE,
)
_LAST = re.compile(r"-?[0-9][0-9.,]*(?:/[0-9]+)?(?:[ \t]?%)?")
_SENTENCE_END = re.compile(r"[.!?](?=\s+[^\W\d_]|\s*$)|\n")


@dataclass(frozen=True, slots=True)
class Claim:
    """A place where a response says what its answer is.

    Attributes:
        kind: "tag" (<answer>), "box", "hash" (####), "label" (Answer:, Cevap:), "said" (the answer is), "bare".
        text: what is claimed.
        end: where it ends in the text that is looked at.
        closed: its own end is marked, so that a cut would show. A tag or box that is not is no answer.
    """

    kind: str
    text: str
    end: int
    closed: bool


def shown(text: str) -> str:
    """What stands outside the reasoning: after the last `</think>`, up to a `<think>` that is never closed."""
    return text.rpartition(_CLOSE)[2].partition(_OPEN)[0]


def without_echo(text: str, group: Group) -> str:
    """The text less every verbatim repetition of what was asked."""
    asked = group.prompt[-1].content.strip()
    return text.replace(asked, "\n") if len(asked) >= ECHO else text


def strong(text: str) -> Iterator[Claim]:
    """Claims in a form that is made for answers, one kind after the other."""
    yield from _tags(text)
    yield from _boxes(text)
    yield from _lines(text, _HASH, "hash")
    yield from _lines(text, _LABEL, "label")
    short = _SHORT.match(text, text.rstrip().rfind("\n") + 1)
    if short is not None:
        yield Claim("label", text[short.end() :].strip()[: LONGEST + 1], len(text.rstrip()), False)


def weak(text: str) -> Iterator[Claim]:
    """Claims in running text, and a result on the last line."""
    for match in _SAID.finditer(text):
        rest = text[match.end() : match.end() + LONGEST]
        end = _SENTENCE_END.search(rest)
        said = rest[: end.start()] if end else rest
        yield Claim("said", said.strip(), match.end() + (end.end() if end else len(rest)), False)
    start = text.rstrip().rfind("\n") + 1
    result = _RESULT.match(text, start)
    if result is not None:
        yield Claim("said", text[result.end() :].strip(), len(text.rstrip()), False)


def bare(text: str) -> Iterator[Claim]:
    """The whole text, where it is short."""
    stripped = text.strip()
    if stripped and len(stripped) <= LONGEST:
        yield Claim("bare", stripped, len(text.rstrip()), False)


def last_number(text: str) -> Iterator[Claim]:
    """The last number of the text, with its sign, decimals and fraction."""
    looked_at = text[-20_000:]
    found = [(match[0], match.end()) for match in _LAST.finditer(looked_at)][-1:]
    for number, end in found:
        yield Claim("number", number.rstrip(".,"), len(text) - len(looked_at) + end, False)


def whole(claim: Claim, text: str, response: Response) -> bool:
    """Whether nothing of a claim can have been cut off."""
    if claim.kind in ("tag", "box"):
        return claim.closed
    return claim.closed or not response.truncated or claim.end < len(text.rstrip())


def _tags(text: str) -> Iterator[Claim]:
    position = 0
    while (start := text.find(_TAG_OPEN, position)) >= 0:
        end = text.find(_TAG_CLOSE, start)
        if end < 0:
            yield Claim("tag", text[start + len(_TAG_OPEN) :][: LONGEST + 1].strip(), len(text.rstrip()), False)
            return
        # Of tags that stand inside each other the innermost opening counts.
        start = text.rfind(_TAG_OPEN, start, end)
        yield Claim("tag", text[start + len(_TAG_OPEN) : end].strip(), end, True)
        position = end + len(_TAG_CLOSE)


def _boxes(text: str) -> Iterator[Claim]:
    """Contents of the outermost boxes; a box that is never closed is a claim that was cut."""
    stack: list[int] = []  # starts of contents; -1 for a plain brace
    boxes = 0
    for match in _BRACES.finditer(text):
        if match[0] in ("\\{", "\\}"):
            continue
        if match[0] != "}":
            is_box = match[0] != "{"
            stack.append(match.end() if is_box else -1)
            boxes += is_box
        elif stack:
            start = stack.pop()
            boxes -= start >= 0
            if start >= 0 and not boxes:
                yield Claim("box", text[start : match.start()], match.end(), True)
    if boxes:
        start = next(place for place in stack if place >= 0)
        yield Claim("box", text[start:][: LONGEST + 1], len(text.rstrip()), False)


def _lines(text: str, mark: re.Pattern[str], kind: str) -> Iterator[Claim]:
    """What follows a mark on its line; where that is nothing, the next line with something on it."""
    for match in mark.finditer(text):
        start = match.end()
        if text[start : start + 1] in ("\n", "\r"):
            start += len(text[start : start + 100]) - len(text[start : start + 100].lstrip())
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield Claim(kind, text[start : min(end, start + LONGEST + 1)].strip(), end, end < len(text))
