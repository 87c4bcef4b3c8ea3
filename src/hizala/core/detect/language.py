"""A cheap guess of a text's language, Turkish, English or other: a heuristic for shares over a file, no more."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W\d_]+")
_TURKISH_WORDS = """
ve bir bu şu o için ile de da mi mı mu mü ne ki çok daha gibi olan olarak var yok değil en ben sen biz siz onlar
kadar sonra önce ama fakat veya ya her hiç nasıl neden niçin hangi kaç nerede kim evet hayır lütfen olduğu olduğunu
ise göre üzere çünkü eğer bana sana beni seni onu bunu şey diye
"""
_ENGLISH_WORDS = """
the and of to in is it you that was for on are with as his they be at this have from or had by not what all were we
when your can said there an which she how their if will do does who why where he i my me a so but about would could
should yes
"""
_TURKISH, _ENGLISH = frozenset(_TURKISH_WORDS.split()), frozenset(_ENGLISH_WORDS.split())
_TURKISH_LETTERS = "ğışĞİŞ"
_OTHER_LATIN = re.compile("[ñßäæøåłżźćęąőűřěãõêèàùœșțđžčšћ]")
# Letters beyond Latin: Greek to Georgian and on, the punctuation blocks left out.
_NOT_LATIN = re.compile("[\u0370-\u1dff\u2c00-\ud7ff]")
_SEEN = 600
_LEAST_WORDS = 2


def fold(text: str) -> str:
    """Lower case; the dotted capital becomes a plain i, so that Turkish capitals meet their words."""
    return text.replace("İ", "i").lower()


def guess(text: str) -> str:
    """`tr`, `en`, `other`, or `unknown` where there are too few words to tell (numbers, code, names)."""
    text = text[:_SEEN]
    folded = fold(text)
    words = _WORD.findall(folded)
    letters = sum(map(text.count, _TURKISH_LETTERS))
    if len(words) < _LEAST_WORDS:
        return "tr" if letters or any(word in _TURKISH for word in words) else "unknown"
    if len(_NOT_LATIN.findall(text)) > len(folded) / 4:
        return "other"
    turkish = len([w for w in words if w in _TURKISH]) + 0.5 * letters + 0.2 * sum(map(folded.count, "öüç"))
    english = len([w for w in words if w in _ENGLISH])
    foreign = 0.5 * len(_OTHER_LATIN.findall(folded)) if not text.isascii() else 0.0
    best = max(turkish, english, foreign)
    if best < 0.04 * len(words):
        return "other" if len(words) >= 8 else "unknown"
    if best == foreign:
        return "other"
    return "tr" if turkish >= english else "en"
