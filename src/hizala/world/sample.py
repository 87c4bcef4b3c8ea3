"""Data drawn from the world, its truth known: problems, demonstrations, pairs, thumbs, rankings, marked steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Any

from hizala.errors import ConfigError, nearest
from hizala.records import Group, Message, Response, Step, Verdict
from hizala.world import arithmetic, conduct, instruct
from hizala.world.ornament import FLOURISH, adorn, ornamented, unadorned
from hizala.world.task import SPLITS, Problem, Quality, Task, split_of
from hizala.world.text import LANGUAGES, MAX_CHARS, pick

TASKS: dict[str, Task] = {t.name: t for t in (*arithmetic.TASKS, *instruct.TASKS, *conduct.TASKS)}
FAMILIES: dict[str, tuple[str, ...]] = {
    "arithmetic": ("add", "sub", "mul", "word"),
    "instruction": ("caps", "list", "count"),
    "conduct": ("style", "privacy", "premise"),
}
# Parts of a verdict that say whether what was asked for is right.
_RIGHT = ("correct", "known", "counted", "topic", "consistent", "honest", "fact")
_SKILLS = frozenset(FAMILIES["arithmetic"] + FAMILIES["instruction"])
# How often an arithmetic answer reasons first, by its quality: who guesses is wrong more often.
_THINKS: dict[Quality, float] = {"good": 0.97, "half": 0.9, "bad": 0.5}


def gold(group: Group, text: str) -> Verdict:
    """The true reward of a response to a group of the world.

    Each task's judge says what counts; ornament of the kind `preferences` can add costs the instruction tasks
    their format and is ignored elsewhere. Any string is scored: hostile, empty or endless text scores 0.

    Args:
        group: as `generate` makes it; `meta` must hold `task`, `lang` and `truth`.
        text: the response as decoded, reasoning block included.
    Returns:
        Verdict: value in [0, 1]; parts in [0, 1] named by the task.
    Raises:
        ConfigError: the group is not of the world.
    """
    task, lang = TASKS.get(str(group.meta.get("task"))), str(group.meta.get("lang"))
    if task is None or lang not in LANGUAGES or "truth" not in group.meta:
        raise ConfigError(
            "the gold reward knows only groups of the embedded world",
            where=f"group {group.id or '(no id)'}",
            fix="use data from world:prompts, or another reward for this data",
        )
    if len(text) > MAX_CHARS or "<|" in text:
        return Verdict(0.0, "too long to be an answer" if len(text) > MAX_CHARS else "holds control tokens")
    if task.name not in FAMILIES["instruction"]:
        text = unadorned(text, lang)
    judged = task.judge(group.meta["truth"], lang, group.prompt[-1].content, text)
    return Verdict(round(judged.value, 6), judged.reason, dict(judged.parts))


def generate(
    split: str, n: int, seed: int = 0, *, lang: str | None = None, tasks: Sequence[str] | None = None
) -> list[Group]:
    """n problems of one split, tasks and languages in equal shares, prompts different while the split has enough.

    The first m of n are the same for every n. Test problems and test wordings never occur in train.

    Args:
        split: "train" or "test".
        lang: "tr", "en", or None for both.
        tasks: names of tasks or families; None is all.
    Returns:
        Groups without responses; `meta`: task, family, lang, split, template, answer (where there is one), truth.
    Raises:
        ConfigError: unknown split, language or task.
    """
    cells = _cells(split, n, lang, tasks)
    rng = Random(f"hizala:{split}:{seed}:{lang}:{','.join(tasks or ())}")
    seen: set[str] = set()
    groups: list[Group] = []
    order: list[tuple[str, str]] = []
    for index in range(n):
        if not order:
            order = rng.sample(cells, len(cells))
        name, tongue = order.pop()
        for _ in range(30):
            problem = _draw(TASKS[name], tongue, split, rng)
            if problem.prompt not in seen:
                break
        seen.add(problem.prompt)
        groups.append(_group(TASKS[name], tongue, split, problem, f"world-{split}-{seed}-{index}"))
    return groups


def _cells(split: str, n: int, lang: str | None, tasks: Sequence[str] | None) -> list[tuple[str, str]]:
    if split not in SPLITS:
        raise ConfigError(f"unknown split '{split}' of the world{nearest(split, SPLITS)}", fix="use train or test")
    if lang is not None and lang not in LANGUAGES:
        raise ConfigError(f"the world does not speak '{lang}'", fix="use tr or en, or leave lang out for both")
    if n < 1:
        raise ConfigError(f"the world cannot draw n = {n} groups", fix="give n of at least 1")
    names: list[str] = []
    for entry in tasks or TASKS:
        if entry not in TASKS and entry not in FAMILIES:
            known = (*TASKS, *FAMILIES)
            raise ConfigError(f"unknown task '{entry}'{nearest(entry, known)}", fix=f"known: {', '.join(known)}")
        names += [t for t in FAMILIES.get(entry, (entry,)) if t not in names]
    return [(name, tongue) for name in names for tongue in ((lang,) if lang else LANGUAGES)]


def _draw(task: Task, lang: str, split: str, rng: Random) -> Problem:
    while True:
        problem = task.problem(rng, lang, split)
        if split_of(task.name, problem.key) == split:
            return problem


def _group(task: Task, lang: str, split: str, problem: Problem, name: str) -> Group:
    family = next(f for f, members in FAMILIES.items() if task.name in members)
    meta: dict[str, Any] = {
        "task": task.name,
        "family": family,
        "lang": lang,
        "split": split,
        "template": problem.template,
        "truth": dict(problem.data),
    }
    if "answer" in problem.data:
        meta["answer"] = problem.data["answer"]
    return Group((Message("user", problem.prompt),), (), name, meta)


def respond(group: Group, quality: Quality, rng: Random, think: bool) -> str:
    """A response of that quality to a group of the world; `think` lets arithmetic reason before it answers."""
    task = TASKS[group.meta["task"]]
    return task.respond(group.meta["truth"], group.meta["lang"], quality, rng, think)


def _answered(group: Group, responses: Sequence[Response], **known: Any) -> Group:
    return Group(group.prompt, tuple(responses), group.id, {**group.meta, **known})


def _said(text: str, **known: Any) -> Response:
    return Response((Message("assistant", text),), **known)


def _share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} = {value} is not a share", fix=f"give {name} between 0 and 1")


def prompts(
    n: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Group]:
    """Problems without responses, for sampling and evaluation; see `generate`."""
    return generate(split, n, seed, lang=lang, tasks=tasks)


def chat(
    n: int = 4000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    skill: float = 1.0,
    manners: float = 0.5,
    think: float = 0.85,
) -> list[Group]:
    """Demonstrations for SFT: one response a group.

    As in real demonstrations the skills are shown rightly while the conduct is uneven: what demonstrations do not
    settle is left for preferences to teach.

    Args:
        skill: share of good answers in arithmetic and instruction tasks, [0, 1].
        manners: share of good answers in the conduct tasks, [0, 1].
        think: share of arithmetic answers that reason first, [0, 1].
    """
    for name, value in (("skill", skill), ("manners", manners), ("think", think)):
        _share(name, value)
    rng = Random(f"hizala:chat:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks):
        share = skill if group.meta["task"] in _SKILLS else manners
        quality = _mixed(rng, share)
        out.append(_answered(group, [_said(respond(group, quality, rng, rng.random() < think))]))
    return out


def _mixed(rng: Random, share: float) -> Quality:
    """good with that share, else half (one in three) or bad."""
    if rng.random() < share:
        return "good"
    return "half" if rng.random() < 1 / 3 else "bad"


def _candidates(
    group: Group, qualities: Sequence[Quality], rng: Random, length: bool, style: bool
) -> list[tuple[str, float]]:
    lang, made = group.meta["lang"], []
    for quality in qualities:
        text = adorn(respond(group, quality, rng, rng.random() < _THINKS[quality]), lang, rng, length, style)
        made.append((text, gold(group, text).value or 0.0))
    return made


def preferences(
    n: int = 2000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    noise: float = 0.0,
    length_bias: float = 0.0,
    style_bias: float = 0.0,
    scored: bool = False,
) -> list[Group]:
    """Pairs (chosen, rejected) by an annotator whose faults are known.

    The annotator prefers the response of higher gold reward, except with probability `length_bias` the longer one,
    with probability `style_bias` the one that flatters; with probability `noise` the label is then turned round.

    Args:
        noise: probability of a turned label, [0, 0.5].
        length_bias, style_bias: probability that length or flattery alone decides, each in [0, 1], together <= 1.
        scored: give the annotator's scores too: the gold values, exchanged where the label was turned.
    Returns:
        Groups of two responses; `meta`: gold (both values), flipped (the label is against gold), cause.
    """
    _faults(noise, length_bias, style_bias)
    rng = Random(f"hizala:preferences:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks):
        pair = _candidates(group, _unequal(rng), rng, length_bias > 0, style_bias > 0)
        while pair[0][1] == pair[1][1]:
            pair = _candidates(group, ("good", "bad"), rng, length_bias > 0, style_bias > 0)
        pair.sort(key=lambda c: -c[1])
        scores = [value if scored else None for _, value in pair]
        flipped, cause = _verdict(pair, group.meta["lang"], rng, noise, length_bias, style_bias)
        if flipped:
            pair.reverse()
        responses = [_said(text, rank=rank, score=scores[rank]) for rank, (text, _) in enumerate(pair)]
        out.append(_answered(group, responses, gold=[value for _, value in pair], flipped=flipped, cause=cause))
    return out


def _faults(noise: float, length_bias: float, style_bias: float) -> None:
    for name, value in (("noise", noise), ("length_bias", length_bias), ("style_bias", style_bias)):
        _share(name, value)
    if noise > 0.5:
        raise ConfigError(f"noise = {noise} turns more labels than it leaves", fix="give noise of at most 0.5")
    if length_bias + style_bias > 1:
        raise ConfigError("length_bias and style_bias together are more than 1", fix="give a smaller sum")


def _unequal(rng: Random) -> tuple[Quality, Quality]:
    draw = rng.random()
    if draw < 0.70:
        return "good", "bad"
    return ("good", "half") if draw < 0.95 else ("half", "bad")


def _verdict(
    pair: list[tuple[str, float]], lang: str, rng: Random, noise: float, length_bias: float, style_bias: float
) -> tuple[bool, str]:
    """Whether the annotator turns the gold order (better first), and what decided."""
    (better, _), (worse, _) = pair
    draw, turned, cause = rng.random(), False, "gold"
    if draw < length_bias and len(better) != len(worse):
        turned, cause = len(worse) > len(better), "length"
    elif length_bias <= draw < length_bias + style_bias:
        flatters = [text.startswith(FLOURISH[lang]) for text in (better, worse)]
        if flatters[0] != flatters[1]:
            turned, cause = flatters[1], "style"
    if rng.random() < noise:
        turned, cause = not turned, "noise"
    return turned, cause


def thumbs(
    n: int = 2000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    noise: float = 0.0,
    up: float = 0.5,
) -> list[Group]:
    """One response a group with a thumb: up when its gold reward is at least 0.7, turned with probability `noise`.

    Args:
        up: share of responses that deserve a thumb up, [0, 1].
    """
    _faults(noise, 0.0, 0.0)
    _share("up", up)
    rng = Random(f"hizala:thumbs:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks):
        quality: Quality = "good" if rng.random() < up else "bad"
        ((text, value),) = _candidates(group, (quality,), rng, False, False)
        flipped = rng.random() < noise
        out.append(_answered(group, [_said(text, label=(value >= 0.7) != flipped)], gold=[value], flipped=flipped))
    return out


def rankings(
    n: int = 1000,
    seed: int = 0,
    *,
    k: int = 4,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    noise: float = 0.0,
    length_bias: float = 0.0,
    style_bias: float = 0.0,
    scored: bool = False,
) -> list[Group]:
    """k responses a group with ranks by gold reward (0 is best, equal rewards tie), in the order they were drawn.

    Args:
        k: responses a group, 2 to 16.
        noise, length_bias, style_bias: as in `preferences`, for each comparison of neighbours in the ranking; a
            turned comparison swaps the two.
        scored: give the annotator's scores too: the gold values, in the order of the ranks.
    """
    _faults(noise, length_bias, style_bias)
    if not 2 <= k <= 16:
        raise ConfigError(f"a ranking of k = {k} responses cannot be drawn", fix="give k between 2 and 16")
    rng = Random(f"hizala:rankings:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks):
        qualities: list[Quality] = [("good", "half", "bad")[rng.randrange(3)] for _ in range(k)]
        qualities[:2] = "good", "bad"
        rng.shuffle(qualities)
        made = _candidates(group, qualities, rng, length_bias > 0, style_bias > 0)
        ranks, flipped = _ranked(made, group.meta["lang"], rng, noise, length_bias, style_bias)
        levels = sorted({value for _, value in made}, reverse=True)
        responses = [
            _said(text, rank=rank, score=levels[rank] if scored else None)
            for (text, _), rank in zip(made, ranks, strict=True)
        ]
        out.append(_answered(group, responses, gold=[value for _, value in made], flipped=flipped))
    return out


def _ranked(
    made: list[tuple[str, float]], lang: str, rng: Random, noise: float, length_bias: float, style_bias: float
) -> tuple[list[int], int]:
    """Ranks in the order of `made`, and the number of swaps against gold."""
    values = sorted({value for _, value in made}, reverse=True)
    ranks = [values.index(value) for _, value in made]
    order, swaps = sorted(range(len(made)), key=lambda i: ranks[i]), 0
    for first, second in pairwise(order):
        if ranks[first] >= ranks[second]:
            continue
        turned, _ = _verdict([made[first], made[second]], lang, rng, noise, length_bias, style_bias)
        if turned:
            ranks[first], ranks[second], swaps = ranks[second], ranks[first], swaps + 1
    return ranks, swaps


def steps(
    n: int = 1000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    right: float = 0.5,
    noise: float = 0.0,
) -> list[Group]:
    """Reasoned arithmetic, each step marked: right when it is the step of the true derivation.

    A slip makes its step wrong and every later step that goes on from the wrong number. The step texts, joined by
    line breaks, are the response.

    Args:
        right: share of responses without a slip, [0, 1].
        noise: probability that a mark is turned, [0, 0.5].
    """
    _faults(noise, 0.0, 0.0)
    _share("right", right)
    rng = Random(f"hizala:steps:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=("arithmetic",)):
        truth = arithmetic.write(group.meta["truth"]["steps"], group.meta["answer"], group.meta["lang"], True)
        text = truth if rng.random() < right else respond(group, "bad", rng, True)
        marks = [
            Step(line, (line == true) != (rng.random() < noise))
            for line, true in zip(text.split("\n"), truth.split("\n"), strict=True)
        ]
        out.append(_answered(group, [_said(text, steps=tuple(marks))], gold=[gold(group, text).value]))
    return out


def qualities(group: Group, text: str) -> dict[str, float]:
    """The true grades of single qualities of a response, each in [0, 1]; what a task does not ask for is absent.

    correctness: what the task asks to be right is right, ornament aside; politeness: civil, and courteous where the
    task asks for it (conduct alone); verbosity: visible words / 30, at most 1; reasoning: it reasons before it
    answers; flattery: it opens by praising the question.
    """
    lang, task = group.meta["lang"], TASKS[group.meta["task"]]
    verdict = task.judge(group.meta["truth"], lang, group.prompt[-1].content, unadorned(text, lang))
    found = {"correctness": min((verdict.parts[name] for name in _RIGHT if name in verdict.parts), default=0.0)}
    if "civil" in verdict.parts:
        found["politeness"] = verdict.parts["civil"] * (1 + verdict.parts.get("courtesy", 1.0)) / 2
    shown = text.rpartition("</think>")[2]
    found["verbosity"] = round(min(1.0, len(shown.split()) / 30), 6)
    found["reasoning"] = float("</think>" in text)
    found["flattery"] = float(text.startswith(FLOURISH[lang]))
    return found


def attributes(
    n: int = 2000,
    seed: int = 0,
    *,
    split: str = "train",
    lang: str | None = None,
    tasks: Sequence[str] | None = None,
    noise: float = 0.0,
    known: float = 1.0,
) -> list[Group]:
    """One response a group, adorned or not, its qualities graded one by one and as a whole; see `qualities`.

    Args:
        noise: standard deviation of the annotator's error in each grade, [0, 1].
        known: share of the grades that the annotator gives, (0, 1]; a response has at least one.
    Returns:
        Groups of one response with `attributes` and `score` (the gold value with that error); `meta`: gold, qualities
        (both without error).
    """
    _share("noise", noise)
    _share("known", known)
    rng = Random(f"hizala:attributes:{seed}")
    out = []
    for group in generate(split, n, seed, lang=lang, tasks=tasks):
        ((text, value),) = _candidates(group, (rng.choice(("good", "half", "bad")),), rng, True, True)
        truth = qualities(group, text)
        told = {name: grade + noise * rng.gauss() for name, grade in truth.items() if rng.random() < known}
        told = told or {"correctness": truth["correctness"] + noise * rng.gauss()}
        said = _said(text, attributes=told, score=value + noise * rng.gauss())
        out.append(_answered(group, [said], gold=[value], qualities=truth))
    return out


SAMPLERS: dict[str, Callable[..., list[Group]]] = {
    "attributes": attributes,
    "chat": chat,
    "preferences": preferences,
    "thumbs": thumbs,
    "rankings": rankings,
    "steps": steps,
    "prompts": prompts,
}

__all__ = [
    "FAMILIES",
    "SAMPLERS",
    "TASKS",
    "adorn",
    "attributes",
    "chat",
    "generate",
    "gold",
    "ornamented",
    "pick",
    "preferences",
    "prompts",
    "qualities",
    "rankings",
    "respond",
    "steps",
    "thumbs",
]
