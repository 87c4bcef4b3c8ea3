"""Numbers as people write them, read exactly: Turkish and English formats, fractions, percent, units.

Which of `.` and `,` parts the decimals follows from the language, unless only one reading is well formed:

    text        Turkish   English
    1.234       1234      1.234
    1,234       1.234     1234
    1.234,56    1234.56   1234.56
    1,234.56    1234.56   1234.56
    1.5, 1,5    1.5       1.5
    0.125       0.125     0.125
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 400  # characters of a number with all that belongs to it
_DIGITS = 300
# A decimal stands for a fraction without finite decimals when it is its rounding to at least so many digits.
SIGNIFICANT = 4


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number.

    Attributes:
        value: what it says; 50 for "50 %".
        percent: it was written as a percentage.
        unit: its unit where that is a known one.
        places: decimals it was written with; None for a fraction.
    """

    value: Fraction
    percent: bool = False
    unit: str | None = None
    places: int | None = 0


# unit -> what it measures, and how many of the smallest one it is.
_UNITS: dict[str, tuple[str, Fraction]] = {}
for _dimension, _rows in {
    "length": {
        "mm millimeter millimeters millimetre millimetres milimetre": 1,
        "cm centimeter centimeters centimetre centimetres santimetre santim": 10,
        "m meter meters metre metres": 1000,
        "km kilometer kilometers kilometre kilometres": 1_000_000,
    },
    "mass": {
        "mg milligram milligrams miligram": 1,
        "g gr gram grams": 1000,
        "kg kilogram kilograms kilo": 1_000_000,
        "t ton tons tonne tonnes": 1_000_000_000,
    },
    "time": {
        "s sec second seconds saniye sn": 1,
        "min mins minute minutes dakika dk": 60,
        "h hr hrs hour hours saat": 3600,
        "day days gün": 86400,
        "week weeks hafta": 604800,
    },
    "volume": {"ml milliliter milliliters millilitre mililitre": 1, "l liter liters litre litres": 1000},
    "dollar": {"¢ cent cents": 1, "$ usd dollar dollars dolar": 100},
    "lira": {"kuruş kurus": 1, "₺ tl try lira": 100},
    "euro": {"€ eur euro euros avro": 1},
    "pound": {"£ gbp sterlin": 1},
}.items():
    for _names, _size in _rows.items():
        _UNITS.update(dict.fromkeys(_names.split(), (_dimension, Fraction(_size))))

_SCALES = {
    **dict.fromkeys(("hundred", "yüz"), 100),
    **dict.fromkeys(("thousand", "bin", "k"), 10**3),
    **dict.fromkeys(("million", "milyon"), 10**6),
    **dict.fromkeys(("billion", "milyar"), 10**9),
    **dict.fromkeys(("trillion", "trilyon"), 10**12),
}
_PERCENT = ("%", "percent", "per cent", "yüzde", "percentage")
# Words after a number that change or withdraw what it says; with them it is no plain number.
_CHANGING_WORDS = """
not no isn't isnt isn’t wrong incorrect false never or nor and plus minus times over divided maybe perhaps either about
cannot can't can’t doesn't don't won't wouldn't shouldn't couldn't except without more less than if half b dozen
değil değildir yanlış yanlıştır hayır veya yahut ya ve da de artı eksi çarpı bölü belki ile fazla eksik az çok olamaz
olmaz hariç dışında buçuk yarım düzine
"""
CHANGING = frozenset(_CHANGING_WORDS.split())
_WORD = re.compile(r"[%°¢€$£₺]|[°'’]?[^\W\d_]+(?:['’./·-][^\W\d_]+)*(?:[²³]|\^\{?[23]\}?)?\.?")
_COPULA = re.compile(r"['’](?:d[iıuü]r|t[iıuü]r)$")

