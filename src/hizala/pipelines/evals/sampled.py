"""Sampled behaviour: every model answers the same prompts, every answer is scored, models are compared by prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hizala.canonical import digest
from hizala.errors import EvalError
from hizala.pipelines.evals.store import Store
from hizala.pipelines.evals.suite import (
    EvalContext,
    Evaluated,
    Measure,
    SuiteResult,
    comparisons,
    estimates,
)
from hizala.records import Finding, Group, Sample, Verdict


@dataclass(frozen=True, slots=True)
class Scored:
    """One sampled response: its text, what it is worth, its length in tokens and whether it was cut."""

    text: str
    verdict: Verdict
    tokens: int
    truncated: bool


Judge = Callable[[Group, str], Verdict]
# From a group and a scored response to the metrics it counts for, with its value in each (None: not scored).
Facets = Callable[[Group, Scored], Mapping[str, float | None]]


def run(context: EvalContext, groups: Sequence[Group], judge: Judge, facets: Facets) -> SuiteResult:
    """Sample every model on the same prompts with the same random numbers, and score.

    Args:
        context: see `EvalContext`.
        groups: test prompts.
        judge: scores one response.
        facets: which metrics a response counts for; the names must depend on the group alone.
    Returns:
        Means with intervals clustered by prompt, paired differences, and one row of samples for each prompt.
    Raises:
        EvalError: no models or prompts, or the facets of two models differ.
    """
    if not context.models or not groups:
        raise EvalError("an evaluation needs at least one model and one prompt")
    prompts = [context.tokenizer.encode_prompt(group) for group in groups]
    scored: dict[str, list[list[Scored]]] = {}
    for model in context.models:
        sampled = samples_of(context, model, prompts)
        scored[model.name] = [
            [_score(context, group, sample, judge) for sample in some]
            for group, some in zip(groups, sampled, strict=True)
        ]
    measured = {name: _measures(prompts, groups, answers, facets) for name, answers in scored.items()}
    return SuiteResult(
        models={name: estimates(measures) for name, measures in measured.items()},
        paired=comparisons(measured),
        samples=[_row(group, {m: scored[m][i] for m in scored}) for i, group in enumerate(groups)],
        findings=_findings(scored),
    )


def samples_of(context: EvalContext, model: Evaluated, prompts: Sequence[Sequence[int]]) -> list[list[Sample]]:
    """The model's samples, read back where they were drawn before with the same settings."""
    key = {
        "what": "samples",
        "model": model.digest,
        "prompts": digest([list(p) for p in prompts]),
        "n": context.samples,
        "max_tokens": context.max_tokens,
        "seed": context.seed,
        "sampling": context.sampling,
    }
    store = Store(context.store)
    held = store.get(key)
    if held is None:
        report = context.progress(f"sampling {model.name}", len(prompts) * context.samples)
        sampler = context.sampler_for(model.load(), report)
        drawn = sampler.sample(prompts, n=context.samples, max_tokens=context.max_tokens, seed=context.seed)
        store.put(key, [[[s.ids, s.logps, s.truncated] for s in some] for some in drawn])
        return drawn
    return [[Sample(tuple(ids), tuple(logps), cut) for ids, logps, cut in some] for some in held]


def _score(context: EvalContext, group: Group, sample: Sample, judge: Judge) -> Scored:
    text = context.tokenizer.decode(sample.ids)
    return Scored(text, judge(group, text), len(sample.ids), sample.truncated)


def _measures(
    prompts: Sequence[Sequence[int]], groups: Sequence[Group], answers: Sequence[Sequence[Scored]], facets: Facets
) -> dict[str, Measure]:
    values: dict[str, list[float | None]] = {}
    clusters: dict[str, list[tuple[int, ...]]] = {}
    for prompt, group, some in zip(prompts, groups, answers, strict=True):
        for answer in some:
            for metric, value in facets(group, answer).items():
                values.setdefault(metric, []).append(value)
                # The prompt itself is the cluster: a prompt that stands twice is still one.
                clusters.setdefault(metric, []).append(tuple(prompt))
    return {metric: Measure(values[metric], clusters[metric]) for metric in values}


def _row(group: Group, answers: Mapping[str, Sequence[Scored]]) -> dict[str, Any]:
    expected = {"answer": group.meta["answer"]} if "answer" in group.meta else {}
    return {
        "id": group.id,
        "prompt": group.prompt[-1].content,
        "task": str(group.meta.get("task", "")),
        "lang": str(group.meta.get("lang", "")),
        "gold": expected,
        "responses": {
            model: {**_told(some[0]), **({"others": [_told(s) for s in some[1:]]} if len(some) > 1 else {})}
            for model, some in answers.items()
        },
    }


def _told(answer: Scored) -> dict[str, Any]:
    return {
        "text": answer.text,
        "score": answer.verdict.value,
        "reason": answer.verdict.reason,
        "parts": dict(answer.verdict.parts),
        "tokens": answer.tokens,
        "truncated": answer.truncated,
    }


def _findings(scored: Mapping[str, Sequence[Sequence[Scored]]]) -> list[Finding]:
    findings = []
    for model, answers in scored.items():
        every = [answer for some in answers for answer in some]
        cut = sum(answer.truncated for answer in every)
        unscored = sum(answer.verdict.value is None for answer in every)
        if cut:
            message = (
                f"{model}: {cut} of {len(every)} sampled responses met the token limit and were scored as they stood"
            )
            findings.append(Finding("truncated", "warning" if cut > 0.05 * len(every) else "info", message, model, cut))
        if unscored:
            message = f"{model}: {unscored} of {len(every)} sampled responses could not be scored and count for nothing"
            findings.append(Finding("unscored", "warning", message, model, unscored))
    return findings
