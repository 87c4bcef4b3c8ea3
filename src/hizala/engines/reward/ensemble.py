"""Several reward models as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hizala.core.combine import check_combination, combine
from hizala.engines.reward.scorers import Scorer
from hizala.errors import ConfigError
from hizala.records import TokenGroup

Array = NDArray[np.float64]


class Ensemble:
    """Scores of several reward models, combined.

    Reward models trained on comparisons are known up to a constant a prompt, and each has constants of its own. A mean
    is not touched by that; a minimum or a spread is, unless the members were centred in training (`reward_centre`)
    or are centred here.

    Args:
        members: two or more scorers.
        how, lam: see `core.combine`.
        centred: take from each member's scores their mean over the group first; for comparing the responses of one
            group alone, since the scores of different groups then say nothing of each other.
    Raises:
        ConfigError: fewer than two members, or settings `core.combine` refuses.
    """

    def __init__(self, members: Sequence[Scorer], *, how: str, lam: float | None = None, centred: bool = False) -> None:
        check_combination(how, lam)
        if len(members) < 2:
            raise ConfigError(f"an ensemble has two or more members, not {len(members)}")
        self.members, self.how, self.lam, self.centred = tuple(members), how, lam, centred

    def outputs(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R, M) array a group: what each member says, before anything is combined."""
        each = [member.score(groups) for member in self.members]
        return [np.stack(columns, axis=1) for columns in zip(*each, strict=True)]

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group; NaN where any member does not score. See `Scorer`."""
        return [
            combine(_centred(table) if self.centred else table, self.how, self.lam) for table in self.outputs(groups)
        ]


def _centred(table: Array) -> Array:
    """Columns less their mean over the responses that were scored."""
    scored = ~np.isnan(table)
    counts = np.maximum(scored.sum(axis=0), 1)
    centred: Array = table - np.where(scored, table, 0.0).sum(axis=0) / counts
    return centred
