"""The suite `preferences`: does a model's implicit reward prefer what people preferred, on pairs it never saw?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hizala.canonical import digest
from hizala.engines.train import measure
from hizala.errors import DataError, EvalError, TemplateError
from hizala.pipelines.evals.store import Store
from hizala.pipelines.evals.suite import EvalContext, Evaluated, Measure, SuiteResult, comparisons, estimates, suite
from hizala.records import Finding, Group, TokenGroup

CHUNK = 64  # pairs measured between two reports of progress


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Log-probs of P pairs under one model: (P, 2) nats summed over a response, chosen first, and tokens counted."""

    total: np.ndarray
    tokens: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(P, 2) nats a token; 0 for an empty response."""
        per_token: np.ndarray = self.total / np.maximum(self.tokens, 1)
        return per_token


@suite("preferences", needs_pairs=True)
def preferences_suite(context: EvalContext) -> SuiteResult:
    """Held-out accuracy of the implicit reward on preference pairs.

    reward(y) = beta * (log pi(y) - log ref(y)), ref being the model that pi was trained from
    accuracy  = share of pairs with reward(chosen) > reward(rejected); a tie counts one half

    preferences/accuracy and preferences/margin (nats) are of that reward, per_token of the same reward divided by
    each response's length; likelihood and likelihood_per_token of log pi alone, which the first model has too.
    accuracy is given also for pairs whose chosen side is longer, shorter and equally long, and by the rows' `source`
    or `task`: a reward that has learnt length alone shows there.

    Args:
        context: `pairs`, `tokenizer`, `max_length`, `token_budget`, `beta` and the models are used.
    Raises:
        EvalError: no pairs are named, a group is not a pair, or no pair fits max_length.
    Source: Rafailov et al. 2023, arXiv:2305.18290, eq. 5 (the implicit reward).
    """
    groups, encoded, findings = _encoded(context)
    likelihoods: dict[str, Likelihoods] = {}
    for model in context.models:
        likelihoods[model.name] = likelihoods_of(context, model, encoded)
    clusters = [tuple(group.prompt) for group in encoded]
    measured = {
        model.name: _measures(
            context, groups, clusters, likelihoods[model.name], likelihoods.get(model.parent or ""), model.beta
        )
        for model in context.models
    }
    for model in context.models:
        if model.parent is not None and model.parent not in likelihoods:
            message = (
                f"{model.name}: its reference '{model.parent}' is not evaluated here, so it has no implicit reward"
            )
            findings.append(Finding("no-reference", "warning", message, model.name))
        tied = sum(v == 0.5 for v in measured[model.name]["preferences/likelihood"].values)
        if tied:
            message = (
                f"{model.name}: {tied} of {len(encoded)} pairs have equal log-probs on both sides; each counts 1/2"
            )
            findings.append(Finding("tied", "info", message, model.name, tied))
    return SuiteResult(
        models={name: estimates(measures) for name, measures in measured.items()},
        paired=comparisons(measured),
        findings=findings,
    )


def likelihoods_of(context: EvalContext, model: Evaluated, groups: Sequence[TokenGroup]) -> Likelihoods:
    """Log-probs of both responses of each pair, read back where they were measured before."""
    tokens = [[sum(map(bool, r.mask)) for r in group.responses] for group in groups]
    key = {
        "what": "likelihoods",
        "model": model.digest,
        "dtype": context.dtype,
        "pairs": digest(
            [[list(g.prompt), [[list(r.ids), list(map(bool, r.mask))] for r in g.responses]] for g in groups]
        ),
    }
    store = Store(context.store)
    held = store.get(key)
    if held is None:
        report = context.progress(f"log-probs under {model.name}", len(groups))
        policy, totals = model.load(), []
        for start in range(0, len(groups), CHUNK):
            part = groups[start : start + CHUNK]
            for counts, flat in zip(tokens[start:], measure(policy, part, context.token_budget), strict=False):
                sides = np.split(flat.astype(np.float64), [counts[0]])
                totals.append([float(side.sum()) for side in sides])
            report(start + len(part), len(groups))
        held = totals
        store.put(key, held)
    total = np.array(held, dtype=np.float64).reshape(-1, 2)
    # Equal tokens have equal log-probs; rounding in a packed forward must not decide which is preferred.
    same = np.array([_equal(group) for group in groups])
    total[same, 1] = total[same, 0]
    return Likelihoods(total, np.array(tokens).reshape(-1, 2))


def _equal(group: TokenGroup) -> bool:
    chosen, rejected = group.responses
    return list(chosen.ids) == list(rejected.ids) and list(chosen.mask) == list(rejected.mask)


def accuracy(scores: np.ndarray) -> np.ndarray:
    """(P,) 1 where column 0 is higher than column 1 of (P, 2) scores, one half where they are equal, else 0."""
    return np.where(scores[:, 0] == scores[:, 1], 0.5, (scores[:, 0] > scores[:, 1]).astype(np.float64))


def _encoded(context: EvalContext) -> tuple[list[Group], list[TokenGroup], list[Finding]]:
    if context.pairs is None:
        raise EvalError(
            "the suite 'preferences' needs preference pairs",
            where="stages.evaluate.data",
            fix="name a file or a reference, such as world:preferences?split=test",
        )
    groups: list[Group] = []
    encoded: list[TokenGroup] = []
    dropped: list[tuple[str, str]] = []
    cut: list[str] = []
    for group in context.pairs():
        if len(group.responses) != 2:
            raise EvalError(
                f"a group has {len(group.responses)} responses, not chosen and rejected",
                where=group.id,
                fix="give the suite 'preferences' preference pairs",
            )
        try:
            tokens = context.tokenizer.encode_group(group, max_length=context.max_length)
        except (DataError, TemplateError) as error:
            dropped.append((group.id, error.message))
            continue
        if any(response.truncated for response in tokens.responses):
            cut.append(group.id)
        groups.append(group)
        encoded.append(tokens)
    if not encoded:
        raise EvalError(
            f"none of {len(dropped)} pairs can be used" + (f"; the first: {dropped[0][1]}" if dropped else ""),
            where="stages.evaluate.data",
            fix="raise max_length, or look at the rows with `hizala data check`",
        )
    findings = []
    if dropped:
        message = f"pairs left out; the first: {dropped[0][1]}"
        findings.append(Finding("dropped", "warning", message, ", ".join(i for i, _ in dropped[:5]), len(dropped)))
    if cut:
        message = f"pairs with a response cut at max_length {context.max_length}, compared as far as they go"
        findings.append(Finding("truncated", "warning", message, ", ".join(cut[:5]), len(cut)))
    return groups, encoded, findings


def _measures(
    context: EvalContext,
    groups: Sequence[Group],
    clusters: list[tuple[int, ...]],
    policy: Likelihoods,
    reference: Likelihoods | None,
    beta: float | None,
) -> dict[str, Measure]:
    def every(values: np.ndarray) -> Measure:
        return Measure(values.tolist(), clusters)

    measures = {
        "preferences/likelihood": every(accuracy(policy.total)),
        "preferences/likelihood_per_token": every(accuracy(policy.mean)),
    }
    if reference is None:
        return measures
    ratios = policy.total - reference.total
    right = accuracy(ratios)
    scale = context.beta if beta is None else beta
    measures |= {
        "preferences/accuracy": every(right),
        "preferences/margin": every(scale * (ratios[:, 0] - ratios[:, 1])),
        "preferences/per_token": every(accuracy(policy.mean - reference.mean)),
    }
    for name, members in _buckets(groups, policy.tokens).items():
        measures[f"preferences/accuracy.{name}"] = Measure(
            right[members].tolist(), [clusters[i] for i in np.flatnonzero(members)]
        )
    return measures


def _buckets(groups: Sequence[Group], tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> (P,) bool: which pairs stand in the bucket; empty buckets are left out, and so is one that holds all."""
    longer = tokens[:, 0] - tokens[:, 1]
    buckets = {"chosen_longer": longer > 0, "chosen_shorter": longer < 0, "same_length": longer == 0}
    kinds = [str(g.meta.get("source") or g.meta.get("task") or "") for g in groups]
    for kind in sorted(set(kinds) - {""})[:20]:
        buckets[kind] = np.array([k == kind for k in kinds])
    return {name: members for name, members in buckets.items() if 0 < members.sum() < len(members)}
