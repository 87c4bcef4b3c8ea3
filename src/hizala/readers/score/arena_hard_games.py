"""Arena-Hard's judgments: two games a question, read by the rules of v0.1 or of v2.0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.core.stats.ratings import Battles
from hizala.errors import EvalError, nearest
from hizala.readers.score.battle_files import answer_features, hard_difference
from hizala.readers.score.rows import Annotations, RowError, each, list_of, name_of, read, refuse, unique

Floats = NDArray[np.float64]
BASELINE = "gpt-4-0314"  # of v0.1
STRONG = 3  # times that `>>` counts
_VERDICT = re.compile(r"\[\[([AB<>=]+)\]\]")
# Score of the answer shown as A, and how often it counts.
LABELS = {
    "A>>B": (1.0, STRONG),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B>A": (0.0, 1),
    "B>>A": (0.0, STRONG),
    "B<<A": (1.0, STRONG),
    "B<A": (1.0, 1),
    "B=A": (0.5, 1),
    "A<B": (0.0, 1),
    "A<<B": (0.0, STRONG),
}
Label = tuple[float, int] | None


@dataclass(frozen=True, slots=True)
class Played:
    """A question's two games: in the first the baseline is shown as A, in the second the model. None: no verdict."""

    model: str
    question: str
    baseline: str | None
    first: Label
    second: Label


def played(data: Annotations) -> tuple[str, list[Played]]:
    """Games of a file and its version: questions of v0.1 have a `question_id`, those of v2.0 a `uid`.

    Raises:
        EvalError: rows of both versions, a question of a model twice, or broken rows.
    """
    olds = sum("question_id" in row.value and "uid" not in row.value for row in data.rows)
    if 0 < olds < len(data.rows):
        what = f"mixes versions: {olds} rows have 'question_id' (v0.1), {len(data.rows) - olds} have 'uid' (v2.0)"
        raise EvalError(what, where=data.name, fix="score each version by itself")
    key, version = ("question_id", "0.1") if olds else ("uid", "2.0")
    unique(data, lambda row: (str(row.get("model")), str(row.get("judge", "")), str(row.get(key))), "question")

    def convert(row: Mapping[str, Any]) -> Played:
        both = list_of(row, "games", 2)
        labels = [_label(game, version) for game in both]
        base = name_of(row, "baseline") if "baseline" in row else None
        return Played(name_of(row, "model"), name_of(row, key), base, *labels)

    return version, each(data, convert)


def _label(game: object, version: str) -> Label:
    if game is None:
        return None
    if not isinstance(game, dict):
        raise RowError("has a game that is no object")
    score = game.get("score")
    if score is None and "score" not in game:
        text = game.get("judgment")
        if not isinstance(text, str):
            raise RowError("has a game with neither 'score' nor 'judgment'")
        score = verdict(text, version)
    if score is None:
        return None
    if score not in LABELS:
        raise RowError(f"has the verdict '{score}', which is none of {', '.join(LABELS)}")
    return LABELS[score]


def verdict(text: str, version: str) -> str | None:
    """The verdict in a judge's words: of v0.1 all [[...]] must be the same, of v2.0 the last one counts."""
    found = _VERDICT.findall(text)
    if not found or (version == "0.1" and len(set(found)) > 1) or found[-1] not in LABELS:
        return None
    return str(found[-1])


def battles(games: list[Played], baseline: str | None, where: str) -> tuple[Battles, int, list[str]]:
    """Battles of v0.1 in the order of its code, `>>` counting three times; games without a verdict are left out.

    Returns:
        (battles with the baseline as side a, the baseline's number, notes).
    """
    base = baseline or next((one.baseline for one in games if one.baseline), None) or BASELINE
    names, outcomes, lost = [], [], 0
    for one in games:
        if one.model == base:
            raise EvalError(f"the baseline '{base}' is judged against itself", where=where, fix="name it: --baseline")
        for label, turned in ((one.first, False), (one.second, True)):
            if label is None:
                lost += 1
                continue
            score, times = label
            names += [one.model] * times
            outcomes += [1 - score if turned else score] * times
    if not names:
        raise EvalError("no game has a verdict", where=where)
    found = Battles.of([base] * len(names), names, outcomes)
    return found, found.players.index(base), [f"{lost} games have no verdict and are left out"] if lost else []


def common(found: Battles, baseline: str | None, where: str) -> int:
    """The number of the baseline: as named, else the one player who stands in every battle."""
    if baseline is not None:
        if baseline not in found.players:
            near = nearest(baseline, found.players)
            raise EvalError(f"no battle of the baseline '{baseline}'{near}", where=where)
        return found.players.index(baseline)
    everywhere = [i for i in range(len(found.players)) if bool(((found.a == i) | (found.b == i)).all())]
    if len(everywhere) != 1:
        what = "no model stands in every battle" if not everywhere else "two models stand in every battle"
        raise EvalError(f"the baseline is missing: {what}", where=where, fix="name it: --baseline")
    return everywhere[0]


def v2_scores(one: Played) -> list[float] | None:
    """The model's scores of v2.0: the second game's as they are, the first's turned; None where a game has none."""
    if one.first is None or one.second is None:
        return None
    (second, often), (first, times) = one.second, one.first
    return [second] * often + [1 - first] * times


def styled_battles(games: list[Played], answers: str, baseline: str) -> tuple[Battles, Floats]:
    """Battles of v2.0 against the baseline (player 0), with the differences of style of both answers.

    Args:
        games: of v2.0.
        answers: file of rows {uid, model, metadata}, the baseline's among them.
        baseline: its name.
    Raises:
        EvalError: an answer that a game needs is missing.
    """
    data = read(answers)
    unique(data, lambda row: (str(row.get("model")), str(row.get("uid"))), "answer")
    keys = each(data, lambda row: (name_of(row, "model"), name_of(row, "uid"), answer_features(row.get("metadata"))))
    known = {(model, uid): features for model, uid, features in keys}
    names, outcomes, own, other = [], [], [], []
    missing = []
    for one in games:
        scores = v2_scores(one)
        mine, theirs = known.get((one.model, one.question)), known.get((baseline, one.question))
        if mine is None or theirs is None:
            who = one.model if mine is None else baseline
            missing.append((f"question {one.question}:", f"no answer of '{who}'"))
            continue
        for score in scores or ():
            names.append(one.model)
            outcomes.append(score)
            own.append(mine)
            other.append(theirs)
    refuse(missing, data.name, fix="give the answers of every judged question, the baseline's too")
    found = Battles.of([baseline, *names], [*names[:1], *[baseline] * len(names)], [0.5, *outcomes])
    # The first row only gave the baseline the number 0.
    kept = Battles(found.players, found.a[1:], found.b[1:], found.outcome[1:])
    return kept, hard_difference(np.array(own), np.array(other))
