"""Which of the responses to a prompt are worth learning from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hizala.core.detect.language import guess
from hizala.pipelines.candidates import Answers
from hizala.records import Verdict

KEPT = "kept"
# Why a response is not kept; the first that applies is counted.
REASONS = ("unscored", "cut", "low", "language", "duplicate", "surplus")
_LANGUAGES = ("tr", "en")


@dataclass(frozen=True, slots=True)
class Selection:
    """What became of the responses to one prompt.

    Attributes:
        kept: indices of the kept ones, the best first.
        fates: of every response, in order: "kept" or one of `REASONS`.
    """

    kept: tuple[int, ...]
    fates: tuple[str, ...]


def select(
    answers: Answers, verdicts: Iterable[Verdict], *, threshold: float | None, keep: int, same_language: bool
) -> Selection:
    """The best responses to one prompt, each text once.

    Left out are responses that were not scored, were cut at the token limit (they would teach not to end), are worth
    less than the threshold, are in another language than the prompt, say what a kept one says, or come after `keep`
    better ones. Equal rewards stand in the order they were sampled in.

    Args:
        answers: the prompt and its responses.
        verdicts: one a response.
        threshold: least reward; None: any.
        keep: most responses kept.
        same_language: whether the language must be the prompt's; a text too short to tell passes.
    Source: DeepSeek-AI 2025, arXiv:2501.12948, sec. 2.3.3 (sampling from the RL checkpoint, right answers alone kept,
        mixed languages filtered out).
    """
    judged = list(verdicts)
    asked = str(answers.prompt.group.meta.get("lang") or guess(answers.prompt.group.prompt[-1].content))
    fates = []
    for sample, text, verdict in zip(answers.samples, answers.texts, judged, strict=True):
        if verdict.value is None:
            fates.append("unscored")
        elif sample.truncated:
            fates.append("cut")
        elif threshold is not None and verdict.value < threshold:
            fates.append("low")
        elif same_language and strays(text, asked):
            fates.append("language")
        else:
            fates.append(KEPT)
    able = [(-(judged[i].value or 0.0), i) for i, fate in enumerate(fates) if fate == KEPT]
    kept: list[int] = []
    said: set[str] = set()
    for _, i in sorted(able):
        words = " ".join(answers.texts[i].split())
        if words in said:
            fates[i] = "duplicate"
        elif len(kept) == keep:
            fates[i] = "surplus"
        else:
            said.add(words)
            kept.append(i)
    return Selection(tuple(kept), tuple(fates))


def strays(text: str, asked: str) -> bool:
    """Whether a text is surely in another language than was asked in."""
    found = guess(text)
    return asked in _LANGUAGES and found in (*_LANGUAGES, "other") and found != asked


def counts(fates: Iterable[str]) -> dict[str, int]:
    """How many responses met each fate, those that none met left out."""
    found = Counter(fates)
    return {fate: found[fate] for fate in (KEPT, *REASONS) if found[fate]}
