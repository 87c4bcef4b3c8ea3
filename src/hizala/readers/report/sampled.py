"""The table of sampled responses: its first page as markup, all of it as data that the page's script browses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from hizala.readers.report.text import Phrases, clean, number, script_json, shorten
from hizala.readers.report.views import Sampled, SampledGroup, StageView

PAGE = 10
MOST_IN_ALL = 1_500_000  # characters of all responses
LEAST = 240  # to which a response is cut where there are many


@dataclass(frozen=True, slots=True)
class Cells:
    """A row as shown; `again` says that the prompt is that of the row above."""

    step: int
    task: str
    lang: str
    prompt: str
    prompt_cut: int
    again: bool
    text: str
    cut: int
    score: str
    share: int
    parts: tuple[tuple[str, str], ...]
    tokens: str
    reason: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The samples of a stage of online RL.

    Attributes:
        first: the first page of the last step.
        data: every row for the script.
        steps, tasks, langs, parts: what there is to choose from, steps from the last to the first.
        unscored, truncated: whether any response is.
        responses: rows in the data.
        of_steps, prompts, of_prompts: as in `Rollouts`.
        file: where all of them stand.
    """

    first: tuple[Cells, ...]
    data: Markup
    steps: tuple[int, ...]
    tasks: tuple[str, ...]
    langs: tuple[str, ...]
    parts: tuple[str, ...]
    unscored: bool
    truncated: bool
    responses: int
    of_steps: int
    prompts: int
    of_prompts: int
    file: str


def table(stage: StageView, phrases: Phrases) -> Table | None:
    """The table of a stage; None where nothing was sampled yet."""
    rollouts = stage.rollouts
    if rollouts is None or not rollouts.groups:
        return None
    groups = rollouts.groups
    every = [response for group in groups for response in group.responses]
    most = max(LEAST, MOST_IN_ALL // max(1, len(every)))
    parts = tuple(dict.fromkeys(name for response in every for name, _ in response.parts))[:12]
    if len(parts) == 1 and all(value == response.score for response in every for _, value in response.parts):
        parts = ()  # the only reward, weighed by 1, is the sum
    shares = _Shares([r.score for r in every if r.score is not None])
    last = [group for group in groups if group.step == rollouts.steps[-1]]
    first = [cells for group in last for cells in _cells(group, parts, shares, most)][:PAGE]
    return Table(
        tuple(first),
        _data(groups, parts, shares, most),
        tuple(reversed(rollouts.steps)),
        tuple(sorted({group.task for group in groups if group.task})),
        tuple(sorted({group.lang for group in groups if group.lang})),
        parts,
        any(response.score is None for response in every),
        any(response.truncated for response in every),
        len(every),
        rollouts.of_steps,
        rollouts.prompts,
        rollouts.of_prompts,
        f"stages/{stage.number:02d}-{stage.name}/samples.jsonl",
    )


class _Shares:
    """Tenths of the way from the lowest to the highest reward."""

    def __init__(self, scores: Sequence[float]) -> None:
        self.low, self.high = (min(scores), max(scores)) if scores else (0.0, 0.0)

    def of(self, score: float | None) -> int:
        if score is None or not self.high - self.low > 0:
            return 5
        # Halved first: the way from the lowest float to the highest is no float.
        return round(10 * ((score / 2 - self.low / 2) / (self.high / 2 - self.low / 2)))


def _cells(group: SampledGroup, parts: Sequence[str], shares: _Shares, most: int) -> list[Cells]:
    return [
        Cells(
            group.step, group.task, group.lang, group.prompt, group.cut, i > 0, *_text(response, most),
            "" if response.score is None else number(response.score), shares.of(response.score),
            tuple((name, number(value)) for name, value in response.parts if name in parts),
            "" if response.tokens is None else number(response.tokens), response.reason, response.truncated,
        )
        for i, response in enumerate(group.responses)
    ]  # fmt: skip


def _text(response: Sampled, most: int) -> tuple[str, int]:
    text, cut = shorten(response.text, most)
    return text, cut + response.cut


def _data(groups: Sequence[SampledGroup], parts: Sequence[str], shares: _Shares, most: int) -> Markup:
    """Prompts once; rows: prompt, text, characters cut, score shown and plain, tenths, parts, tokens, cut, why."""
    prompts = [[g.step, clean(g.task), clean(g.lang), clean(g.prompt), g.cut] for g in groups]
    rows = []
    for place, group in enumerate(groups):
        for response in group.responses:
            text, cut = _text(response, most)
            given = dict(response.parts)
            shown = "" if response.score is None else number(response.score)
            values = [[number(given[name]), _plain(given[name])] if name in given else None for name in parts]
            rows.append(
                [place, clean(text), cut, shown, response.score, shares.of(response.score), values, response.tokens,
                 int(response.truncated), clean(response.reason)]
            )  # fmt: skip
    return script_json({"parts": [clean(name) for name in parts], "prompts": prompts, "rows": rows})


def _plain(value: float) -> float | None:
    """The number as strict JSON can hold it."""
    return value if value - value == 0 else None
