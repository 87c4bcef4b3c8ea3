"""Demonstrations of reasoning that looks again: the cold start of a policy that is to reason before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hizala.errors import ConfigError
from hizala.records import Group, Message, Response
from hizala.world.arithmetic import slip, write
from hizala.world.sample import FAMILIES, generate
from hizala.world.text import pick

# What is said before a step is worked out again: plainly, and where it was wrong.
CHECKS = {"tr": ("Kontrol edeyim:", "Bir bakayım:"), "en": ("Let me check:", "Let me verify:")}
TURNS = {"tr": ("Dur, bu yanlış:", "Dur, bir bakayım:"), "en": ("Wait, that is not right:", "Wait, let me check:")}


def reasoning(
    n: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    reflect: float = 0.5,
    slips: float = 0.3,
) -> list[Group]:
    """Arithmetic answered rightly after reasoning, some of it with a second look at one step.

    Args:
        tasks: arithmetic ones; None is all of them.
        reflect: share of responses that look at a step again, [0, 1].
        slips: share of those in which the step was wrong at first and is put right, [0, 1].
    Raises:
        ConfigError: as `generate`, a task that is no arithmetic, or a share out of bounds.
    """
    for name, value in (("reflect", reflect), ("slips", slips)):
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{name} = {value} is not a share", fix=f"give {name} between 0 and 1")
    known = FAMILIES["arithmetic"]
    for task in tasks or ():
        if task != "arithmetic" and task not in known:
            fix = f"known: arithmetic, {', '.join(known)}"
            raise ConfigError(f"task '{task}' is not reasoned about in steps", fix=fix)
    rng = Random(f"hizala:reasoning:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks or ("arithmetic",)):
        steps, tongue = list(group.meta["truth"]["steps"]), group.meta["lang"]
        if rng.random() < reflect:
            steps = _again(steps, tongue, rng, wrong=rng.random() < slips)
        text = write(steps, group.meta["answer"], tongue, True)
        out.append(replace(group, responses=(Response((Message("assistant", text),)),)))
    return out


def _again(steps: list[str], lang: str, rng: Random, *, wrong: bool) -> list[str]:
    """The steps with one of them worked out twice, wrongly at first where asked."""
    at = rng.randrange(len(steps))
    left, result = steps[at].split("=")
    first = f"{left}={slip(int(result), rng)}" if wrong else steps[at]
    words = pick(rng, (TURNS if wrong else CHECKS)[lang])
    return [*steps[:at], first, f"{words} {steps[at]}", *steps[at + 1 :]]
