"""What K samples agree on: answers made comparable, and the vote among them. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hizala.world.text import visible

# An answer behind its mark: the mark's line to its end, or the argument of \boxed.
_MARK = re.compile(
    r"(?:^|\n)[^\S\n]*(?:\*\*)?(?:final answer|the answer is|answer|son cevap|cevap|yanıt|sonuç|####)(?:\*\*)?"
    r"[^\S\n]*[:=]?[^\S\n]*(?:\*\*)?[^\S\n]*(?P<rest>[^\n]*)",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{(?P<rest>[^{}]*)\}")
_NUMBER = re.compile(r"(?<![\w.,])[-−+]?\d+(?:[.,]\d+)*")
_EDGES = " \t\n.,;:!?*_`'\"()[]{}«»“”’"


def final_answer(text: str, mode: str) -> str | None:
    """The answer that a response votes for, in a form in which equal answers are equal; None: it does not vote.

    The reasoning block is left out; a response whose block is not whole does not vote.

    Args:
        text: the response.
        mode: "marked": what stands behind the last answer mark (`Answer:`, `Cevap:`, `####`, a box), as a number where
            it is one; "number": the last number; "text": all of it.
    """
    shown = visible(text)
    if shown is None or not shown:
        return None
    if mode == "number":
        return _last_number(shown)
    if mode == "text":
        return _plain(shown) or None
    found = [*_BOXED.finditer(shown)] or [*_MARK.finditer(shown)]
    if not found:
        return None
    rest = found[-1]["rest"]
    return _last_number(rest) or _plain(rest) or None


def _last_number(text: str) -> str | None:
    """The last number, thousands unmarked, a decimal comma as a point, no trailing zeros; None without one."""
    found = _NUMBER.findall(text)
    if not found:
        return None
    number = found[-1].replace("−", "-").lstrip("+")
    groups = re.split(r"[.,]", number)
    if len(groups) > 2 or (len(groups) == 2 and len(groups[1]) == 3 and groups[0] not in ("0", "-0")):
        number = "".join(groups)  # 1.000, 1,000,000: marks of thousands
    whole, _, part = number.replace(",", ".").partition(".")
    sign, digits = ("-" if whole.startswith("-") else ""), whole.lstrip("-").lstrip("0") or "0"
    part = part.rstrip("0")
    value = digits + (f".{part}" if part else "")
    return value if value == "0" else sign + value


def _plain(text: str) -> str:
    """Lower case, one blank between words, no punctuation at the edges; both Turkish i's become one."""
    folded = unicodedata.normalize("NFKC", text).replace("İ", "i").replace("I", "ı").lower().replace("ı", "i")
    return " ".join(word for word in (w.strip(_EDGES) for w in folded.split()) if word)


@dataclass(frozen=True, slots=True)
class Vote:
    """The vote of K samples.

    Attributes:
        winner: the answer most samples give; None where none votes or two answers are level.
        agreement: share of all K samples that give it, 0 without a winner.
        answers: each sample's answer, None where it does not vote.
    """

    winner: str | None
    agreement: float
    answers: tuple[str | None, ...]

    @property
    def winners(self) -> tuple[int, ...]:
        """Samples that give the winning answer."""
        return tuple(i for i, a in enumerate(self.answers) if a is not None and a == self.winner)

    @property
    def others(self) -> tuple[int, ...]:
        """All other samples, those that do not vote among them."""
        return tuple(i for i in range(len(self.answers)) if i not in self.winners)


def vote(texts: Sequence[str], mode: str) -> Vote:
    """Let the samples of one prompt vote on their answer.

    agreement = max_a #{k : a_k = a} / K,  a sample without an answer counting in K alone

    Source: Wang et al. 2022, arXiv:2203.11171, sec. 2 (unweighted majority).
    """
    answers = tuple(final_answer(text, mode) for text in texts)
    ranked = Counter(a for a in answers if a is not None).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return Vote(None, 0.0, answers)
    return Vote(ranked[0][0], ranked[0][1] / len(answers), answers)