_MINUS = str.maketrans(dict.fromkeys("−–‒﹣－", "-"))
_COMPATIBLE = str.maketrans({"．": ".", "，": ",", "＋": "+", "％": "%", "／": "/", "⁄": "/", "＄": "$", "∕": "/"})
_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
# What turns the order of characters, controls, and halves of characters: with them a text is not what it looks like.
_DECEIVING = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_VULGAR = {c: unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"}
_SPACES = re.compile("(?<=[0-9])[ \u00a0\u2009\u202f](?=[0-9]{3}(?![0-9/]))")
_LATEX_SPACE = re.compile(r"\\[!,;: ]|~")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mbox|textrm)\s*\{([^{}]*)\}")
_FRAC = re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|([0-9]))\s*(?:\{([^{}]*)\}|([0-9]))")
_WRAPS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("__", "__"), ("`", "`"))
_QUOTES = (('"', '"'), ("“", "”"), ("(", ")"))
_DIGIT_RUN = r"[0-9](?:[0-9.,]*[0-9])?"
_NUMBER = re.compile(
    rf"(?P<mark>yüzde |%)?\s*(?P<sign>[-+]?)\s*(?P<money>[$€£₺])?\s*(?P<sign2>-?)\s*"
    rf"(?:(?P<whole>[0-9]+)(?:\s+(?:tam\s+|and\s+)?|(?=\())\(?(?P<top>[0-9]+)\s*/\s*(?P<bottom>[0-9]+)\)?"
    rf"|\(?(?P<over>{_DIGIT_RUN})\)?\s*/\s*\(?(?P<under>-?{_DIGIT_RUN})\)?"
    rf"|(?P<plain>{_DIGIT_RUN}|[.,][0-9]+)(?:(?:e|\s*(?:\\times|\\cdot|×|·|x|\*)\s*10\s*\^?)(?P<power>\{{?[-+]?[0-9]{{1,3}}\}}?))?)"
    r"(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)


def clean(text: str) -> str | None:
    """The text with marks of typesetting taken off; None where it is not what it looks like."""
    text = text[: LONGEST + 100]
    if _DECEIVING.search(text):
        return None
    text = _INVISIBLE.sub("", text).translate(_MINUS).translate(_COMPATIBLE)
    if not text.isascii():
        text = "".join(_ascii_digit(c) for c in text)
    text = _SPACES.sub("", text)
    text = text.replace(",\\!", "")
    text = _LATEX_SPACE.sub(lambda m: "" if m[0] in ("\\!", "\\,") else " ", text)
    text = text.replace("{,}", ",").replace("\\$", "$").replace("\\%", "%").replace("\\left", "").replace("\\right", "")
    text = text.replace("^{\\circ}", "°").replace("^\\circ", "°").replace("\\degree", "°")
    return bare(_TEXT.sub(r" \1 ", text))


def bare(text: str) -> str:
    """The text without quotation, emphasis and mathematics marks around it, and without closing punctuation."""
    while True:
        before = text
        text = text.strip().rstrip(".;,:").strip()
        for opening, closing in (*_WRAPS, *_QUOTES):
            inner = text[len(opening) : len(text) - len(closing)]
            wrapped = text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening + closing)
            if wrapped and opening not in inner and closing not in inner:
                text = inner
        if text == before:
            return text


def _ascii_digit(char: str) -> str:
    """A digit that Unicode calls a mere form of 0 to 9 (full width, bold) as that; every other character as it is."""
    if char in _VULGAR:
        return f" {_VULGAR[char]}"
    if unicodedata.decimal(char, None) is None:
        return char
    folded = unicodedata.normalize("NFKC", char)
    return folded if folded.isascii() else char


def decimal(text: str, lang: str) -> tuple[Fraction, int] | None:
    """The exact value of digits, points and commas, and its decimals; None where no reading is well formed."""
    if not re.fullmatch(r"[0-9]*(?:[.,][0-9]+)*", text) or not text or len(text) > _DIGITS:
        return None
    points, commas = text.count("."), text.count(",")
    if not points and not commas:
        return Fraction(int(text)), 0
    for mark, other in ((",", "."), (".", ",")) if lang == "tr" else ((".", ","), (",", ".")):
        whole, _, part = text.partition(mark)
        if text.count(mark) <= 1 and mark not in part and other not in part and _grouped(whole, other):
            if other not in whole and part == "" and mark in text:
                continue
            digits = whole.replace(other, "") + part
            return Fraction(int(digits or "0"), 10 ** len(part)), len(part)
    return None


def _grouped(whole: str, mark: str) -> bool:
    """Whether digits are plain, or parted in threes from the right without a leading zero."""
    if mark not in whole:
        return True
    groups = whole.split(mark)
    return 1 <= len(groups[0]) <= 3 and groups[0][0] != "0" and all(len(group) == 3 for group in groups[1:])


