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
_TURKISH_ONLY = re.compile("[ğĞıİşŞ]")
_OTHER_LATIN = re.compile("[ñßæøåłżźćęąőűřěãõêèàùœșțđžčšћ]", re.IGNORECASE)
_SEEN = 2000
_LEAST_WORDS = 2


def fold(text: str) -> str:
    """Lower case by Turkish rules where a Turkish capital shows, by general rules otherwise."""
    return text.replace("İ", "i").lower()


def guess(text: str) -> str:
    """`tr`, `en`, `other`, or `unknown` where there are too few words to tell (numbers, code, names)."""
    words = _WORD.findall(fold(text[:_SEEN]))
    if len(words) < _LEAST_WORDS:
        return "tr" if any(_TURKISH_ONLY.search(w) or w in _TURKISH for w in words) else "unknown"
    latin = sum(w[0] < "ɐ" for w in words)
    if latin < len(words) / 2:
        return "other"
    turkish = sum(w in _TURKISH for w in words) + 0.7 * sum(bool(_TURKISH_ONLY.search(w)) for w in words)
    turkish += 0.3 * sum(any(c in "öüç" for c in w) for w in words)
    english = float(sum(w in _ENGLISH for w in words))
    foreign = 0.7 * sum(bool(_OTHER_LATIN.search(w)) for w in words)
    best = max(turkish, english, foreign)
    if best < 0.04 * len(words):
        return "other" if len(words) >= 8 else "unknown"
    if best == foreign:
        return "other"
    return "tr" if turkish >= english else "en"
