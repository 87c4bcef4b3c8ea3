"""Arithmetic and word problems, reasoned in small written steps that can be marked one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from hizala.world.task import Judged, Problem, Quality, Task, wording
from hizala.world.text import THINK_CLOSE, THINK_OPEN, pick, visible
from hizala.world.words import NAMES, THINGS

LABEL = {"tr": "Cevap:", "en": "Answer:"}
_ANSWER = re.compile(r"(?:(cevap|answer|sonuç|result)\s*:?\s*)?(-?[0-9]{1,6})\.?", re.IGNORECASE)

_BARE: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "tr": {
        "add": (
            (
                "{a} + {b} kaç eder?",
                "{a} ile {b} toplanırsa kaç eder?",
                "Topla: {a} + {b}",
                "{a} + {b} işlemini yap.",
                "Şunu hesapla: {a} + {b}",
                "{a} artı {b} kaçtır?",
                "{a} + {b} sonucu kaç?",
                "{a} ve {b} sayılarını topla.",
                "Hesabı yap: {a} + {b}",
                "Lütfen topla: {a} + {b}",
                "{a} + {b} işleminin sonucunu bul.",
            ),
            ("Lütfen hesapla: {a} + {b}", "{a} + {b} işleminin sonucu kaçtır?"),
        ),
        "sub": (
            (
                "{a} - {b} kaç eder?",
                "{a} sayısından {b} çıkarılırsa kaç kalır?",
                "Çıkar: {a} - {b}",
                "{a} - {b} işlemini yap.",
                "Şunu hesapla: {a} - {b}",
                "{a} eksi {b} kaçtır?",
                "{a} - {b} sonucu kaç?",
                "{a} sayısından {b} sayısını çıkar.",
                "Hesabı yap: {a} - {b}",
                "Lütfen çıkar: {a} - {b}",
                "{a} - {b} işleminin sonucunu bul.",
            ),
            ("Lütfen hesapla: {a} - {b}", "{a} - {b} işleminin sonucu kaçtır?"),
        ),
        "mul": (
            (
                "{a} * {b} kaç eder?",
                "{a} ile {b} çarpılırsa kaç eder?",
                "Çarp: {a} * {b}",
                "{a} * {b} işlemini yap.",
                "{a} çarpı {b} kaçtır?",
                "İşlemin sonucu kaçtır: {a} * {b}",
                "{a} * {b} sonucu kaç?",
                "{a} ve {b} sayılarını çarp.",
                "Hesabı yap: {a} * {b}",
                "Lütfen çarp: {a} * {b}",
                "{a} * {b} işleminin sonucunu bul.",
                "Şunu hesapla: {a} * {b}",
            ),
            ("Lütfen hesapla: {a} * {b}", "{a} * {b} işleminin sonucu kaçtır?"),
        ),
    },
    "en": {
        "add": (
            (
                "What is {a} + {b}?",
                "Add {a} and {b}.",
                "Add: {a} + {b}",
                "Work out {a} + {b}.",
                "Please calculate {a} + {b}.",
                "How much is {a} plus {b}?",
                "Give the result of {a} + {b}.",
                "The result of {a} + {b} is what?",
                "Find {a} + {b}.",
                "Calculate this: {a} + {b}",
            ),
            ("Calculate {a} + {b}", "What is the result of {a} + {b}?"),
        ),
        "sub": (
            (
                "What is {a} - {b}?",
                "Take {b} away from {a}.",
                "Subtract: {a} - {b}",
                "Work out {a} - {b}.",
                "Please calculate {a} - {b}.",
                "How much is {a} minus {b}?",
                "Give the result of {a} - {b}.",
                "The result of {a} - {b} is what?",
                "Find {a} - {b}.",
                "Calculate this: {a} - {b}",
            ),
            ("Calculate {a} - {b}", "What is the result of {a} - {b}?"),
        ),
        "mul": (
            (
                "What is {a} * {b}?",
                "Multiply {a} by {b}.",
                "Multiply: {a} * {b}",
                "Work out {a} * {b}.",
                "How much is {a} times {b}?",
                "Give the result of {a} * {b}.",
                "Please calculate {a} * {b}.",
                "The result of {a} * {b} is what?",
                "Find {a} * {b}.",
                "Calculate this: {a} * {b}",
            ),
            ("Calculate {a} * {b}", "What is the result of {a} * {b}?"),
        ),
    },
}

_STORIES: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "tr": {
        "gain": (
            (
                "{gen} {a} {own} var. {b} {obj} daha alıyor. Kaç {own} olur?",
                "{gen} {a} {own} vardı. Annesi ona {b} {obj} verdi. Şimdi kaç {own} var?",
                "{gen} {a} {own} vardı. {name} {b} tane daha buldu. Toplam kaç {own} oldu?",
                "{name} önce {a} {obj}, sonra {b} {obj} aldı. Toplam kaç {own} var?",
            ),
            ("{gen} {a} {own} vardı. Sonra {b} {obj} daha buldu. Toplam kaç {own} oldu?",),
        ),
        "loss": (
            (
                "{gen} {a} {own} var. {b} tanesini satıyor. Kaç {own} kalır?",
                "{gen} {a} {own} vardı. {b} tanesini arkadaşına verdi. Kaç {own} kaldı?",
                "{name} {a} {obj} aldı, {b} tanesini kaybetti. Şimdi kaç {own} var?",
                "Bir kutuda {a} {obj} vardı. {b} tanesi yendi. Kaç {obj} kaldı?",
            ),
            ("{gen} {a} {own} vardı. {b} tanesini kaybetti. Şimdi kaç {own} kaldı?",),
        ),
        "times": (
            (
                "Bir kutuda {a} {obj} var. {b} kutuda kaç {obj} olur?",
                "{name} her gün {a} {obj} alıyor. {b} günde kaç {obj} alır?",
                "{b} sepet var. Bir sepette {a} {obj} var. Toplam kaç {obj} var?",
            ),
            ("Bir sepette {a} {obj} var. {b} sepette toplam kaç {obj} var?",),
        ),
        "both": (
            (
                "{gen} {a} {own} var. {b} tane daha alıyor, sonra {c} tanesini veriyor. Kaç {own} kalır?",
                "{gen} {a} {own} vardı. {b} tane daha buldu ve {c} tanesini kaybetti. Kaç {own} kaldı?",
                "Bir sepette {a} {obj} vardı. {b} tane daha kondu, {c} tanesi yendi. Toplam kaç {obj} kaldı?",
                "Önce {name} {a} {obj} aldı. Sonra {b} tane buldu, {c} tanesini sattı. Şimdi toplam kaç {obj} var?",
            ),
            ("{gen} {a} {own} vardı. Önce {b} tane daha aldı, sonra {c} tanesini sattı. Şimdi kaç {own} var?",),
        ),
    },
    "en": {
        "gain": (
            (
                "{name} has {a} {obj} and buys {b} more. How many {obj} does {name} have?",
                "{name} had {a} {obj}. A friend gave {name} {b} {obj}. How many {obj} are there now?",
                "{name} had {a} {obj}. {name} found {b} {obj}. How many {obj} are there in total?",
                "First {name} got {a} {obj}, then {b} more. How many {obj} does {name} have now?",
            ),
            ("{name} had {a} {obj}. Then {name} found {b} more. How many {obj} are there in total?",),
        ),
        "loss": (
            (
                "{name} has {a} {obj} and sells {b} of them. How many {obj} are left?",
                "{name} had {a} {obj} and gave {b} to a friend. How many {obj} are left now?",
                "{name} got {a} {obj}. Then {name} sold {b} of them. How many {obj} are left?",
                "{name} had {a} {obj} and lost {b} of them. How many {obj} does {name} have?",
            ),
            ("{name} had {a} {obj}. Then {name} lost {b} of them. How many {obj} does {name} have now?",),
        ),
        "times": (
            (
                "There are {a} {obj} in a box. How many {obj} are in {b} boxes?",
                "{name} buys {a} {obj} every day. How many {obj} is that in {b} days?",
                "There are {b} baskets. There are {a} {obj} in a basket. How many {obj} are there in total?",
            ),
            ("There are {a} {obj} in a basket. How many {obj} are there in {b} baskets?",),
        ),
        "both": (
            (
                "{name} has {a} {obj}, buys {b} more and gives {c} away. How many {obj} are left?",
                "{name} had {a} {obj}. {name} found {b} more and lost {c}. How many {obj} are there now?",
                "There were {a} {obj} in baskets. Then {b} more came and {c} of them were sold. "
                "How many {obj} in total are left?",
            ),
            ("{name} had {a} {obj}. First {name} got {b} more, then {name} sold {c}. How many {obj} are left now?",),
        ),
    },
}


def derive(kind: str, a: int, b: int, c: int = 0) -> list[str]:
    """The written steps from the numbers to the answer; the last number of the last step is the answer.

    Two-digit sums go by units and tens, products by tens and units, stories by one step an event.
    """
    if kind == "add":
        units, tens = a % 10 + b % 10, a // 10 * 10 + b // 10 * 10
        return [f"{a % 10}+{b % 10}={units}", f"{a // 10 * 10}+{b // 10 * 10}={tens}", f"{tens}+{units}={a + b}"]
    if kind == "sub":
        rest = a - b // 10 * 10
        return [f"{a}-{b // 10 * 10}={rest}", f"{rest}-{b % 10}={a - b}"]
    if kind == "mul":
        tens, units = a // 10 * 10 * b, a % 10 * b
        return [f"{a // 10 * 10}*{b}={tens}", f"{a % 10}*{b}={units}", f"{tens}+{units}={a * b}"]
    if kind == "both":
        return [f"{a}+{b}={a + b}", f"{a + b}-{c}={a + b - c}"]
    sign = {"gain": "+", "loss": "-", "times": "*"}[kind]
    return [f"{a}{sign}{b}={_apply(a, sign, b)}"]


def _apply(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def _numbers(kind: str, rng: Random) -> tuple[int, int, int]:
    if kind == "add":
        return rng.randint(10, 99), rng.randint(10, 99), 0
    if kind == "sub":
        a = rng.randint(20, 99)
        return a, rng.randint(10, a - 1), 0
    if kind == "mul":
        return rng.randint(11, 49), rng.randint(2, 9), 0
    if kind == "times":
        return rng.randint(2, 9), rng.randint(2, 9), 0
    a, b = rng.randint(3, 15), rng.randint(2, 15)
    if kind == "loss":
        a, b = max(a, b) + 1, min(a, b)
    return a, b, rng.randint(1, a + b - 1) if kind == "both" else 0


def _finish(kind: str, lang: str, numbers: tuple[int, int, int], prompt: str, template: str) -> Problem:
    a, b, c = numbers
    steps = derive(kind, a, b, c)
    data = {"kind": kind, "numbers": [a, b, c], "steps": steps, "answer": int(steps[-1].rsplit("=", 1)[1])}
    low, high = (a, b) if kind in ("sub", "loss", "both", "mul") else sorted((a, b))
    return Problem(prompt, f"{kind}:{low}:{high}:{c}", f"{lang}-{kind}-{template}", data)


def _bare(kind: str) -> Task:
    def problem(rng: Random, lang: str, split: str) -> Problem:
        numbers = _numbers(kind, rng)
        text, name = wording(rng, split, *_BARE[lang][kind])
        return _finish(kind, lang, numbers, text.format(a=numbers[0], b=numbers[1]), name)

    return Task(kind, problem, respond, judge)


def _story(rng: Random, lang: str, split: str) -> Problem:
    kind = pick(rng, ("gain", "loss", "times", "both"))
    numbers = _numbers(kind, rng)
    text, name = wording(rng, split, *_STORIES[lang][kind])
    who = NAMES[lang][rng.randrange(len(NAMES[lang]))]
    thing = THINGS[lang][rng.randrange(len(THINGS[lang]))]
    a, b, c = numbers
    prompt = text.format(a=a, b=b, c=c, name=who.plain, gen=who.genitive, obj=thing.counted, own=thing.owned)
    return _finish(kind, lang, numbers, prompt, name)


def slip(value: int, rng: Random) -> int:
    """A wrong result of the kind people write: off by one or two, by ten, or with the digits swapped."""
    swapped = int(str(value)[::-1]) if value > 9 else value
    options = [value - 1, value + 1, value + 2, value - 10, value + 10, swapped]
    return rng.choice([v for v in options if v != value and v >= 0])


def corrupt(steps: list[str], rng: Random) -> list[str]:
    """The derivation with one slip; later steps go on from the wrong number, so the answer is wrong."""
    at = rng.randrange(len(steps))
    out = list(steps[:at])
    renamed: dict[int, int] = {}
    for index in range(at, len(steps)):
        left, result = steps[index].split("=")
        match = re.fullmatch(r"(\d+)([-+*])(\d+)", left)
        assert match is not None
        one, sign, two = int(match[1]), match[2], int(match[3])
        first = renamed.get(one, one)
        second = renamed.get(two, two) if first == one else two
        value = slip(int(result), rng) if index == at else _apply(first, sign, second)
        renamed[int(result)] = value
        out.append(f"{first}{sign}{second}={value}")
    if out[-1].rsplit("=", 1)[1] == steps[-1].rsplit("=", 1)[1]:
        left, result = steps[-1].split("=")
        out = [*steps[:-1], f"{left}={slip(int(result), rng)}"]
    return out


def write(steps: list[str], answer: int, lang: str, think: bool) -> str:
    """A response: the steps in a reasoning block (when asked for), then the labelled answer."""
    final = f"{LABEL[lang]} {answer}"
    return f"{THINK_OPEN}" + "\n".join(steps) + f"{THINK_CLOSE}\n{final}" if think else final


def respond(data: Mapping[str, Any], lang: str, quality: Quality, rng: Random, think: bool) -> str:
    """good: right and labelled; half: right, the label missing; bad: one slip in the derivation."""
    steps: list[str] = list(data["steps"])
    if quality == "bad":
        wrong = corrupt(steps, rng)
        return write(wrong, int(wrong[-1].rsplit("=", 1)[1]), lang, think)
    text = write(steps, int(data["answer"]), lang, think)
    return text.replace(f"{LABEL[lang]} ", "") if quality == "half" else text


def judge(data: Mapping[str, Any], lang: str, prompt: str, text: str) -> Judged:
    """The number after the reasoning is the answer (0.8), with the label of the prompt's language (0.2)."""
    shown = visible(text)
    match = _ANSWER.fullmatch(shown) if shown is not None else None
    if match is None:
        reason = "malformed reasoning block" if shown is None else "no single final number"
        return Judged(0.0, {"correct": 0.0, "format": 0.0}, reason)
    correct = float(int(match[2]) == data["answer"])
    label = (match[1] or "").casefold()
    form = float(label in (("cevap", "sonuç") if lang == "tr" else ("answer", "result")))
    reason = "" if correct and form else "wrong number" if not correct else "no label in the prompt's language"
    return Judged(correct * (0.8 + 0.2 * form), {"correct": correct, "format": form}, reason)


TASKS: tuple[Task, ...] = (_bare("add"), _bare("sub"), _bare("mul"), Task("word", _story, respond, judge))
