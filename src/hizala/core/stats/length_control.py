"""Win rates at equal length: a logistic model of the judge in which length can be set to none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from hizala.errors import EvalError

Floats = NDArray[np.float64]
# The strengths among which the benchmark's own code chooses.
GRID = tuple(float(c) for c in np.logspace(-4, 4, 10))
_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate at equal length.

    Attributes:
        value: in [0, 1].
        spread: standard error of the mean of the predictions alone: what the benchmark publishes.
        error: standard error with the fit's own uncertainty; NaN where the weights were given, not fitted.
        n: rows predicted.
    """

    value: float
    spread: float
    error: float
    n: int


def length_term(length: ArrayLike, baseline: ArrayLike) -> Floats:
    """tanh((baseline - length) / sd of that difference), the benchmark's measure of how much shorter an answer is.

    Args:
        length, baseline: (n,) lengths of both sides' answers, in characters.
    Returns:
        (n,) in (-1, 1); 0 throughout where all differences are equal, since nothing can be learnt from them.
    Raises:
        EvalError: unequal lengths.
    Source: Dubois et al. 2024, arXiv:2404.04475, sec. 3, eq. 1.
    Differs: the paper writes output minus baseline; the benchmark's code, followed here, turns the sign.
    """
    own, other = np.asarray(length, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if own.shape != other.shape or own.ndim != 1:
        raise EvalError(f"{own.size} lengths of a model and {other.size} of the baseline")
    difference = other - own
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    return np.tanh(difference / spread) if spread > 0 else np.zeros(len(difference))


def fit(x: Floats, y: Floats, weight: Floats, c: float, start: Floats | None = None) -> Floats:
    """Logistic regression with an L1 penalty and targets between 0 and 1.

    b = argmin |b|_1 + c * sum_i weight_i * (softplus(x_i b) - y_i x_i b)

    Newton's method on the penalised objective; where a coefficient's sign would turn, the quadratic model is solved
    by coordinate descent, so that coefficients can become exactly 0.

    Args:
        x: (n, k) without an intercept.
        y: (n,) targets in [0, 1].
        weight: (n,) at least 0.
        c: > 0, strength of the data against the penalty.
        start: (k,) where to start; default 0.
    Returns:
        (k,) coefficients, converged to the precision of float64.
    Raises:
        EvalError: c not positive, or no convergence (values that are not finite).
    Source: Fan et al. 2008, LIBLINEAR, JMLR 9, p. 1871, L1-regularised logistic regression.
    Differs: LIBLINEAR stops at a relative tolerance of 1e-4; published weights stand up to 0.004 from the optimum.
    """
    if not c > 0:
        raise EvalError(f"the strength of the data must be above 0, got {c}")
    b = np.zeros(x.shape[1]) if start is None else start.copy()
    value = _objective(x, y, weight, c, b)
    for _ in range(_MAX_STEPS):
        p = expit(x @ b)
        gradient = c * (x.T @ (weight * (p - y)))
        curvature = c * ((x.T * (weight * p * (1 - p))) @ x)
        step = _newton(b, gradient, curvature)
        if not np.isfinite(step).all():
            break
        # Newton's error is squared by each step: one of 1e-8 leaves 1e-16, which is all that float64 can tell.
        if float(np.abs(step).max(initial=0.0)) < 1e-8 * max(1.0, float(np.abs(b).max(initial=0.0))):
            return np.asarray(b + step, dtype=np.float64)
        size = 1.0
        while (reached := _objective(x, y, weight, c, b + size * step)) > value and size > 1e-6:
            size /= 2
        b, value = b + size * step, reached
    raise EvalError("the length-controlled fit does not converge", fix="look for extreme lengths or difficulties")


def _objective(x: Floats, y: Floats, weight: Floats, c: float, b: Floats) -> float:
    z = x @ b
    return float(np.abs(b).sum() + c * (weight @ (np.logaddexp(0, z) - y * z)))


def _newton(b: Floats, gradient: Floats, curvature: Floats) -> Floats:
    """The step to the minimum of the quadratic model plus the penalty."""
    k = len(b)
    # The smallest ridge that keeps a column of zeros from dividing by zero.
    model = curvature + 1e-12 * max(float(np.trace(curvature)), 1e-12) * np.eye(k)
    if (b != 0).all():
        step = np.linalg.solve(model, -(gradient + np.sign(b)))
        if (np.sign(b + step) == np.sign(b)).all():
            return np.asarray(step, dtype=np.float64)
    target = b.copy()
    for _ in range(1000):
        moved = 0.0
        for j in range(k):
            slope = float(gradient[j] + model[j] @ (target - b)) - model[j, j] * float(target[j])
            new = -np.sign(slope) * max(abs(slope) - 1, 0.0) / model[j, j]
            moved = max(moved, abs(new - float(target[j])))
            target[j] = new
        if moved < 1e-13 * max(1.0, float(np.abs(target).max())):
            break
    return np.asarray(target - b, dtype=np.float64)


def choose(
    x: Floats, y: Floats, weight: Floats, grid: Sequence[float] = GRID, folds: int = 5, seed: int = 0
) -> tuple[float, Floats]:
    """The strength with the best cross-validated weighted log loss, and the coefficients at it on all rows.

    Args:
        x, y, weight: as in `fit`.
        grid: strengths to choose from.
        folds: number of parts; each row is in one of them, at random.
        seed: of the parts.
    Returns:
        (strength, coefficients).
    Raises:
        EvalError: as `fit`, or fewer rows than folds.
    Source: the benchmark's code (tatsu-lab/alpaca_eval, glm_winrate): mean over folds of -mean(weight * log loss).
    """
    if len(y) < folds:
        raise EvalError(f"{len(y)} rows cannot be split into {folds} folds")
    part = np.random.default_rng(seed).permutation(np.arange(len(y)) % folds)
    losses = np.zeros(len(grid))
    for fold in range(folds):
        out = part == fold
        start = None
        for place, c in enumerate(grid):
            start = fit(x[~out], y[~out], weight[~out], c, start)
            z = x[out] @ start
            losses[place] += float((weight[out] * (np.logaddexp(0, z) - y[out] * z)).mean())
    best = float(grid[int(losses.argmin())])
    return best, fit(x, y, weight, best)


def predictions(weights: Floats, difficulty: Floats) -> Floats:
    """Probability that the model wins on each instruction at equal length: sigmoid(b2 difficulty + b3)."""
    return np.asarray(expit(weights[1] * difficulty + weights[2]), dtype=np.float64)


def from_weights(weights: ArrayLike, difficulty: Floats) -> LengthControlled:
    """The length-controlled win rate that given weights mean.

    Args:
        weights: (3,) of the length term, of difficulty, of the model.
        difficulty: (n,) of the instructions.
    Returns:
        LengthControlled without `error`: nothing is known of how the weights were fitted.
    Source: Dubois et al. 2024, arXiv:2404.04475, sec. 3 (the length term set to 0).
    """
    p = predictions(np.asarray(weights, dtype=np.float64), difficulty)
    n = len(p)
    spread = float(p.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    return LengthControlled(float(p.mean()), spread, float("nan"), n)


def with_error(
    weights: Floats, x: Floats, y: Floats, weight: Floats, difficulty: Floats, scored: NDArray[np.bool_]
) -> LengthControlled:
    """`from_weights` with the uncertainty of the fit, by its influence function.

    psi_i = (p_i - mean p) / n - G^T H^-1 s_i,  error = sqrt(n / (n - 1) * sum (psi_i - mean psi)^2)
    s_i = (sigmoid(x_i b) - y_i) x_i,  H = sum weight_i p_i (1 - p_i) x_i x_i^T over all rows,  G = d mean(p) / d b

    The instructions are the sample; calibration rows, difficulties and the penalty's strength are held fixed.

    Args:
        weights: (3,) as fitted.
        x, y, weight: rows of the fit, the model's own first.
        difficulty: (n,) of all rows predicted.
        scored: (n,) True where a row was judged and so stands in the fit.
    Source: van der Vaart 1998, "Asymptotic Statistics", sec. 5.3 (M-estimators).
    """
    plain = from_weights(weights, difficulty)
    p, n, own = predictions(weights, difficulty), plain.n, int(scored.sum())
    fitted = expit(x @ weights)
    active = weights != 0
    inside = x[:, active]
    information = (inside.T * (weight * fitted * (1 - fitted))) @ inside
    gradient = np.array([0.0, float((p * (1 - p) * difficulty).mean()), float((p * (1 - p)).mean())])[active]
    psi = (p - p.mean()) / n
    if active.any():
        pull = np.linalg.lstsq(information, gradient, rcond=None)[0]
        psi[scored] -= ((fitted[:own] - y[:own])[:, None] * inside[:own]) @ pull
    error = float(np.sqrt(n / (n - 1) * ((psi - psi.mean()) ** 2).sum())) if n > 1 else float("nan")
    return LengthControlled(plain.value, plain.spread, error, n)
