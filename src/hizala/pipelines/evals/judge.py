"""Suites that ask every model to judge in words, on pairs whose better side is known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hizala.canonical import digest
from hizala.engines.reward.generative import Comparison, GenerativeJudge
from hizala.engines.reward.verdicts import Form
from hizala.errors import EvalError
from hizala.pipelines.evals.store import Store
from hizala.pipelines.evals.suite import EvalContext, Evaluated, Measure, SuiteResult, comparisons, estimates, suite
from hizala.pipelines.judgements import KINDS, language_of
from hizala.protocols import Policy
from hizala.records import Finding, Group, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge made of one pair, as numbers; None is "not scored".

    Attributes:
        right: 1 the chosen side is preferred, 0 the other, 0.5 neither.
        one_order: the same from the first order alone; of a pointwise judge, as `right`.
        inconsistent: 1 where the two orders prefer different sides; None of a pointwise judge.
        first: probability given to the side shown as A, mean over both orders; None of a pointwise judge.
        mass: probability given to the possible verdicts together.
    """

    right: float | None
    one_order: float | None
    inconsistent: float | None
    first: float | None
    mass: float | None


def _suite(kind: str) -> Callable[[EvalContext], SuiteResult]:
    asked, reasoning = KINDS[kind]
    form = Form(asked, reasoning)

    def judge_suite(context: EvalContext) -> SuiteResult:
        return run(context, form, "judge_" + kind.replace("+", "_"))

    how = "which of two answers is better" if asked == "pairwise" else "how good an answer is, 1 to 5"
    judge_suite.__doc__ = f"Every model judges in words {how}{', after reasoning' if reasoning else ''}."
    return judge_suite


for _kind in KINDS:
    suite("judge_" + _kind.replace("+", "_"), needs_pairs=True)(_suite(_kind))


def run(context: EvalContext, form: Form, name: str) -> SuiteResult:
    """Let every model judge the same pairs.

    NAME/accuracy: share of pairs whose chosen side is preferred, a tie one half; a pairwise judge is asked in both
    orders and the mean decides. NAME/one_order: the same from one order, drawn by the pair's id. NAME/inconsistent:
    share whose preference turns with the order. NAME/first: mean probability of the side shown as A (0.5 where the
    place does not matter). NAME/mass: probability of all possible verdicts together, near 1 for who has learnt to
    judge. NAME/read: share of pairs that were scored. NAME/accuracy.TASK: accuracy on one task.

    Args:
        context: `pairs`, `max_length`, `token_budget` and, for reasoning, the sampler are used.
        form: how is judged; each pair in its own language.
        name: before the figures.
    Returns:
        Figures with intervals clustered by prompt, and paired differences.
    Raises:
        EvalError: no pairs.
    """
    pairs = list(context.pairs()) if context.pairs is not None else []
    if not pairs:
        raise EvalError("a judge needs preference pairs to be judged by", fix="name data, or held_out_of: a stage")
    measured: dict[str, dict[str, Measure]] = {}
    findings: list[Finding] = []
    for model in context.models:
        judged = _judged(context, model, pairs, form)
        measured[model.name] = _measures(pairs, judged, name)
        lost = sum(j.right is None for j in judged)
        if lost:
            message = f"{model.name}: {lost} of {len(judged)} pairs got no verdict that could be read ({name})"
            findings.append(Finding("unscored", "warning", message, model.name, lost))
    return SuiteResult(
        {model: estimates(measures) for model, measures in measured.items()}, comparisons(measured), (), findings
    )


def _judged(context: EvalContext, model: Evaluated, pairs: Sequence[Group], form: Form) -> list[Judgement]:
    """The model's judgements, read back where they were made before."""
    key = {
        "what": "judgements",
        "model": model.digest,
        "pairs": digest([[p.id, [m.content for m in p.prompt], [r.text for r in p.responses]] for p in pairs]),
        "form": [form.kind, form.reasoning, form.style],
        "max_tokens": context.max_tokens,
        "seed": context.seed,
        "sampling": context.sampling if form.reasoning else {},
    }
    store = Store(context.store)
    held: Any = store.get(key)
    if held is None:
        held = _ask(context, model.load(), pairs, form)
        store.put(key, held)
    return [Judgement(*row) for row in held]


def _ask(context: EvalContext, policy: Policy, pairs: Sequence[Group], form: Form) -> list[list[float | None]]:
    sampler = None
    if form.reasoning:
        # Both orders of a pair, or both of its answers.
        sampler = context.sampler_for(policy, context.progress("judging", 2 * len(pairs)))
    judge = GenerativeJudge(
        policy,
        context.tokenizer,
        form,
        sampler=sampler,
        max_tokens=context.max_tokens,
        seed=context.seed,
        token_budget=context.token_budget,
        language_of=language_of,
    )
    if form.kind == "pointwise":
        return [_of_grades(some) for some in judge.score(pairs)]
    turned = [_turned(pair) for pair in pairs]
    shown = [_swapped(pair) if turn else pair for pair, turn in zip(pairs, turned, strict=True)]
    found = judge.compare(shown)
    return [_of_comparison(one, turn) for one, turn in zip(found, turned, strict=True)]


def _turned(pair: Group) -> bool:
    """Whether the first order shows the rejected side as A: half of the pairs, by their ids."""
    return int(digest(pair.id)[:8], 16) % 2 == 1


def _swapped(pair: Group) -> Group:
    return replace(pair, responses=pair.responses[::-1])


def _of_grades(verdicts: Sequence[Verdict]) -> list[float | None]:
    chosen, rejected = (v.value for v in verdicts)
    masses = [v.parts["mass"] for v in verdicts]
    mass = None if any(m != m for m in masses) else sum(masses) / len(masses)
    if chosen is None or rejected is None:
        return [None, None, None, None, mass]
    right = 0.5 if chosen == rejected else float(chosen > rejected)
    return [right, right, None, None, mass]


def _of_comparison(found: Comparison, turned: bool) -> list[float | None]:
    def right(p: float | None) -> float | None:
        if p is None:
            return None
        return 0.5 if p == 0.5 else float((p > 0.5) != turned)

    mass = None if found.mass != found.mass else found.mass
    steady = found.consistent
    first = None
    if found.forward is not None and found.backward is not None:
        first = (found.forward + 1.0 - found.backward) / 2
    return [right(found.value), right(found.forward), None if steady is None else float(not steady), first, mass]


def _measures(pairs: Sequence[Group], judged: Sequence[Judgement], name: str) -> dict[str, Measure]:
    clusters: list[Hashable] = [tuple(m.content for m in pair.prompt) for pair in pairs]
    pairwise = any(j.inconsistent is not None for j in judged) or "pairwise" in name
    columns: Mapping[str, Iterable[float | None]] = {
        "accuracy": (j.right for j in judged),
        **({"one_order": (j.one_order for j in judged)} if pairwise else {}),
        **({"inconsistent": (j.inconsistent for j in judged)} if pairwise else {}),
        **({"first": (j.first for j in judged)} if pairwise else {}),
        "mass": (j.mass for j in judged),
        "read": (float(j.right is not None) for j in judged),
    }
    measures = {f"{name}/{column}": Measure(list(values), clusters) for column, values in columns.items()}
    tasks = {str(pair.meta["task"]) for pair in pairs if "task" in pair.meta}
    for task in sorted(tasks) if len(tasks) > 1 else ():
        inside = [i for i, pair in enumerate(pairs) if pair.meta.get("task") == task]
        part = Measure([judged[i].right for i in inside], [clusters[i] for i in inside])
        measures[f"{name}/accuracy.{task}"] = part
    return measures
