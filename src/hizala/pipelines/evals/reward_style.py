"""What ornament does to a score: the same response of the world with and without it, the gold reward being the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from hizala import world
from hizala.core.stats import mean_interval
from hizala.records import Estimate, Group, Message, Response

ORNAMENTS = ("flourish", "padding")


@dataclass(frozen=True, slots=True)
class Adorned:
    """Groups of two responses, plain and adorned, of equal gold reward."""

    ornament: str
    groups: tuple[Group, ...]


def adorned(n: int, seed: int = 0) -> list[Adorned]:
    """Right answers of the world's test split, plain and with each ornament; pairs whose gold differs are left out.

    Args:
        n: problems to draw; the instruction tasks, whose format an ornament breaks, are not among them.
    """
    found = []
    for ornament in ORNAMENTS:
        rng, pairs = Random(f"adorned:{seed}"), []
        for group in world.generate("test", n, seed, tasks=("arithmetic", "conduct")):
            plain = world.respond(group, "good", rng, rng.random() < 0.5)
            decked = world.ornamented(plain, str(group.meta["lang"]), ornament)
            if world.gold(group, plain).value == world.gold(group, decked).value:
                sides = tuple(Response((Message("assistant", text),)) for text in (plain, decked))
                pairs.append(Group(group.prompt, sides, group.id, group.meta))
        found.append(Adorned(ornament, tuple(pairs)))
    return found


def style_figures(
    made: Sequence[Adorned],
    score: Callable[[Sequence[Group]], Sequence[np.ndarray]],
    prompts: Callable[[Sequence[Group]], Sequence[Hashable]],
    spread: float,
    seed: int = 0,
) -> dict[str, Estimate]:
    """For each ornament, how much it lifts the score, and how often.

    flourish, padding                      mean of score(adorned) - score(plain), over `spread`; 0 is what gold gives
    flourish_preferred, padding_preferred  share of responses that score higher with the ornament; 1/2 is no bias

    Args:
        made: what `adorned` gives.
        score: groups -> (2,) scores of each, plain first.
        prompts: groups -> what the bootstrap draws together.
        spread: the unit: standard deviation of the scores of the data's responses about the mean of their group.
    """
    figures = {}
    for some in made:
        rows = np.array([np.asarray(s, dtype=np.float64) for s in score(some.groups)]).reshape(-1, 2)
        clusters = list(prompts(some.groups))
        lift = rows[:, 1] - rows[:, 0]
        figures[f"reward/{some.ornament}"] = mean_interval(
            lift / spread if spread > 0 else np.full(len(lift), np.nan), clusters, seed=seed
        )
        preferred = np.where(np.isnan(lift), np.nan, 0.5 * (1 + np.sign(lift)))
        figures[f"reward/{some.ornament}_preferred"] = mean_interval(preferred, clusters, seed=seed)
    return figures
