"""Whether a response is in the language it was asked in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from hizala.core.detect.language import fold, guess
from hizala.engines.reward.answers import shown
from hizala.engines.reward.base import language_of
from hizala.records import Group, Response, Verdict
from hizala.registry import reward

PIECE, LONGEST = 80, 400  # characters that are judged together: short lines are joined, long ones cut
_WORD = re.compile(r"[^\W\d_]+")
_SKIPPED = re.compile(r"`[^`\n]*`|\$[^$\n]*\$|\\[A-Za-z]+|</?(?:think|answer)>|https?://\S+")
# Labels of an answer are too short to be told by their letters.
_LABELS = {"cevap": "tr", "sonuç": "tr", "yanıt": "tr", "answer": "en", "result": "en"}


@reward("language", summary="the share of a response that is in the prompt's language", isolated=False)
def language(
    response: Response,
    group: Group,
    *,
    expected: Literal["prompt", "tr", "en"] = "prompt",
    part: Literal["all", "answer", "reasoning"] = "all",
    least: float = 0.0,
) -> Verdict:
    """How much of a response is in the language that was asked for, by words, told piece by piece.

    value = words in pieces of that language / words in pieces whose language can be told

    Code, formulas and numbers have no language; a response of nothing else is 1, for it is in no other language.

    Args:
        expected: the language; of the prompt: what its data say (`meta.lang`), else a guess.
        part: what is looked at: everything, what stands outside `<think>`, or what stands inside.
        least: a share below this earns 0.
    Returns:
        Verdict: in [0, 1]; not scored where the prompt's own language cannot be told.
    Source: DeepSeek-AI 2025, arXiv:2501.12948, sec. 2.3.2 (share of the target language's words).
    """
    asked = language_of(group) if expected == "prompt" else expected
    if asked not in ("tr", "en"):
        return Verdict(None, f"the prompt's language cannot be told: {asked}")
    text = response.text
    if part == "answer":
        text = shown(text)
    elif part == "reasoning":
        text = text.rpartition("</think>")[0] or text.partition("<think>")[2]
    counts = {"tr": 0, "en": 0, "other": 0, "unknown": 0}
    for piece in _pieces(text):
        counts[_language(piece)] += len(_WORD.findall(piece))
    told = counts["tr"] + counts["en"] + counts["other"]
    share = counts[asked] / told if told else 1.0
    if share < least:
        return Verdict(0.0, f"{share:.0%} of the words are in '{asked}'")
    return Verdict(share, "" if told else "nothing that has a language")


def _language(piece: str) -> str:
    found = guess(piece)
    if found == "unknown":
        labels = {_LABELS[word] for word in _WORD.findall(fold(piece)) if word in _LABELS}
        found = labels.pop() if len(labels) == 1 else found
    return found


def _pieces(text: str) -> Iterator[str]:
    """Lines outside code blocks, joined or cut to a like size; inline code, formulas and tags taken out."""
    code, held, size = False, list[str](), 0
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code:
            for start in range(0, len(line), LONGEST):
                held.append(_SKIPPED.sub(" ", line[start : start + LONGEST]))
                size += len(held[-1])
                if size >= PIECE:
                    yield "\n".join(held)
                    held, size = [], 0
    if held:
        yield "\n".join(held)
