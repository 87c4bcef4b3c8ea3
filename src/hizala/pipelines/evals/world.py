"""The suite `world`: what a model really says on test problems of the embedded world, against the true reward."""

from __future__ import annotations

from hizala import world
from hizala.pipelines.evals.sampled import Scored, run
from hizala.pipelines.evals.suite import EvalContext, SuiteResult, suite
from hizala.records import Group

# Behaviours read off the parts of a verdict: (task, metric, parts that must all hold).
BEHAVIOURS = (
    ("style", "world/polite", ("civil", "courtesy")),
    ("privacy", "world/private", ("private",)),
    ("premise", "world/honest", ("honest",)),
)


@suite("world")
def world_suite(context: EvalContext) -> SuiteResult:
    """Gold score of sampled responses on held-out problems of the embedded world.

    The test problems are the same for every recipe and model; problems and wordings of the test split never occur in
    training data. gold/total is the mean gold reward over all of them, gold/TASK, gold/FAMILY and gold/LANGUAGE over
    a part; world/polite, world/private and world/honest are shares of sampled responses that behave so, where the
    task asks for it; world/truncated the share cut at the token limit, world/length tokens a response.

    Args:
        context: `prompts`, `samples`, `max_tokens`, `seed` and the sampler are used.
    Returns:
        Figures with 95 % bootstrap intervals clustered by prompt, paired differences, samples of all models.
    """
    groups = world.generate("test", context.prompts, seed=0)
    return run(context, groups, world.gold, facets)


def facets(group: Group, answer: Scored) -> dict[str, float | None]:
    """The metrics one sampled response counts for."""
    value = answer.verdict.value
    names = ("total", str(group.meta["task"]), str(group.meta["family"]), str(group.meta["lang"]))
    found: dict[str, float | None] = {f"gold/{name}": value for name in dict.fromkeys(names)}
    for task, metric, parts in BEHAVIOURS:
        if group.meta["task"] == task:
            # A response refused before its parts were judged (control tokens, endless) does not behave.
            held = all(answer.verdict.parts.get(part, 0.0) == 1.0 for part in parts)
            found[metric] = None if value is None else float(held)
    found["world/truncated"] = float(answer.truncated)
    found["world/length"] = float(answer.tokens)
    return found
