"""Marks of reflection in reasoning: places where a writer stops, doubts and looks again. Standard library only.

A share of texts with such marks shows how a policy's reasoning changes while it is trained. It is a heuristic on words:
it says nothing of whether the second look was needed or right.
"""

from __future__ import annotations

import re

from hizala.core.detect.language import fold

# Written folded (lower case). Words that also mean something else count only where a pause follows them.
_PAUSED = ("wait", "hmm+", "hold on", "dur", "bekle", "hımm?", "bir dakika", "pardon")
_PHRASES = (
    *(
        "let me (?:re-?)?check",
        "let me (?:re-?)?verify",
        "let me think again",
        "let me reconsider",
        "let's (?:re-?)?check",
    ),
    *("let's verify", "double[- ]check", "on second thought", "i made a mistake", "that(?:'s| is) not right"),
    *("that can(?:'t|not) be right", "think again", "start over", "check (?:again|my work|the result)"),
    *(
        "bir bakayım",
        "bir bakalım",
        "tekrar bak",
        "yeniden bak",
        "kontrol ed(?:eyim|elim)",
        "doğrulayayım",
        "doğrulayalım",
    ),
    *(
        "emin olayım",
        "emin olalım",
        "bir daha (?:bak|düşün|hesapla)",
        "yeniden (?:düşün|hesapla)",
        "tekrar (?:düşün|hesapla)",
    ),
    *("yanlış yaptım", "hata yaptım", "yanlış oldu", "baştan (?:başla|alayım|alalım)", "sağlamasını yap"),
)
_MARK = re.compile(
    rf"(?<!\w)(?:(?:{'|'.join(_PAUSED)})(?=[ \t]*(?:[,.;:!?…—–]|\n|$))|(?:{'|'.join(_PHRASES)}))", re.MULTILINE
)
_SEEN = 100_000


def marks(text: str) -> int:
    """How many marks of reflection a text holds, Turkish and English; no two overlap.

    Args:
        text: of a response, reasoning block included; its first 100,000 characters are looked at.
    Source: the idea of counting such words over training is that of DeepSeek-AI 2025, arXiv:2501.12948, sec. 2.2.4
        ("aha moment"); the list is ours.
    """
    return sum(1 for _ in _MARK.finditer(fold(text[:_SEEN]).replace("’", "'")))


def reflects(text: str) -> bool:
    """Whether a text holds a mark of reflection."""
    return _MARK.search(fold(text[:_SEEN]).replace("’", "'")) is not None
