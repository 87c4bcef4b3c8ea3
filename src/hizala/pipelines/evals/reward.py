"""The suites about reward models: `reward` on data that people or the world graded, `best_of_n` on what is sampled."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hizala import world
from hizala.canonical import digest
from hizala.core.combine import aggregate
from hizala.errors import DataError, EvalError, TemplateError
from hizala.pipelines.evals import reward_best_of_n as best
from hizala.pipelines.evals.reward_lists import ScoredSteps, ranking_measures, step_figures
from hizala.pipelines.evals.reward_pairs import (
    accuracy_measures,
    bucket_table,
    calibration,
    grade_correlation,
    length_bias,
)
from hizala.pipelines.evals.reward_rows import Floats, Scored, centred, gold, of_world, pair_rows
from hizala.pipelines.evals.reward_style import adorned, style_figures
from hizala.pipelines.evals.sampled import samples_of
from hizala.pipelines.evals.store import Store
from hizala.pipelines.evals.suite import (
    EvalContext,
    Measure,
    Rewarded,
    Scorer,
    StepScorer,
    SuiteResult,
    comparisons,
    estimates,
    suite,
)
from hizala.records import Estimate, Finding, Group, Message, Response

CHUNK = 64  # groups scored between two reports of progress
STYLE_PROMPTS = 200  # most problems of the world that the ornaments are put on
CEILING = "ceiling"
STEPPED = "arithmetic"  # the family of tasks whose answers have steps


@suite("reward", needs_groups=True, needs_rewards=True)
def reward_suite(context: EvalContext) -> SuiteResult:
    """Reward models on held-out pairs, rankings and marked steps: accuracy, calibration, biases.

    Of pairs, and of every two responses of a ranking of which one is better:
      accuracy, accuracy.BUCKET   share ranked rightly, a tie one half; by source, strength, longer side, length
      nll, brier, ece, ece_mass   of sigmoid(margin); each again as NAME_scaled with a temperature of the other half;
                                  not of models that score steps, whose scores are no log-odds
      length_*, gold_correlation  see `reward_pairs.length_bias`
      flourish, padding           see `reward_style.style_figures`; where the data are of the embedded world
    Of rankings: kendall_tau, ndcg, ndcg_exponential, ndcg_3, top1. Of graded responses: grade_correlation. Of marked
    steps, for models that score steps: step_accuracy, step_right, first_error_f1, first_error_wrong, first_error_right.

    Args:
        context: `groups`, `rewards`, `tokenizer`, `max_length` and, for the ornaments, `prompts` are used.
    Raises:
        EvalError: no reward model, no data, or no group that can be used.
    """
    groups, lengths, findings = _material(context)
    prompts = [_prompt(group) for group in groups]
    graded = [i for i, group in enumerate(groups) if len(group.responses) > 1 or _is_graded(group)]
    marked = [i for i, group in enumerate(groups) if _is_marked(group)]
    figures: dict[str, dict[str, Estimate]] = {}
    measures: dict[str, dict[str, Measure]] = {}
    details: dict[str, Any] = {}
    made = adorned(min(context.prompts, STYLE_PROMPTS)) if graded and all(of_world(groups[i]) for i in graded) else []
    for model in context.rewards:
        some = [groups[i] for i in graded]
        found = scores_of(context, model, some)
        every = [Scored(groups[i], s, lengths[i], prompts[i]) for i, s in zip(graded, found, strict=True)]
        scored = [one for one in every if len(one.scores) > 1]
        figures[model.name], details[model.name], noticed = _of_graded(context, model, scored)
        figures[model.name] |= grade_correlation(every, model.attribute, context.seed)
        measured = {**accuracy_measures(pair_rows(scored)), **ranking_measures(scored)}
        # A score put together of steps is a probability, no log-odds: it has no Bradley-Terry likelihood.
        measures[model.name] = {n: m for n, m in measured.items() if n != "reward/nll" or model.steps is None}
        if made and scored:
            score = _scorer(context, model)
            spread = float(np.nanstd(centred(scored)[0]))
            figures[model.name] |= style_figures(made, score, lambda gs: [_prompt(g) for g in gs], spread, context.seed)
        findings += noticed
    for name, model in {m.steps: m for m in reversed(context.rewards) if m.steps}.items() if marked else ():
        answers = _answers(context, model, [groups[i] for i in marked])
        steps, told = step_figures(answers, context.seed)
        figures[name] = figures.get(name, {}) | steps
        details[name] = details.get(name, {}) | told
    return SuiteResult(
        models={n: f for n in figures if (f := {**estimates(measures.get(n, {}), context.seed), **figures[n]})},
        paired=comparisons(measures, context.seed),
        findings=findings,
        details={"reward": details},
    )


def _of_graded(
    context: EvalContext, model: Rewarded, scored: Sequence[Scored]
) -> tuple[dict[str, Estimate], dict[str, Any], list[Finding]]:
    """Calibration, length bias and buckets of one reward model; a score put together of steps is no log-odds."""
    rows = pair_rows(scored)
    if not rows:
        return {}, {}, []
    figures = length_bias(scored, rows, context.seed)
    findings: list[Finding] = []
    details: dict[str, Any] = {"buckets": bucket_table(rows, context.seed)}
    if model.steps is None:
        calibrated, details["calibration"], findings = calibration(rows, model.name, context.seed)
        figures = calibrated | figures
    lost = sum(int(np.isnan(s.scores).sum()) for s in scored)
    if lost:
        message = f"{model.name}: {lost} responses could not be scored; pairs and lists with them are left out"
        findings.append(Finding("unscored", "warning", message, model.name, lost))
    return figures, details, findings


@suite("best_of_n", needs_rewards=True)
def best_of_n_suite(context: EvalContext) -> SuiteResult:
    """Over-optimisation: gold and proxy of best-of-n by each reward model, on the embedded world.

    The last policy answers each test prompt `samples` times. For n = 1, 2, 4, … up to `samples`:
      gold.n   gold reward of the sample that the reward model likes most among n, expected over all subsets of n
      proxy.n  how far its own score rises above that of a single sample, in its standard deviations
    gain is gold at the largest n less gold at 1, last less gold at the n before it. The details hold the curve by KL,
    log n - (n - 1) / n nats, and the ceiling: the best of n by gold itself. Where a reward model scores steps, every
    model is measured on the arithmetic prompts too (arithmetic_gold.n, …), and that one on them alone.

    Args:
        context: the last of `models`, `rewards`, `prompts`, `samples`, `max_tokens`, `seed` and the sampler are used.
    Raises:
        EvalError: no reward model or policy, or fewer than two samples a prompt.
    """
    if not context.rewards or not context.models:
        raise EvalError("best-of-n needs a policy and a reward model", fix="train a reward model in a stage before it")
    if context.samples < 2:
        raise EvalError(
            "best-of-n of one sample a prompt is that sample", where="stages.evaluate.samples", fix="set samples: 16"
        )
    prompts = world.generate("test", context.prompts, seed=0)
    policy = context.models[-1]
    drawn = samples_of(context, policy, [context.tokenizer.encode_prompt(group) for group in prompts])
    groups = [
        Group(g.prompt, tuple(_said(context.tokenizer.decode(s.ids)) for s in some), g.id, g.meta)
        for g, some in zip(prompts, drawn, strict=True)
    ]
    value = [gold(group) for group in groups]
    stepped = any(model.steps for model in context.rewards)
    result = SuiteResult({})
    for tasks in ("all", STEPPED) if stepped else ("all",):
        inside = [i for i, g in enumerate(groups) if tasks in ("all", g.meta["family"])]
        models = [m for m in context.rewards if tasks == STEPPED or not m.steps]
        if inside and models:
            part = _best_of_n(context, models, [groups[i] for i in inside], [value[i] for i in inside], tasks)
            told = {name: {"policy": policy.name, **one} for name, one in part.details["best_of_n"].items()}
            both = {**result.details.get("best_of_n", {}), **told}
            result = replace(result.merged(part), details={"best_of_n": both})
    return result


def _best_of_n(
    context: EvalContext, models: Sequence[Rewarded], groups: Sequence[Group], value: Sequence[Floats], tasks: str
) -> SuiteResult:
    """The curves of some reward models, and the ceiling, on the samples of some tasks."""
    keys = [_prompt(group) for group in groups]
    curves: dict[str, best.Curve] = {}
    findings: list[Finding] = []
    for model in models:
        found = scores_of(context, model, groups)
        kept = [i for i, s in enumerate(found) if not np.isnan(s).any()]
        if len(kept) < len(groups):
            message = f"{model.name}: {len(groups) - len(kept)} prompts left out: a sample could not be scored"
            findings.append(Finding("unscored", "warning", message, model.name, len(groups) - len(kept)))
        if kept:
            curves[model.name] = best.curve(
                [found[i] for i in kept], [value[i] for i in kept], [keys[i] for i in kept], context.seed
            )
    prefix = "" if tasks == "all" else f"{tasks}_"
    drawn = {**curves, CEILING: best.curve(None, value, keys, context.seed)}
    # A name may be measured on all tasks and on some: the tasks are part of the key.
    told = {f"{name}@{tasks}": {"name": name, "tasks": tasks, **one.told()} for name, one in drawn.items()}
    return SuiteResult(
        models={name: best.figures(one, prefix) for name, one in curves.items()},
        findings=[*findings, *best.findings(curves)],
        details={"best_of_n": told},
    )


def scores_of(context: EvalContext, model: Rewarded, groups: Sequence[Group]) -> list[Floats]:
    """(R,) scores of each group's responses, read back where they were given before."""
    if not groups:
        return []
    if model.merge is not None:
        each = [scores_of(context, member, groups) for member in model.members]
        return [model.merge(columns) for columns in zip(*each, strict=True)]
    if model.aggregation is not None:
        return [
            np.array([aggregate(p[~np.isnan(p)], model.aggregation) for p in some])
            for some in steps_of(context, model, groups)
        ]
    key = {"what": "scores", "model": model.digest}
    held = _asked(context, model, groups, key, lambda scorer, part: [_plain(v) for v in scorer.score(part)])
    return [_floats(values) for values in held]


