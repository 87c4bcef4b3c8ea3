"""Mathematical answers: the final answer of a response against the truth.

Numbers are read exactly, in the language's own format; whatever is no plain number (roots, expressions, intervals,
sets) is left to math-verify. This module runs in worker processes that are ended at their limit.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Literal

from hizala.engines.reward import answers
from hizala.engines.reward.answers import Claim
from hizala.engines.reward.base import language_of, spoken
from hizala.engines.reward.numerals import CHANGING, Number, clean, equal, read
from hizala.records import Group, Response, Verdict
from hizala.registry import reward

Style = Literal["auto", "boxed", "hash", "tag", "label"]
_KINDS = {"boxed": "box", "hash": "hash", "tag": "tag", "label": "label"}
# What an expression is written with; two letters in a row are a command, a known function, or no mathematics.
_SIGNS = re.compile(r"[\w\s+\-*/^=().,\[\]{}|<>!:;%°√π∞≤≥≠±×÷·²³∪∩∈∅'\\&]+")
_WORDS = re.compile(r"(?<![\\A-Za-zçğıöşüÇĞİÖŞÜ])[^\W\d_]{2,}")
_NAMES = "sin cos tan cot sec csc log ln exp sqrt pi inf infty oo max min arcsin arccos arctan"
_FUNCTIONS = frozenset(_NAMES.split())
_TOWER = re.compile(r"[0-9][})\s]*(?:\^|\*\*)[{(\s]*[0-9]+[})\s]*(?:\^|\*\*)[{(\s]*[0-9]")
_HUGE = re.compile(r"(?:\^|\*\*)[{(\s-]*[0-9.,]{5,}|[0-9]{4,}[)}\s]*!")
_ONE = re.compile(r"(?<![\w.,])[$€£₺]?-?[0-9][0-9.,]*(?:/[0-9]+)?(?:[ \t]?%)?")
_OPERATORS = re.compile(r"[-+*/^=<>≤≥≠≈~√\\{}|&]")
_ASSIGNED = re.compile(r"\s*[a-zA-Z]\s*=\s*")
_CHOICE = re.compile(r"\(?([A-Za-z])\)?(?:[.):].*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """A claimed answer as it was read: a number, an expression for math-verify, or words."""

    text: str
    number: Number | None


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answer: a number, or else its text, which is an expression or words."""

    text: str
    number: Number | None

    @property
    def words(self) -> bool:
        """Whether it is neither a number nor an expression."""
        return self.number is None and (bool(_CHOICE.fullmatch(self.text)) or not maths(self.text))


@reward(
    "math",
    needs=("answer",),
    summary="the final answer equals `answer` of the data: 1 or 0; Turkish and English number formats",
)
def math(
    response: Response,
    group: Group,
    *,
    style: Style = "auto",
    several: Literal["agree", "last", "first"] = "agree",
    fallback: Literal["none", "bare", "last_number"] = "bare",
    answer_lang: Literal["prompt", "tr", "en"] = "prompt",
    unevaluated: bool = False,
    opened: bool = False,
) -> Verdict:
    """1 where the response's final answer is the truth, else 0 with the reason.

    Looked at is what stands outside `<think>`, less repetitions of the prompt. A form made for answers (`<answer>`,
    `\\boxed`, `####`, a line `Answer:` or `Cevap:`) goes before "the answer is"; what is cut off is no answer.

    Args:
        style: where the answer must stand; auto takes any form.
        several: of differing answers none counts (agree), or the last, or the first.
        fallback: without any claim: nothing, the whole text where it is an answer and no more, or its last number.
        answer_lang: number format of `answer` where it is text; of the prompt's language (`meta.lang`, else a guess).
        unevaluated: `17*3` counts for 51; otherwise what was asked could be repeated as its answer.
        opened: the chat template has written `<think>` already; a prompt that ends with it is recognised.
    Returns:
        Verdict: 1 or 0; not scored where the truth cannot be read.
    """
    lang = language_of(group)
    accepted = truths(group.meta["answer"], lang if answer_lang == "prompt" else answer_lang)
    visible = answers.without_echo(answers.shown(spoken(response, group, opened)), group)
    wordy = any(truth.words for truth in accepted)
    found = _final(visible, response, lang, wordy, style, several, fallback)
    if isinstance(found, str):
        return Verdict(0.0, found)
    right = any(matches(found, truth, lang, unevaluated=unevaluated) for truth in accepted)
    return Verdict(1.0) if right else Verdict(0.0, f"wrong answer: {found.text[:80]}")


