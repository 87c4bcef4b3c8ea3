"""The evaluation stage: every model made so far, measured by the suites a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import cast

from hizala.algorithms import algorithms
from hizala.engines.data.usable import usable
from hizala.engines.policy import load
from hizala.engines.rollout.local import Decodable, LocalSampler
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.evals import EvalContext, Evaluated, SuiteResult, suites
from hizala.pipelines.material import load_template, open_source, source_of, split, with_unique_ids
from hizala.pipelines.progress import Bar, say
from hizala.pipelines.rundir import write_json, write_lines
from hizala.pipelines.settings import EvaluateSettings, TrainSettings
from hizala.protocols import Policy, Sampler
from hizala.records import Group


def evaluate(context: StageContext) -> None:
    """Run the suites and write results.json, samples.jsonl and findings.json.

    Raises:
        EvalError: as a suite says.
    """
    settings = context.stage.config
    assert isinstance(settings, EvaluateSettings)
    specs = [suites.get(name) for name in settings.suites]
    pairs = _pairs(context, settings)
    if not context.first:
        return
    suite_context = _suite_context(context, settings, pairs)
    result = SuiteResult({}, (), (), ())
    for spec in specs:
        result = result.merged(spec.run(suite_context))
    write_json(context.dir / "results.json", result.results())
    write_lines(context.dir / "samples.jsonl", result.samples)
    write_json(context.dir / "findings.json", {"findings": [asdict(finding) for finding in result.findings]})
    for finding in result.findings:
        say(f"  {finding.severity}: {finding.message}")


def _suite_context(
    context: StageContext, settings: EvaluateSettings, pairs: Callable[[], Iterable[Group]] | None
) -> EvalContext:
    template = load_template(context.model.path, settings.template)

    def sampler_for(policy: Policy, progress: Callable[[int, int], None]) -> Sampler:
        # What `_evaluated` opens can generate; a suite need not know.
        decodable = cast(Decodable, policy)
        return LocalSampler(decodable, end_ids=template.end_ids(), temperature=settings.temperature, progress=progress)

    return EvalContext(
        models=[_evaluated(context, model) for model in context.models.values()],
        tokenizer=template,
        sampler_for=sampler_for,
        seed=context.recipe.seed,
        prompts=settings.prompts,
        samples=settings.samples,
        max_tokens=settings.max_tokens,
        sampling={"temperature": settings.temperature, "end_ids": list(template.end_ids())},
        pairs=pairs,
        max_length=settings.max_length,
        beta=settings.beta,
        token_budget=settings.token_budget,
        store=context.dir / "store",
        progress=_progress,
    )


def _evaluated(context: StageContext, model: ModelRef) -> Evaluated:
    opened = partial(load, model.path, device=context.device)
    return Evaluated(model.name, model.digest, opened, model.parent, model.beta)


def _progress(label: str, total: int) -> Callable[[int, int], None]:
    """A bar that starts with the first report and ends with the last."""
    bar = Bar(label, total)
    bar.__enter__()

    def report(done: int, _all: int) -> None:
        bar.advance(done - bar.done)
        if done >= total:
            bar.__exit__(None, None, None)

    return report


def _pairs(context: StageContext, settings: EvaluateSettings) -> Callable[[], Iterable[Group]] | None:
    """Where the preference pairs come from; nothing is read yet."""
    if settings.data is not None:
        named = settings.data
        return lambda: with_unique_ids(open_source(named, shape="pair", format=settings.format, limit=settings.limit))
    if settings.held_out_of is None:
        return None
    stage = next(stage for stage in context.recipe.stages if stage.name == settings.held_out_of)
    config = stage.config
    assert isinstance(config, TrainSettings)
    on_pairs = stage.kind in algorithms and algorithms.get(stage.kind).data == "pair"

    def held_out() -> list[Group]:
        # A stage that made thumbs or demonstrations of pairs held the same prompts out.
        plain = partial(open_source, config.data, shape="pair", format=config.format, limit=config.limit)
        source = source_of(config, "pair") if on_pairs else plain()
        groups, _ = usable(with_unique_ids(source), "pair")
        return split(groups, config.holdout, config.max_holdout, context.recipe.seed)[1][: settings.limit]

    return held_out