def steps_of(context: EvalContext, model: Rewarded, groups: Sequence[Group]) -> list[list[Floats]]:
    """For each group and response the (S,) probabilities of its steps, asked for once for every aggregation."""

    def ask(scorer: Scorer, part: Sequence[Group]) -> list[Any]:
        return [[_plain(v) for v in some] for some in cast(StepScorer, scorer).steps(part)]

    held = _asked(context, model, groups, {"what": "steps", "model": model.raw or model.digest}, ask)
    return [[_floats(values) for values in some] for some in held]


def _scorer(context: EvalContext, model: Rewarded) -> Callable[[Sequence[Group]], list[Floats]]:
    return lambda groups: scores_of(context, model, groups)


def _asked(
    context: EvalContext,
    model: Rewarded,
    groups: Sequence[Group],
    what: Mapping[str, str],
    ask: Callable[[Scorer, Sequence[Group]], list[Any]],
) -> list[Any]:
    """What a model says of each group, as plain values, read back where it was asked before."""
    key = {**what, "dtype": context.dtype, "groups": _digest(groups)}
    store = Store(context.store)
    held: list[Any] | None = store.get(key)
    if held is None:
        report = context.progress(f"{what['what']} of {model.name}", len(groups))
        scorer, held = model.load(), []
        for start in range(0, len(groups), CHUNK):
            part = groups[start : start + CHUNK]
            held += ask(scorer, part)
            report(start + len(part), len(groups))
        store.put(key, held)
    return held