def truths(given: Any, lang: str) -> list[Truth]:
    """What counts as right: one answer or a list of them, as numbers or as text; of a worked solution its last line.

    Raises:
        ValueError: an answer is neither a number nor text.
    """
    if isinstance(given, list | tuple):
        return [truth for one in given for truth in truths(one, lang)]
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(f"an answer is a number or text, not {type(given).__name__}")
    if not isinstance(given, str):
        exact = Fraction(str(given))
        places = len(str(given).partition(".")[2]) if isinstance(given, float) else 0
        return [Truth(str(given), Number(exact, places=places))]
    return [_truth(given, lang)]


@lru_cache(maxsize=4096)
def _truth(given: str, lang: str) -> Truth:
    text = given.rpartition("####")[2].strip() if "####" in given else given.strip()
    boxed = next((claim.text for claim in answers.strong(text) if claim.kind == "box"), text)
    number = read(boxed, lang)
    cleaned = clean(boxed)
    if not cleaned:
        raise ValueError("the answer of the data is empty")
    return Truth(cleaned, number)


def maths(text: str) -> bool:
    """Whether a text could be an expression and is no prose."""
    if len(text) > answers.LONGEST or not _SIGNS.fullmatch(text):
        return False
    return all(word in _FUNCTIONS for word in _WORDS.findall(text))


def matches(given: Answer, truth: Truth, lang: str, *, unevaluated: bool = False) -> bool:
    """Whether an answer says what the truth says.

    Raises:
        ValueError: the truth is an expression that math-verify cannot read.
    """
    if truth.number is not None:
        if given.number is not None:
            return equal(given.number, truth.number)
        return unevaluated and maths(given.text) and _verified(given.text, truth.text, lang)
    if truth.words:
        choice, right = _CHOICE.fullmatch(given.text), _CHOICE.fullmatch(truth.text)
        if choice and right:
            return choice[1].casefold() == right[1].casefold()
        return " ".join(given.text.casefold().split()) == " ".join(truth.text.casefold().split())
    return (given.number is not None or maths(given.text)) and _verified(given.text, truth.text, lang)


def warm() -> None:
    """Import the grader, before workers are forked."""
    _grader()


@cache
def _grader() -> tuple[Callable[[str], list[Any]], Callable[[Any, Any], bool]]:
    from math_verify import LatexExtractionConfig, parse, verify

    # Its own time limit is off, being a signal that compiled code does not hear: the worker's is on.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    config = (LatexExtractionConfig(),)

    def parsed(text: str) -> list[Any]:
        found: list[Any] = parse(
            f"${text}$", extraction_config=config, fallback_mode="no_fallback", parsing_timeout=None
        )
        return found

    def same(gold: Any, given: Any) -> bool:
        return bool(verify(gold, given, strict=True, timeout_seconds=None, raise_on_error=True))

    return parsed, same


def _verified(given: str, truth: str, lang: str) -> bool:
    if _TOWER.search(given) or _HUGE.search(given):
        return False  # no truth of a data set is written so; working it out would end the worker
    parsed, same = _grader()
    gold = parsed(truth)
    if not gold:
        raise ValueError(f"the answer of the data cannot be read: {truth[:80]}")
    return bool(said := parsed(_points(given, lang))) and same(gold, said)


def _points(text: str, lang: str) -> str:
    """A Turkish expression with decimal points, as math-verify reads it; commas inside brackets part members."""
    if lang != "tr" or text[:1] in "([{\\":
        return text
    text = re.sub(r"(?<![0-9.,])([0-9]{1,3}(?:\.[0-9]{3})+)(?![0-9.])", lambda m: m[1].replace(".", ""), text)
    return re.sub(r"(?<=[0-9]),(?=[0-9])", ".", text)


