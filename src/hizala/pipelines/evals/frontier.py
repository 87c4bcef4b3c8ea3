"""The suites `frontier` and `frontier_data`: how far a model has moved from where the run began, and what it got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from hizala import world
from hizala.canonical import digest
from hizala.core.kl import k3
from hizala.errors import EvalError
from hizala.pipelines.evals.sampled import Scored, run, samples_of
from hizala.pipelines.evals.store import Store
from hizala.pipelines.evals.suite import EvalContext, Evaluated, Measure, SuiteResult, comparisons, estimates, suite
from hizala.protocols import Policy
from hizala.records import Group, Sample, TokenBranch, TokenGroup, Verdict

CHUNK = 64  # prompts measured between two reports of progress
# What is summed over each response, by the name it has in the rows of samples.
ESTIMATES = {"kl": "kl/start", "kl_k1": "kl/start_k1", "kl_k3": "kl/start_k3"}
# Those sums, of each sampled response of each prompt, nats.
Distances = list[list[tuple[float, ...]]]


@suite("frontier")
def frontier_suite(context: EvalContext) -> SuiteResult:
    """Gold score of sampled responses of the embedded world, and their KL divergence from the run's first model.

    kl/start    = sum over a response's tokens of KL(pi(. | before) || start(. | before)), over the whole vocabulary
    kl/start_k1 = the same sum of log pi - log start at the sampled tokens
    kl/start_k3 = the same sum of exp(d) - d - 1, d = log start - log pi, at the sampled tokens

    In nats a response, on pi's own samples; all three are unbiased for KL(pi || start) of whole responses, up to where
    the token limit cuts them. The first has the least spread: k1's is about sqrt(2 KL) a response, k3's is small while
    the two are near and grows without bound. Responses are sampled from the models' own distribution, at temperature
    1, so that score and divergence speak of the same policy.

    Args:
        context: `prompts`, `samples`, `max_tokens`, `seed`, `token_budget` and the sampler are used.
    Returns:
        gold/total, kl/start, kl/start_k1, kl/start_k3, frontier/length (tokens) and frontier/truncated, 95 % intervals
        clustered by prompt; the rows of samples carry `kl`, `kl_k1` and `kl_k3`, one value a response.
    Raises:
        EvalError: samples are not drawn at temperature 1.
    Source: Amini, Vieira and Cotterell 2025, arXiv:2504.10637, the Rao-Blackwellized estimator (the sum over the
        vocabulary); Schulman 2020, joschu.net/blog/kl-approx.html, estimators k1 and k3; Gao et al. 2022,
        arXiv:2210.10760, sec. 3 (score against KL).
    """
    return _measured(context, world.generate("test", context.prompts, seed=0), world.gold, _gold_facets)


@suite("frontier_data", needs_groups=True)
def frontier_data_suite(context: EvalContext) -> SuiteResult:
    """KL divergence from the run's first model on samples for the prompts of given data; no score.

    As `frontier`, for the first `prompts` different prompts of the data that the recipe names or held out.
    """
    assert context.groups is not None
    found: dict[str, Group] = {}
    for group in context.groups():
        found.setdefault(digest([[m.role, m.content] for m in group.prompt]), group)
        if len(found) == context.prompts:
            break
    return _measured(context, list(found.values()), lambda _group, _text: Verdict(None), _facets)


def _measured(
    context: EvalContext,
    groups: Sequence[Group],
    judge: Callable[[Group, str], Verdict],
    facets: Callable[[Group, Scored], dict[str, float | None]],
) -> SuiteResult:
    if context.sampling.get("temperature", 1.0) != 1.0:
        raise EvalError(
            "the divergence of a policy is measured on its own samples, at temperature 1",
            where=f"temperature {context.sampling['temperature']}",
            fix="take temperature out, or measure in a stage of its own",
        )
    drawn = run(context, groups, judge, facets)
    prompts = [context.tokenizer.encode_prompt(group) for group in groups]
    found = {model.name: _distances(context, model, prompts) for model in context.models}
    measures = {name: _measures(prompts, distances) for name, distances in found.items()}
    moved = SuiteResult({name: estimates(some) for name, some in measures.items()}, comparisons(measures))
    rows = [_row(row, {name: found[name][i] for name in found}) for i, row in enumerate(drawn.samples)]
    findings = [finding for finding in drawn.findings if finding.kind != "unscored" or judge is world.gold]
    return SuiteResult(drawn.models, drawn.paired, (), findings).merged(SuiteResult(moved.models, moved.paired, rows))


def _gold_facets(group: Group, answer: Scored) -> dict[str, float | None]:
    return {"gold/total": answer.verdict.value, **_facets(group, answer)}


def _facets(_group: Group, answer: Scored) -> dict[str, float | None]:
    return {"frontier/length": float(answer.tokens), "frontier/truncated": float(answer.truncated)}


def _measures(prompts: Sequence[Sequence[int]], distances: Distances) -> dict[str, Measure]:
    clusters = [tuple(prompt) for prompt, some in zip(prompts, distances, strict=True) for _ in some]
    flat = [each for some in distances for each in some]
    return {name: Measure([each[i] for each in flat], clusters) for i, name in enumerate(ESTIMATES.values())}


def _row(row: Any, distances: dict[str, list[tuple[float, ...]]]) -> dict[str, Any]:
    told = {
        name: {**answer, **{key: [each[i] for each in distances[name]] for i, key in enumerate(ESTIMATES)}}
        for name, answer in row["responses"].items()
    }
    return {**row, "responses": told}


def _distances(context: EvalContext, model: Evaluated, prompts: Sequence[Sequence[int]]) -> Distances:
    """Of each of the model's samples from the first model, read back where they were measured before."""
    start, samples = context.models[0], samples_of(context, model, prompts)
    if model.digest == start.digest:
        return [[(0.0,) * len(ESTIMATES) for _ in some] for some in samples]
    groups = [_tokens(prompt, some) for prompt, some in zip(prompts, samples, strict=True)]
    key = {
        "what": "frontier",
        "models": [model.digest, start.digest],
        "dtype": context.dtype,
        "tokens": digest([[list(g.prompt), [list(r.ids) for r in g.responses]] for g in groups]),
    }
    store = Store(context.store)
    held = store.get(key)
    if held is None:
        held = []
        policies = model.load(), start.load()
        report = context.progress(f"divergence of {model.name}", len(groups))
        for at in range(0, len(groups), CHUNK):
            held += _sums(policies, groups[at : at + CHUNK], context.token_budget)
            report(min(at + CHUNK, len(groups)), len(groups))
        store.put(key, held)
    return [[tuple(map(float, each)) for each in some] for some in held]


def _tokens(prompt: Sequence[int], samples: Sequence[Sample]) -> TokenGroup:
    branches = [TokenBranch(sample.ids, (True,) * len(sample.ids), sample.truncated) for sample in samples]
    return TokenGroup(tuple(prompt), tuple(branches))


def _sums(policies: tuple[Policy, Policy], groups: Sequence[TokenGroup], budget: int) -> Distances:
    """The estimates summed over each response, both models measured by the same code."""
    policy, start = policies
    found: Distances = []
    with torch.no_grad():
        for tree in start.pack(groups, budget):
            away = start.outputs(tree, ("policy", "divergence"), reference=policy)
            mine, first = policy.logps(tree).tokens.double(), away["policy"].tokens.double()
            columns = [away["divergence"].tokens.double(), mine - first, k3(mine, first)]
            at = 0
            for group in tree.groups:
                sums = []
                for branch in group.responses:
                    sums.append(tuple(float(column[at : at + len(branch.ids)].sum()) for column in columns))
                    at += len(branch.ids)
                found.append(sums)
    return found
