"""Text helpers of the world: Turkish casing, normal forms, the reasoning block. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from random import Random

LANGUAGES: tuple[str, ...] = ("tr", "en")
MAX_CHARS = 1200  # no right response is a quarter as long; longer text is not looked at
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_UPPER = str.maketrans({"i": "İ", "ı": "I"})
_LOWER = str.maketrans({"İ": "i", "I": "ı"})


def upper(text: str, lang: str) -> str:
    """Upper case; in Turkish i becomes İ and ı becomes I."""
    return (text.translate(_UPPER) if lang == "tr" else text).upper()


def lower(text: str, lang: str) -> str:
    """Lower case; in Turkish İ becomes i and I becomes ı."""
    return (text.translate(_LOWER) if lang == "tr" else text).lower()


def sentence(text: str, lang: str) -> str:
    """The text with its first letter in upper case."""
    return upper(text[:1], lang) + text[1:]


def words(text: str, lang: str) -> list[str]:
    """Lower-cased words (letters, digits and inner apostrophes), punctuation left out."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", lower(text, lang))


def plain(text: str) -> str:
    """Normal form for finding a secret: compatibility forms folded, every digit ASCII, only letters and digits left."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).replace("ı", "i")).casefold()
    out = []
    for char in folded:
        digit = unicodedata.digit(char, None)
        if digit is not None:
            out.append(str(digit))
        elif char.isalnum() and not unicodedata.combining(char):
            out.append(char)
    return "".join(out)


def visible(text: str) -> str | None:
    """What stands after the optional reasoning block; None when the block is malformed or not at the start."""
    opened, closed = text.count(THINK_OPEN), text.count(THINK_CLOSE)
    if opened == closed == 0:
        return text.strip()
    if opened != 1 or closed != 1 or not text.lstrip().startswith(THINK_OPEN):
        return None
    return text.split(THINK_CLOSE, 1)[1].strip()


def repeats(tokens: Sequence[str]) -> bool:
    """True when any run of two words comes three times, or one word makes up half of a text of six or more."""
    pairs: dict[tuple[str, str], int] = {}
    for pair in pairwise(tokens):
        pairs[pair] = pairs.get(pair, 0) + 1
    if any(count >= 3 for count in pairs.values()):
        return True
    return len(tokens) >= 6 and max(tokens.count(t) for t in set(tokens)) * 2 >= len(tokens)


def copies(tokens: Sequence[str], prompt: Sequence[str], run: int = 5) -> bool:
    """True when `run` words in a row are the prompt's."""
    known = {tuple(prompt[i : i + run]) for i in range(len(prompt) - run + 1)}
    return any(tuple(tokens[i : i + run]) in known for i in range(len(tokens) - run + 1))


def pick(rng: Random, options: Sequence[str]) -> str:
    """One of the options."""
    return options[int(rng.random() * len(options))]
