"""From judged candidates to preference pairs: which is best, which is worst, and when there is no pair to be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.pipelines.candidates import Answers
from hizala.records import TokenBranch, TokenGroup, Verdict


@dataclass(frozen=True, slots=True)
class Pick:
    """A pair among candidates: indices of its two sides and the difference of their scores, where they have any."""

    chosen: int
    rejected: int
    margin: float | None


@dataclass(slots=True)
class Harvest:
    """The pairs of one round.

    Attributes:
        pairs: in tokens, chosen first.
        reference: group id -> (N_g,) nats under the reference, where it was measured already.
        metrics: what is logged of the round.
        rows: of samples.jsonl, one a prompt.
    """

    pairs: list[TokenGroup] = field(default_factory=list)
    reference: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def extremes(answers: Answers, verdicts: Sequence[Verdict], margin: float = 0.0) -> Pick | str:
    """The best and the worst of K judged candidates.

    best = argmax of the scores over whole candidates, worst = argmin over all; first ones where scores are equal

    A response cut at the token limit is never chosen, since it would teach not to end; it can be rejected.

    Args:
        answers: the candidates.
        verdicts: one a candidate; a value of None takes no part.
        margin: least difference of the two scores.
    Returns:
        The pick, or why there is none: "unscored" (fewer than two scored), "cut" (no whole one is scored), "tied"
        (equal scores or equal texts) or "close" (nearer than the margin).
    """
    scored = [(v.value, i) for i, v in enumerate(verdicts) if v.value is not None]
    if len(scored) < 2:
        return "unscored"
    whole = [(value, i) for value, i in scored if not answers.samples[i].truncated]
    if not whole:
        return "cut"
    best, chosen = max(whole, key=lambda pair: (pair[0], -pair[1]))
    worst, rejected = min(scored)
    if best <= worst or answers.texts[chosen] == answers.texts[rejected]:
        return "tied"
    return Pick(chosen, rejected, best - worst) if best - worst >= margin else "close"


def gather(
    answers: Sequence[Answers], verdicts: Sequence[Sequence[Verdict]], picks: Sequence[Pick | str], number: int
) -> Harvest:
    """Pairs in tokens, their rows and what is logged, from picks.

    Args:
        answers, verdicts, picks: one a prompt.
        number: of the round; part of the pairs' ids, so that a prompt answered twice has two ids.
    """
    harvest = Harvest()
    seen: Counter[str] = Counter()
    for answered, judged, pick in zip(answers, verdicts, picks, strict=True):
        name = f"{answered.prompt.group.id}@{number}"
        seen[name] += 1  # a round may reach over the end of the data and meet a prompt again
        name += f"#{seen[name]}" if seen[name] > 1 else ""
        if isinstance(pick, Pick):
            pair = answered.as_tokens((pick.chosen, pick.rejected), id=name, margin=pick.margin)
            harvest.pairs.append(pair)
        harvest.rows.append(_row(name, number, answered, judged, pick))
    harvest.metrics = _metrics(answers, verdicts, picks)
    return harvest


def _metrics(
    answers: Sequence[Answers], verdicts: Sequence[Sequence[Verdict]], picks: Sequence[Pick | str]
) -> dict[str, float]:
    found = [(a, p) for a, p in zip(answers, picks, strict=True) if isinstance(p, Pick)]
    values = [v.value for some in verdicts for v in some if v.value is not None]
    every = sum(len(some) for some in verdicts)
    metrics = {
        "pairs/count": float(len(found)),
        "pairs/yield": len(found) / len(picks),
        "samples/length": float(np.mean([len(s.ids) for a in answers for s in a.samples])),
        "samples/truncated": float(np.mean([s.truncated for a in answers for s in a.samples])),
    }
    if values:
        metrics["samples/score"] = float(np.mean(values))
        metrics["samples/unscored"] = 1.0 - len(values) / every
    if found:
        lengths = [(len(a.samples[p.chosen].ids), len(a.samples[p.rejected].ids)) for a, p in found]
        metrics["pairs/chosen_length"] = float(np.mean([c for c, _ in lengths]))
        metrics["pairs/rejected_length"] = float(np.mean([r for _, r in lengths]))
        margins = [p.margin for _, p in found if p.margin is not None]
        if margins:
            metrics["pairs/margin"] = float(np.mean(margins))
    for reason, count in sorted(Counter(p for p in picks if isinstance(p, str)).items()):
        metrics[f"unused/{reason}"] = float(count)
    return metrics


def _row(name: str, number: int, answered: Answers, verdicts: Sequence[Verdict], pick: Pick | str) -> dict[str, Any]:
    """A row of samples.jsonl: the prompt, both sides of its pair or why there is none, and every candidate."""
    told = [
        {"text": text, "score": v.value, "reason": v.reason, "tokens": len(s.ids), "truncated": s.truncated}
        for text, v, s in zip(answered.texts, verdicts, answered.samples, strict=True)
    ]
    group = answered.prompt.group
    row: dict[str, Any] = {
        "id": name,
        "round": number,
        "prompt": group.prompt[-1].content,
        "task": str(group.meta.get("task", "")),
        "lang": str(group.meta.get("lang", "")),
    }
    if isinstance(pick, Pick):
        sides = {"rejected": told[pick.rejected], "chosen": told[pick.chosen]}
        return {**row, "margin": pick.margin, "responses": sides, "candidates": told}
    return {**row, "unused": pick, "responses": {}, "candidates": told}


def frozen(harvest: Harvest) -> dict[str, Any]:
    """A round's pairs as extra state of a checkpoint: flat arrays and the lengths of their parts."""
    if not harvest.pairs:
        return {"metrics": dict(harvest.metrics)}
    branches = [r for pair in harvest.pairs for r in pair.responses]
    ids = [i for pair in harvest.pairs for i in pair.prompt] + [i for r in branches for i in r.ids]
    return {
        "ids": np.array(ids, dtype=np.int64),
        "mask": np.array([m for r in branches for m in r.mask], dtype=np.bool_),
        "prompts": [len(pair.prompt) for pair in harvest.pairs],
        "branches": [[len(r.ids), r.truncated] for r in branches],
        "names": [pair.id for pair in harvest.pairs],
        "margins": [pair.margin for pair in harvest.pairs],
        "reference": np.concatenate([harvest.reference[p.id] for p in harvest.pairs]) if harvest.reference else None,
        "metrics": dict(harvest.metrics),
    }


def thawed(state: dict[str, Any]) -> Harvest:
    """The round that `frozen` was given, without its rows, which were written."""
    harvest = Harvest(metrics=dict(state["metrics"]))
    if "ids" not in state:
        return harvest
    ids, mask = state["ids"].tolist(), state["mask"].tolist()
    start, at, read, measured = sum(state["prompts"]), 0, 0, 0
    pieces = iter(state["branches"])
    for size, name, margin in zip(state["prompts"], state["names"], state["margins"], strict=True):
        sides = []
        for length, truncated in (next(pieces), next(pieces)):
            marks = tuple(mask[read : read + length])
            sides.append(TokenBranch(tuple(ids[start : start + length]), marks, truncated))
            start, read = start + length, read + length
        harvest.pairs.append(TokenGroup(tuple(ids[at : at + size]), tuple(sides), id=name, margin=margin))
        at += size
        if state["reference"] is not None:
            counted = sum(sum(side.mask) for side in sides)
            harvest.reference[name] = state["reference"][measured : measured + counted]
            measured += counted
    return harvest
