"""Demonstrations of tool use: arithmetic answered with the calculator's help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hizala.errors import ConfigError
from hizala.records import Group, Message, Response
from hizala.world.arithmetic import LABEL
from hizala.world.calculator import CLOSE, OPEN, evaluate, shown
from hizala.world.sample import FAMILIES, generate

_FORMS = {
    "add": "{a}+{b}",
    "gain": "{a}+{b}",
    "sub": "{a}-{b}",
    "loss": "{a}-{b}",
    "mul": "{a}*{b}",
    "times": "{a}*{b}",
    "both": "{a}+{b}-{c}",
}


def tools(
    n: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    skill: float = 1.0,
) -> list[Group]:
    """Demonstrations in three turns: the call, the calculator's reply, the answer.

    Args:
        tasks: arithmetic ones; None is all of them.
        skill: share of calls of the right expression, [0, 1]; in the others a sign is wrong, and the answer is what
            the calculator then says.
    Raises:
        ConfigError: as `generate`, a task that is no arithmetic, or a share out of bounds.
    """
    if not 0.0 <= skill <= 1.0:
        raise ConfigError(f"skill = {skill} is not a share", fix="give skill between 0 and 1")
    known = FAMILIES["arithmetic"]
    for task in tasks or ():
        if task != "arithmetic" and task not in known:
            raise ConfigError(f"task '{task}' takes no calculator", fix=f"known: arithmetic, {', '.join(known)}")
    rng = Random(f"hizala:tools:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks or ("arithmetic",)):
        right = expression_of(group)
        asked = right if rng.random() < skill else _mistaken(right, rng)
        reply = shown(evaluate(asked))
        turns = (
            Message("assistant", f"{OPEN}{asked}{CLOSE}"),
            Message("tool", reply),
            Message("assistant", f"{LABEL[group.meta['lang']]} {reply}"),
        )
        out.append(replace(group, responses=(Response(turns),)))
    return out


def expression_of(group: Group) -> str:
    """The expression whose value answers an arithmetic problem of the world."""
    truth = group.meta["truth"]
    a, b, c = truth["numbers"]
    return _FORMS[truth["kind"]].format(a=a, b=b, c=c)


def _mistaken(expression: str, rng: Random) -> str:
    """The expression with its first sign wrong; never one that has the same value by chance."""
    signs = [sign for sign in "+-*" if sign in expression]
    at = min(expression.index(sign) for sign in signs)
    others = [expression[:at] + sign + expression[at + 1 :] for sign in "+-*" if sign != expression[at]]
    return rng.choice([other for other in others if evaluate(other) != evaluate(expression)])
