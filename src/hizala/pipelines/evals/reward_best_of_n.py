"""Best-of-n by a reward model on the embedded world: what the proxy gains, and what of it is gold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.core.stats import mean_interval, paired_difference
from hizala.core.stats.ranking import best_of_n, best_of_n_kl
from hizala.pipelines.evals.suite import row
from hizala.records import Estimate, Finding

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Best-of-n by one selector over Q prompts, N samples each.

    Attributes:
        sizes: the n measured: powers of two up to N, and N.
        kl: nats by which best-of-n differs from the policy, for each n; an upper bound where samples repeat.
        gold: mean gold reward of the selected sample, for each n.
        proxy: mean rise of the selector's own score above a single sample, in its standard deviations over all
            samples, for each n; None for the ceiling, whose selector is gold itself.
        gain: gold at N less gold at 1.
        last: gold at N less gold at the n before it: below zero where more selection does harm.
        peak: the n of the highest gold.
    """

    sizes: tuple[int, ...]
    kl: tuple[float, ...]
    gold: tuple[Estimate, ...]
    proxy: tuple[Estimate, ...] | None
    gain: Estimate
    last: Estimate
    peak: int

    def told(self) -> dict[str, Any]:
        """The curve as plain values for a report."""
        points = [
            {"n": n, "kl": kl, "gold": row(gold), **({"proxy": row(self.proxy[i])} if self.proxy else {})}
            for i, (n, kl, gold) in enumerate(zip(self.sizes, self.kl, self.gold, strict=True))
        ]
        return {"points": points, "gain": row(self.gain), "last": row(self.last), "peak": self.peak}


def sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4, … up to `most`, and `most` itself."""
    found = [1]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return tuple(found if found[-1] == most else [*found, most])


def curve(proxy: Sequence[Floats] | None, gold: Sequence[Floats], prompts: Sequence[Hashable], seed: int = 0) -> Curve:
    """The expected gold and proxy of best-of-n for n up to the number of samples, with intervals over prompts.

    Each prompt's value at n is the exact expectation over all subsets of n of its N samples (`best_of_n`), so the
    curve has no noise of its own besides the samples and prompts.

    Args:
        proxy: (N,) scores of each prompt's samples; None selects by gold itself: the ceiling.
        gold: (N,) gold reward of the same samples.
        prompts: what the bootstrap draws together, one a prompt.
        seed: of the bootstrap.
    Source: Gao et al. 2022, arXiv:2210.10760, sec. 3.1 (the curve); Nakano et al. 2021, arXiv:2112.09332, app. I (the
        estimator); Stiennon et al. 2020, arXiv:2009.01325, app. G.3 (KL).
    """
    chosen = gold if proxy is None else proxy
    counts = sizes(min(len(g) for g in gold))
    level = [[best_of_n(c, g, n) for c, g in zip(chosen, gold, strict=True)] for n in counts]
    rise = None
    if proxy is not None:
        spread = float(np.concatenate(proxy).std())
        single = np.array([float(p.mean()) for p in proxy])
        rises = [np.array([best_of_n(p, p, n) for p in proxy]) - single for n in counts]
        rise = tuple(
            mean_interval(r / spread if spread > 0 else np.full(len(r), np.nan), prompts, seed=seed) for r in rises
        )
    means = tuple(mean_interval(values, prompts, seed=seed) for values in level)
    before = level[-2] if len(level) > 1 else level[-1]
    return Curve(
        counts,
        tuple(best_of_n_kl(n) for n in counts),
        means,
        rise,
        paired_difference(level[0], level[-1], prompts, seed=seed),
        paired_difference(before, level[-1], prompts, seed=seed),
        counts[int(np.argmax([m.value for m in means]))],
    )


def figures(found: Curve, prefix: str = "") -> dict[str, Estimate]:
    """A curve as figures of a suite: `gold.4` is the gold reward of the best of 4. `prefix` names the tasks."""
    head = f"best_of_n/{prefix}"
    told = {f"{head}gold.{n}": value for n, value in zip(found.sizes, found.gold, strict=True)}
    if found.proxy is not None:
        told |= {f"{head}proxy.{n}": value for n, value in zip(found.sizes, found.proxy, strict=True)}
    return told | {f"{head}gain": found.gain, f"{head}last": found.last}


def findings(curves: Mapping[str, Curve]) -> list[Finding]:
    """What a user must not overlook: selection that does not help, and selection that harms."""
    found = []
    for name, one in curves.items():
        top = one.sizes[-1]
        if one.last.high < 0:
            message = (
                f"{name}: over-optimised: the best of {top} by it is worth {-one.last.value:.3f} gold less than the "
                f"best of {one.sizes[-2]}; the highest gold is at n = {one.peak}"
            )
            found.append(Finding("over-optimised", "warning", message, name))
        elif not one.gain.low > 0:
            message = f"{name}: the best of {top} by it is not clearly better than one sample: {one.gain} gold"
            found.append(Finding("no-gain", "warning", message, name))
    return found
