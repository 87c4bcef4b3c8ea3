"""Which samples stand in the report, and how their text is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hizala.readers.report.scores import slots
from hizala.readers.report.text import fixed, shorten
from hizala.readers.report.views import SampleRow, StageView

MOST_SAMPLES = 240
MOST_CHARACTERS = 4_000
MOST_IN_ALL = 1_500_000


@dataclass(frozen=True, slots=True)
class AnswerCard:
    """A response as shown: `score` "" where it was not scored, `cut` the characters left out."""

    model: str
    slot: str
    text: str
    cut: int
    score: str
    share: int
    reason: str
    truncated: bool
    others: int


@dataclass(frozen=True, slots=True)
class SampleCard:
    """A sample as shown; `outcome` compares the last model's score with the first's."""

    prompt: str
    cut: int
    task: str
    lang: str
    gold: tuple[tuple[str, str], ...]
    answers: tuple[AnswerCard, ...]
    outcome: str


@dataclass(frozen=True, slots=True)
class SampleSet:
    """The samples of a stage that stand in the report, and how many there are in all."""

    cards: tuple[SampleCard, ...]
    available: int
    tasks: tuple[str, ...]
    langs: tuple[str, ...]
    first: str
    last: str


def choose(stage: StageView, models: Sequence[str]) -> SampleSet | None:
    """Samples for the page, evenly over task and language, within the page's size.

    Args:
        stage: an evaluation stage.
        models: models in the order of the results; others follow as met.
    """
    if not stage.samples:
        return None
    order = list(dict.fromkeys([*models, *(m for row in stage.samples for m in row.responses)]))
    present = [m for m in order if any(m in row.responses for row in stage.samples)]
    colours = slots(order)
    cards: list[SampleCard] = []
    size = 0
    for row in _spread(stage.samples):
        card = _card(row, present, colours)
        size += len(card.prompt) + sum(len(a.text) for a in card.answers)
        if cards and (size > MOST_IN_ALL or len(cards) >= MOST_SAMPLES):
            break
        cards.append(card)
    first, last = (present[0], present[-1]) if present else ("", "")
    return SampleSet(
        tuple(cards),
        len(stage.samples),
        tuple(sorted({c.task for c in cards if c.task})),
        tuple(sorted({c.lang for c in cards if c.lang})),
        first,
        last if last != first else "",
    )


def _spread(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The first of each (task, language), then the second of each, and so on."""
    seen: dict[tuple[str, str], int] = {}
    placed = []
    for i, row in enumerate(rows):
        key = (row.task, row.lang)
        seen[key] = seen.get(key, 0) + 1
        placed.append((seen[key], i, row))
    return [row for _, _, row in sorted(placed, key=lambda item: item[:2])]


def _card(row: SampleRow, models: Sequence[str], colours: dict[str, str]) -> SampleCard:
    answers = []
    for model in models:
        if model not in row.responses:
            continue
        answer = row.responses[model]
        text, cut = shorten(answer.text, MOST_CHARACTERS)
        score = "" if answer.score is None else fixed(answer.score, 2)
        share = 0 if answer.score is None else round(10 * min(max(answer.score, 0.0), 1.0))
        reason = shorten(answer.reason, 300)[0]
        card = AnswerCard(model, colours[model], text, cut, score, share, reason, answer.truncated, answer.others)
        answers.append(card)
    prompt, cut = shorten(row.prompt, MOST_CHARACTERS)
    gold = tuple((key, shorten(value, 400)[0]) for key, value in row.gold[:12])
    return SampleCard(prompt, cut, row.task, row.lang, gold, tuple(answers), _outcome(row, models))


def _outcome(row: SampleRow, models: Sequence[str]) -> str:
    answers = [row.responses[m] for m in (models[0], models[-1]) if m in row.responses] if models else []
    if len(answers) < 2 or answers[0].score is None or answers[1].score is None:
        return "unknown"
    before, after = answers[0].score, answers[1].score
    return "same" if abs(after - before) < 1e-9 else "up" if after > before else "down"