def _answers(context: EvalContext, model: Rewarded, groups: Sequence[Group]) -> list[ScoredSteps]:
    """The marked responses with the probability of each step; NaN for a step beyond what the model reads."""
    found = []
    for group, some in zip(groups, steps_of(context, model, groups), strict=True):
        for response, values in zip(group.responses, some, strict=True):
            marks = [step.correct for step in response.steps]
            if any(mark is not None for mark in marks):
                found.append(ScoredSteps(group, marks, values.tolist(), _prompt(group)))
    return found


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _plain(values: NDArray[np.floating[Any]]) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def _digest(groups: Sequence[Group]) -> str:
    return digest(
        [
            [
                [[m.role, m.content] for m in g.prompt],
                [[[[m.role, m.content] for m in r.messages], [s.text for s in r.steps]] for r in g.responses],
            ]
            for g in groups
        ]
    )


def _said(text: str) -> Response:
    return Response((Message("assistant", text),))


def _prompt(group: Group) -> Hashable:
    return tuple((m.role, m.content) for m in group.prompt)


def _is_graded(group: Group) -> bool:
    return any(r.score is not None or r.attributes for r in group.responses)


def _is_marked(group: Group) -> bool:
    return any(step.correct is not None for r in group.responses for step in r.steps)


def _material(context: EvalContext) -> tuple[list[Group], list[NDArray[np.int64]], list[Finding]]:
    """The groups that can be used with the lengths of their responses in tokens, and what was left out."""
    if not context.rewards:
        raise EvalError(
            "the suite 'reward' needs a reward model",
            where="stages.evaluate.suites",
            fix="train one in a stage before it, or name directories under `rewards`",
        )
    if context.groups is None:
        raise EvalError(
            "the suite 'reward' needs data",
            where="stages.evaluate.data",
            fix="name pairs, rankings or marked steps, such as world:preferences?split=test",
        )
    groups, lengths, dropped, cut = [], [], [], []
    for group in context.groups():
        if len(group.responses) < 2 and not _is_marked(group) and not _is_graded(group):
            raise EvalError(
                "a group has one response, no grade and no marked steps: there is nothing to measure a reward model by",
                where=group.id,
                fix="give pairs, rankings, grades or marked steps",
            )
        try:
            tokens = context.tokenizer.encode_group(group, max_length=context.max_length)
        except (DataError, TemplateError) as error:
            dropped.append((group.id, error.message))
            continue
        if any(branch.truncated for branch in tokens.responses):
            cut.append(group.id)
        groups.append(group)
        lengths.append(np.array([sum(map(bool, branch.mask)) for branch in tokens.responses]))
    if not groups:
        first = f"; the first: {dropped[0][1]}" if dropped else ""
        raise EvalError(f"none of {len(dropped)} groups can be used{first}", where="stages.evaluate.data")
    return groups, lengths, _left_out(dropped, cut, context.max_length)


def _left_out(dropped: Sequence[tuple[str, str]], cut: Sequence[str], most: int) -> list[Finding]:
    findings: list[Finding] = []
    if dropped:
        names = ", ".join(name for name, _ in dropped[:5])
        findings.append(
            Finding("dropped", "warning", f"groups left out; the first: {dropped[0][1]}", names, len(dropped))
        )
    if cut:
        message = f"groups with a response cut at max_length {most}, whose end no reward model sees"
        findings.append(Finding("truncated", "warning", message, ", ".join(cut[:5]), len(cut)))
    return findings