def _final(
    text: str, response: Response, lang: str, wordy: bool, style: Style, several: str, fallback: str
) -> Answer | str:
    """The final answer, or why there is none."""
    only = _KINDS.get(style)
    tiers: list[Iterable[Claim]] = [answers.strong(text)]
    if only is not None:
        tiers = [(claim for claim in answers.strong(text) if claim.kind == only)]
    elif fallback == "none":
        tiers += [answers.weak(text)]
    else:
        last = answers.bare(text) if fallback == "bare" else chain(answers.bare(text), answers.last_number(text))
        tiers += [answers.weak(text), last]
    reason = "no final answer"
    for tier in tiers:
        found = _agreed(tier, text, response, lang, wordy, several)
        if isinstance(found, Answer):
            return found
        if found:
            reason = found
            if tier is tiers[0] and only is None and not found.startswith("cut off"):
                return reason
    return reason


def _agreed(
    claims: Iterable[Claim], text: str, response: Response, lang: str, wordy: bool, several: str
) -> Answer | str:
    """What claims of one rank say together; "" where there are none, else why they say nothing."""
    reason = ""
    seen: dict[str, Answer | None] = {}
    kept: tuple[int, Answer] | None = None
    for claim in claims:
        if not answers.whole(claim, text, response):
            reason = "cut off in the answer, or the answer never closed"
            continue
        if claim.text not in seen:
            seen[claim.text] = _read(claim.text, lang, wordy, claim.kind)
        answer = seen[claim.text]
        if answer is None and claim.kind == "hash":
            continue  # a heading
        if answer is None:
            reason = reason or f"no single value in the answer: {claim.text[:80]}"
            continue
        if kept is not None and several == "agree" and not _same(kept[1], answer):
            return f"different answers: {kept[1].text[:40]}; {answer.text[:40]}"
        if kept is None or (several == "last" and claim.end > kept[0]) or (several == "first" and claim.end < kept[0]):
            kept = (claim.end, answer)
        if kept is not None and claim.kind in ("bare", "number"):
            break
    return reason if kept is None else kept[1]


def _same(one: Answer, two: Answer) -> bool:
    if one.number is not None and two.number is not None:
        return equal(one.number, two.number)
    return "".join(one.text.split()) == "".join(two.text.split())


def _read(text: str, lang: str, wordy: bool, kind: str) -> Answer | None:
    """What a claim says: a number, an expression, words where words are asked for; None for anything else."""
    if len(text) > answers.LONGEST:
        return None
    inside = (claim for claim in answers.strong(text) if claim.kind in ("label", "hash") or claim.closed)
    inner = next((claim.text for claim in inside if claim.kind != "tag"), None)
    if inner is not None and inner != text:
        return _read(inner, lang, wordy, kind)
    cleaned = clean(text)
    if not cleaned:
        return None
    assigned = _ASSIGNED.match(cleaned)
    number = read(text, lang) or (read(cleaned[assigned.end() :], lang) if assigned else None)
    if number is not None or maths(cleaned) or (wordy and kind != "said"):
        return Answer(cleaned, number)
    return _only_number(cleaned, lang) if kind in ("tag", "label", "said") else None


def _only_number(text: str, lang: str) -> Answer | None:
    """The number of a sentence that holds one alone and nothing that changes or withdraws it."""
    text = text.replace("**", "")
    found: Sequence[re.Match[str]] = list(_ONE.finditer(text))
    if len(found) != 1:
        return None
    (match,) = found
    around = f"{text[: match.start()]} {text[match.end() :]}"
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", around.lower())
    joined = re.sub(r"(?<=[^\W\d_])-(?=[^\W\d_])", " ", around)
    if _OPERATORS.search(joined) or re.search(r"\d", around) or any(word in CHANGING for word in words):
        return None
    number = read(match[0].rstrip(".,"), lang)
    return None if number is None else Answer(match[0].rstrip(".,"), number)