def read(text: str, lang: str) -> Number | None:
    """The one number that a text is, with its unit; None where it is anything else.

    Args:
        text: an answer: a number, a fraction, a mixed number, a percentage, an amount, each perhaps with a unit.
        lang: "tr" reads `1.234` as 1234; every other language as 1.234.
    """
    if len(text) > LONGEST:
        return None
    cleaned = clean(text)
    if not cleaned:
        return None
    cleaned = _FRAC.sub(lambda m: f" {m[1] or m[2]}/{m[3] or m[4]} ", cleaned).strip()
    match = _NUMBER.fullmatch(cleaned)
    return None if match is None else _number(match, lang)


def _number(match: re.Match[str], lang: str) -> Number | None:
    if match["sign"] and match["sign2"]:
        return None
    sign = -1 if "-" in (match["sign"], match["sign2"]) else 1
    found = _value(match, lang)
    rest = _rest(match["rest"])
    if found is None or rest is None:
        return None
    value, places = found
    scale, words = rest
    percent = match["mark"] is not None or words in _PERCENT or words.partition(" ")[0] in ("%", "percent")
    if percent and match["money"]:
        return None
    unit = match["money"] or _unit(words)
    return Number(sign * value * scale, percent, unit, places)


def _value(match: re.Match[str], lang: str) -> tuple[Fraction, int | None] | None:
    if match["whole"] is not None:
        if len(match["whole"] + match["top"] + match["bottom"]) > _DIGITS or not int(match["bottom"]):
            return None
        return Fraction(int(match["whole"])) + Fraction(int(match["top"]), int(match["bottom"])), None
    if match["over"] is not None:
        over, under = decimal(match["over"], lang), decimal(match["under"].lstrip("-"), lang)
        if over is None or under is None or not under[0]:
            return None
        return over[0] / under[0] * (-1 if match["under"].startswith("-") else 1), None
    plain = decimal(match["plain"], lang)
    if plain is None or match["power"] is None:
        return plain
    power = int(match["power"].strip("{}"))
    return plain[0] * Fraction(10) ** power, max(plain[1] - power, 0)


def _rest(text: str) -> tuple[Fraction, str] | None:
    """What stands after a number: its scale (thousand, milyon), its unit's words; None where it is more than that."""
    rest = text.strip().rstrip(".!;,:").strip()
    attached = text[:1].isalpha()
    scale = Fraction(1)
    words = _COPULA.sub("", rest.replace("İ", "i").lower()).split()
    if words and words[0] in _SCALES:
        scale, words = Fraction(_SCALES[words[0]]), words[1:]
    if len(words) > 4 or any(word in CHANGING for word in words):
        return None
    if not all(_WORD.fullmatch(word) for word in words):
        return None
    # Letters that touch the digits are a known unit (5km), and a single letter that is none may be a variable.
    if words and scale == 1 and (attached or len(words[0]) == 1) and words[0] not in (*_UNITS, "%", "°"):
        return None
    return scale, " ".join(words)


def _unit(words: str) -> str | None:
    first = words.partition(" ")[0].strip("'’.")
    return first if first in _UNITS and "/" not in words and " per " not in f" {words} " else None


def equal(given: Number, gold: Number) -> bool:
    """Whether an answer says what the truth says.

    A percentage meets a plain number by its face or as a share (50 % is 50 and 0.5). Units count where both are known:
    they are converted, and different kinds of units differ. A decimal meets a fraction that has no finite decimals
    when it is its rounding, to at least four digits.
    """
    one, two = given.value, gold.value
    if given.unit and gold.unit:
        (kind, size), (other, other_size) = _UNITS[given.unit], _UNITS[gold.unit]
        if kind != other:
            return False
        one, two = one * size, two * other_size
    if given.percent != gold.percent:
        share = (given if given.percent else gold).value / 100
        plain = (gold if given.percent else given).value
        if share == plain:
            return True
    return one == two or _rounded(given, gold) or _rounded(gold, given)


def _rounded(decimals: Number, fraction: Number) -> bool:
    """Whether the first is the second rounded to its decimals, the second being a fraction that never ends."""
    if decimals.places is None or fraction.places is not None or decimals.unit != fraction.unit:
        return False
    rest = fraction.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    digits = len(str(abs(decimals.value.numerator * 10**decimals.places // decimals.value.denominator)).lstrip("0"))
    near = abs(decimals.value - fraction.value) <= Fraction(1, 2 * 10**decimals.places)
    return rest > 1 and digits >= SIGNIFICANT and near
