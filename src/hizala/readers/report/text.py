"""Text for the page: numbers as people read them, and hostile characters made visible.

Everything a template prints passes through `clean` first, so no bidirectional override, control character or
lone surrogate from a model or a data file reaches the page as itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

THIN = "\u202f"
DASH = "–"
# C1 controls, zero-width and bidirectional controls, line separators, tag characters, surrogates, non-characters.
# The joiners U+200C and U+200D stay: Persian and many emoji need them.
_INVISIBLE = re.compile(
    "[\x80-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_CONTROL = {code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)} | {127: "\u2421"}


def clean(text: str) -> str:
    """The text with control characters as their pictures (␀) and invisible ones as ⟨U+202E⟩."""
    text = text.replace("\r\n", "\n").translate(_CONTROL)
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def printable(value: Any) -> Any:
    """What the template engine calls on each printed value."""
    if isinstance(value, Markup):
        return value
    return clean(value) if isinstance(value, str) else clean(str(value))


def shorten(text: str, most: int) -> tuple[str, int]:
    """The text cut at `most` characters, and how many were cut."""
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)


def number(value: float | None, digits: int = 4) -> str:
    """`digits` significant digits, thousands set apart; a dash for what is not known or not a number."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if abs(value) < 1e15 and value == int(value):
        return f"{int(value):,}".replace(",", THIN)
    if 10_000 <= abs(value) < 1e15:
        return f"{value:,.0f}".replace(",", THIN)
    if 1e-3 <= abs(value) < 1e15:
        return f"{value:.{digits}g}"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def fixed(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A fixed number of decimals, for columns of scores."""
    if value is None or not math.isfinite(value):
        return number(value)
    text = f"{value:+.{digits}f}" if sign else f"{value:z.{digits}f}"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 3, sign: bool = False) -> str:
    """`[0.412, 0.487]`, or "" where there is no interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{fixed(low, digits, sign)}, {fixed(high, digits, sign)}]"


def numeral(text: str) -> Markup:
    """A number in the page; the language switch changes its decimal sign."""
    return Markup('<span class="n">{}</span>').format(text) if text else Markup("")


def localise(text: str) -> str:
    """A formatted number the Turkish way: decimal comma, bounds parted by a semicolon."""
    return text.replace(", ", "; ").replace(".", ",")


class Num(str):
    """A formatted number among the arguments of a phrase; the language switch changes its decimal sign."""


class Ref(str):
    """The key of another phrase among the arguments of a phrase."""


def plain_args(args: Mapping[str, Any]) -> str:
    """Arguments of a phrase as JSON for the page's script: numbers `{"n": …}`, phrases `{"t": …}`, text as it is."""
    shown: dict[str, Any] = {}
    for key, value in args.items():
        kind = "n" if isinstance(value, Num) else "t" if isinstance(value, Ref) else ""
        shown[key] = {kind: str(value)} if kind else clean(str(value))
    return json.dumps(shown)


class Phrases:
    """Phrases in one language with what the page's script needs to put them in the other.

    Args:
        strings: language -> key -> phrase with `{name}` places.
        language: the language the page opens in.
    """

    def __init__(self, strings: Mapping[str, Mapping[str, str]], language: str) -> None:
        self._phrases = strings[language]
        self.language = language

    def plain(self, key: str, /, **args: Any) -> str:
        """The phrase as text, for places that hold no markup."""
        return self._phrases[key].format(**{name: clean(str(value)) for name, value in args.items()})

    def span(self, key: str, /, **args: Any) -> Markup:
        """The phrase as an element that the language switch rewrites."""
        extra = Markup(' data-a="{}"').format(plain_args(args)) if args else ""
        return Markup('<span data-t="{}"{}>{}</span>').format(key, extra, self.localised(key, args))

    def attribute(self, name: str, key: str, /, **args: Any) -> Markup:
        """The phrase as an attribute (`aria-label`) that the language switch rewrites."""
        extra = Markup(' data-aa="{}"').format(plain_args(args)) if args else ""
        head = Markup('{}="{}" data-at="{}:{}"').format(name, self.localised(key, args), name, key)
        return head + extra

    def localised(self, key: str, args: Mapping[str, Any]) -> str:
        """The phrase with numbers in the page's first language."""
        comma = self.language == "tr"
        shown = {}
        for name, value in args.items():
            if isinstance(value, Ref):
                shown[name] = self._phrases[value]
            else:
                shown[name] = localise(value) if comma and isinstance(value, Num) else value
        return self.plain(key, **shown)

    def has(self, key: str) -> bool:
        """Whether there is such a phrase."""
        return key in self._phrases

    def name(self, kind: str, name: str) -> Markup:
        """The known name of a task, model or metric in both languages, or the name itself."""
        known = self.known(kind, name)
        return self.span(known) if isinstance(known, Ref) else escape(clean(known.replace("_", " ")))

    def order(self, kind: str, name: str) -> int:
        """Where a name of a kind stands among the known ones; unknown names stand after them."""
        key = f"{kind}.{name.lower()}"
        return list(self._phrases).index(key) if self.has(key) else len(self._phrases)

    def known(self, kind: str, name: str) -> str:
        """The name as an argument of a phrase: the phrase's key where it has one."""
        key = f"{kind}.{name.lower()}"
        return Ref(key) if self.has(key) else name


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
