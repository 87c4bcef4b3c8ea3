"""Preference pairs as lessons in judging: `judge:pairwise:REF` and `judge:pointwise:REF` as references to data.

As demonstrations (sft) each lesson is a question to a judge and the right verdict; as pairs (dpo) the right verdict is
chosen and a wrong one rejected. With `+reasoning` the judge first grades what there is to grade, then gives the
verdict; the grades come from the data's scores or from the embedded world's truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random

from hizala import world
from hizala.core.detect.language import guess
from hizala.engines.reward.verdicts import GRADES, SIDES, Form, Kind, grade
from hizala.errors import DataError, nearest
from hizala.records import Group, Message, Response

PREFIX = "judge:"
KINDS: dict[str, tuple[Kind, bool]] = {
    "pairwise": ("pairwise", False),
    "pairwise+reasoning": ("pairwise", True),
    "pointwise": ("pointwise", False),
    "pointwise+reasoning": ("pointwise", True),
}
SHAPES = ("response", "pair")


@dataclass(frozen=True, slots=True)
class Asked:
    """A reference to lessons in judging: how is judged, and the reference of the preference pairs."""

    kind: Kind
    reasoning: bool
    ref: str

    @classmethod
    def of(cls, name: str) -> Asked:
        """Read `judge:KIND:REF`. Raises DataError where it is not written so."""
        kind, _, ref = name.removeprefix(PREFIX).partition(":")
        if kind not in KINDS or not ref:
            raise DataError(
                f"unknown kind of judgement '{kind}'{nearest(kind, KINDS)}" if ref else "no data to judge is named",
                where=name,
                fix=f"write judge:KIND:REF with one of {', '.join(KINDS)}",
            )
        return cls(*KINDS[kind], ref)


def language_of(group: Group) -> str:
    """The language a group is judged in: what the data say, else a guess; English where neither is Turkish."""
    said = group.meta.get("lang")
    return "tr" if (said or guess(group.prompt[-1].content)) == "tr" else "en"


def lessons(pairs: Iterable[Group], asked: Asked, shape: str, style: str = "short") -> Iterator[Group]:
    """Lessons in judging from preference pairs.

    pairwise: one lesson a pair, the better answer shown as A or as B by a number that the pair's id decides
    pointwise: one lesson an answer; its grade from its value in [0, 1], else 5 for the chosen and 1 for the rejected

    Args:
        pairs: groups of a chosen and a rejected response.
        asked: how is judged.
        shape: "response" (demonstrations of right verdicts) or "pair" (right over wrong verdicts).
        style: of the judge's prompt.
    Raises:
        DataError: the shape cannot be served, or reasoning is asked for and the data hold no grades.
    """
    if shape not in SHAPES:
        raise DataError(
            f"lessons in judging cannot serve as {shape} data", fix="train them with sft (response) or dpo (pair)"
        )
    for pair in pairs:
        form = Form(asked.kind, asked.reasoning, language_of(pair), style)
        rng = Random(f"hizala:judge:{pair.id}")
        values = [_value(pair, response) for response in pair.responses]
        if asked.reasoning and None in values:
            raise DataError(
                "a reasoned verdict needs a grade of each response, and one has none",
                where=f"group {pair.id}",
                fix="give each response a score in [0, 1], or leave +reasoning out",
            )
        made = _pairwise(pair, values, form, rng) if asked.kind == "pairwise" else _pointwise(pair, values, form)
        for mark, question, right, wrong in made:
            said = [Response((Message("assistant", right),), rank=0)]
            if shape == "pair":
                said.append(Response((Message("assistant", wrong),), rank=1))
            yield replace(pair, prompt=(question,), responses=tuple(said), id=f"{pair.id}{mark}", meta=_told(pair))


Lesson = tuple[str, Message, str, str]


def _pairwise(pair: Group, values: list[float | None], form: Form, rng: Random) -> Iterator[Lesson]:
    best = rng.randrange(2)
    order = [0, 1] if best == 0 else [1, 0]
    shown = [pair.responses[i].text for i in order]
    reasons, mistaken = "", ""
    if form.reasoning:
        grades = [grade(values[i] or 0.0) for i in order]
        reasons = f"{SIDES[0]} {grades[0]}. {SIDES[1]} {grades[1]}."
        mistaken = f"{SIDES[0]} {grades[1]}. {SIDES[1]} {grades[0]}."
    right, wrong = SIDES[best], SIDES[1 - best]
    question = form.ask(pair.prompt, shown)
    yield f"?{right}", question, form.write(right, reasons), form.write(wrong, mistaken)


def _pointwise(pair: Group, values: list[float | None], form: Form) -> Iterator[Lesson]:
    for place, (response, value) in enumerate(zip(pair.responses, values, strict=True)):
        known = 1.0 - place if value is None else value
        right = grade(known)
        wrong = GRADES[0] if known >= 0.5 else GRADES[-1]
        reasons = _parts(pair, response) if form.reasoning else ""
        question = form.ask(pair.prompt, [response.text])
        yield f"?{place + 1}", question, form.write(right, reasons), form.write(wrong, reasons)


def _value(pair: Group, response: Response) -> float | None:
    """The grade in [0, 1] that is known of a response: its own score, or the world's truth."""
    if response.score is not None:
        if not 0.0 <= response.score <= 1.0:
            raise DataError(
                f"a score of {response.score:g} is no grade in [0, 1]", where=f"group {pair.id}", fix="scale the scores"
            )
        return response.score
    return world.gold(pair, response.text).value if "truth" in pair.meta else None


def _parts(pair: Group, response: Response) -> str:
    """What there is to grade, each with its grade: the parts of the world's truth, else the score alone."""
    if "truth" not in pair.meta:
        return f"{grade(response.score or 0.0)}."
    verdict = world.gold(pair, response.text)
    return " ".join(f"{name} {grade(part)}." for name, part in sorted(verdict.parts.items())) or "0."


def _told(pair: Group) -> Mapping[str, object]:
    """Of the pair's own knowledge, what still holds of a question about it."""
    return {key: pair.meta[key] for key in ("task", "family", "lang", "split") if key in pair.meta}
