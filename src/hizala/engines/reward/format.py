"""Whether a response has the form that was asked for."""

from __future__ import annotations

import re
from typing import Literal

from hizala.engines.reward.answers import strong
from hizala.engines.reward.base import language_of, spoken
from hizala.records import Group, Response, Verdict
from hizala.registry import reward
from hizala.world.arithmetic import LABEL

Style = Literal["think_answer", "think", "boxed", "answer"]
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_VALUE = re.compile(r"-?[0-9]{1,12}(?:[.,][0-9]{1,12})*\.?")


@reward("format", summary="the form of a response: <think> and <answer>, a box, or a labelled answer", isolated=False)
def format(
    response: Response,
    group: Group,
    *,
    style: Style = "think_answer",
    strict: bool = True,
    opened: bool = False,
) -> Verdict:
    """1 where a response has the form, else 0; lenient, the share of its parts that stand where they should.

    think_answer  <think>…</think><answer>…</answer>, each tag once, nothing but blanks outside, neither part empty
    think         <think>…</think>, then an answer that is not empty and holds no such tag
    boxed         one \\boxed{…} outside the reasoning, closed and not empty
    answer        an optional <think> block, then `Answer: N` (`Cevap: N` where Turkish was asked) and no more

    Args:
        style: the form.
        strict: all or nothing; otherwise each part of the form earns its share.
        opened: the chat template has written `<think>` already, so that the response begins inside it. A prompt that
            ends with it is recognised.
    Returns:
        Verdict: in [0, 1], with what lacks as reason; a truncated response is judged as it stands.
    """
    text = spoken(response, group, opened)
    if style in ("think_answer", "think"):
        checks = _tagged(text, TAGS if style == "think_answer" else TAGS[:2], style)
    elif style == "boxed":
        checks = _boxed(text)
    else:
        checks = _labelled(text, LABEL["tr" if language_of(group) == "tr" else "en"])
    missing = [what for what, good in checks.items() if not good]
    share = 1 - len(missing) / len(checks)
    return Verdict(float(not missing) if strict else share, "; ".join(missing))


def _tagged(text: str, tags: tuple[str, ...], style: Style) -> dict[str, bool]:
    counts = {tag: text.count(tag) for tag in TAGS}
    places = [text.find(tag) for tag in tags]
    ordered = all(place >= 0 for place in places) and places == sorted(places)
    checks = {f"{tag} stands {counts[tag]} times": counts[tag] == 1 for tag in tags}
    checks["the tags are not in order"] = ordered
    if not ordered:
        return {**checks, "something stands outside the tags": False, "a part is empty": False}
    before = text[: places[0]]
    inside = [
        text[place + len(tag) : end] for tag, place, end in zip(tags, places, [*places[1:], len(text)], strict=True)
    ]
    if style == "think_answer":
        thought, between, answer, after = inside
        checks["something stands outside the tags"] = not (before + between + after).strip()
        checks["a part is empty"] = bool(thought.strip()) and bool(answer.strip())
    else:
        thought, after = inside
        checks["something stands outside the tags"] = not before.strip() and "<answer>" not in after
        checks["a part is empty"] = bool(thought.strip()) and bool(after.strip())
    return checks


def _after_thought(text: str) -> tuple[bool, str]:
    """Whether the reasoning block is whole, or there is none, and what follows it."""
    opened, closed = text.count("<think>"), text.count("</think>")
    whole = opened == closed == 0 or (opened == closed == 1 and text.lstrip().startswith("<think>"))
    return whole, text.rpartition("</think>")[2] if whole else ""


def _boxed(text: str) -> dict[str, bool]:
    whole, visible = _after_thought(text)
    boxes = [claim for claim in strong(visible) if claim.kind == "box"]
    closed = [claim for claim in boxes if claim.closed and claim.text.strip()]
    return {
        "the reasoning block is not whole": whole,
        f"a box stands {len(boxes)} times": len(boxes) == 1,
        "the box is empty or never closed": len(closed) == len(boxes) > 0,
    }


def _labelled(text: str, label: str) -> dict[str, bool]:
    whole, visible = _after_thought(text)
    visible = visible.strip()
    value = visible[len(label) :].strip() if visible.startswith(label) else ""
    return {
        "the reasoning block is not whole": whole,
        f"the answer does not begin with '{label}'": visible.startswith(label),
        "no number, or more than one, follows the label": len(value) < 200 and bool(_VALUE.fullmatch(value)),
    }
