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
from hizala.errors import ConfigError, nearest
from hizala.pipelines.context import ModelRef, StageContext, resolve_model
from hizala.pipelines.evals import EvalContext, Evaluated, SuiteResult, suites
from hizala.pipelines.evals.reward_scorers import Opening, ensemble, implicit, rewarded
from hizala.pipelines.evals.suite import Rewarded
from hizala.pipelines.material import load_template, open_source, source_of, split, with_unique_ids
from hizala.pipelines.progress import Bar, say
from hizala.pipelines.rundir import model_digest, write_json, write_lines
from hizala.pipelines.settings import EvaluateSettings, TrainSettings, row_of
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
        groups=_groups(context, settings),
        rewards=_rewards(context, settings) if any(suites.get(name).needs_rewards for name in settings.suites) else (),
        max_length=settings.max_length,
        beta=settings.beta,
        token_budget=settings.token_budget,
        store=context.dir / "store",
        progress=_progress,
    )


def _evaluated(context: StageContext, model: ModelRef) -> Evaluated:
    opened = partial(load, model.path, device=context.device)
    return Evaluated(model.name, model.digest, opened, model.parent, model.beta)


def _rewards(context: StageContext, settings: EvaluateSettings) -> list[Rewarded]:
    """The reward models of the run and those the stage names, in every way their numbers become one score.

    Raises:
        ConfigError: a name is given twice or unknown, or a directory holds no reward model.
    """
    how = Opening(
        context.device, settings.template, settings.max_length, settings.token_budget, settings.reward_weights
    )
    made = dict(context.rewards)
    for name, reference in settings.rewards.items():
        if name in made or name in context.models:
            raise ConfigError(f"two models are called '{name}'", where="rewards", fix="give it another name")
        path = resolve_model(reference)
        made[name] = ModelRef(name, path, model_digest(path), kind="reward")
    found = [one for ref in made.values() for one in rewarded(ref, how)]
    for name, members in settings.ensembles.items():
        for member in members:
            if member not in made:
                raise ConfigError(
                    f"ensemble '{name}': no reward model '{member}'{nearest(member, made)}",
                    where="ensembles",
                    fix=f"known: {', '.join(made) or 'none'}",
                )
        found += ensemble(name, [made[member] for member in members], how)
    if settings.implicit:
        for model in context.models.values():
            if model.parent in context.models and model.beta is not None:
                found.append(implicit(model, context.models[model.parent], model.beta, how))
    return found


def _progress(label: str, total: int) -> Callable[[int, int], None]:
    """A bar that starts with the first report and ends with the last."""
    bar = Bar(label, total)
    bar.__enter__()

    def report(done: int, _all: int) -> None:
        bar.advance(done - bar.done)
        if done >= total:
            bar.__exit__(None, None, None)

    return report


def _groups(context: StageContext, settings: EvaluateSettings) -> Callable[[], Iterable[Group]] | None:
    """The data whatever its kind; nothing is read yet."""
    if settings.data is not None:
        named = settings.data
        return lambda: with_unique_ids(open_source(named, shape=None, format=settings.format, limit=settings.limit))
    if settings.held_out_of is None:
        return None
    stage = next(stage for stage in context.recipe.stages if stage.name == settings.held_out_of)
    config = stage.config
    assert isinstance(config, TrainSettings)
    shape = row_of(stage.kind, config).data

    def held_out() -> list[Group]:
        groups, _ = usable(with_unique_ids(source_of(config, shape)), shape)
        return split(groups, config.holdout, config.max_holdout, context.recipe.seed)[1][: settings.limit]

    return held_out


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
