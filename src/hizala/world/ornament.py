"""Superficial ornament, for annotators with a known bias: it says nothing and no instruction asks for it."""

from __future__ import annotations

from random import Random

from hizala.errors import ConfigError

FLOURISH = {"tr": "Harika bir soru! ", "en": "What a great question! "}
PADDING = {
    "tr": (" Umarım bu yanıt işinize yarar.", " Sormaya devam edebilirsiniz."),
    "en": (" I hope this answer is useful to you.", " You are welcome to ask more."),
}


def adorn(text: str, lang: str, rng: Random, length: bool, style: bool) -> str:
    """The text, each ornament asked for put on with probability one half."""
    if style and rng.random() < 0.5:
        text = FLOURISH[lang] + text
    if length and rng.random() < 0.5:
        text += "".join(PADDING[lang][: rng.randint(1, 2)])
    return text


def ornamented(text: str, lang: str, ornament: str) -> str:
    """The text with one ornament wholly on: `flourish` flatters before it, `padding` lengthens it behind.

    Raises:
        ConfigError: there is no such ornament.
    """
    if ornament == "flourish":
        return FLOURISH[lang] + text
    if ornament == "padding":
        return text + "".join(PADDING[lang])
    raise ConfigError(f"the world has no ornament '{ornament}'", fix="use flourish or padding")


def unadorned(text: str, lang: str) -> str:
    """The text without the ornaments it wears."""
    text = text.strip().removeprefix(FLOURISH[lang].strip()).strip()
    for _ in range(2):
        for padding in PADDING[lang]:
            text = text.removesuffix(padding.strip()).rstrip()
    return text
