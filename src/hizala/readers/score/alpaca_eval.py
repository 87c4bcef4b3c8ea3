"""AlpacaEval 1 and 2: raw and length-controlled win rates from stored preferences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import t as student

from hizala.core.stats import length_control as lc
from hizala.errors import EvalError, nearest
from hizala.readers.score import alpaca_runs as files
from hizala.readers.score.alpaca_runs import Calibration, Instructions, Run
from hizala.readers.score.options import named
from hizala.readers.score.rows import Annotations
from hizala.readers.score.suite import Figures, Scores, suite
from hizala.records import Estimate

Floats = NDArray[np.float64]
LEVEL = 0.95


@suite("alpaca_eval", source="tatsu-lab/alpaca_eval; Dubois et al. 2024, arXiv:2404.04475, sec. 3")
def alpaca_eval(
    annotations: Annotations,
    *,
    instructions: str | None = None,
    calibration: str | None = None,
    weights: str | None = None,
    regularisation: str = "cv",
    difficulty_by: Literal["position", "instruction"] = "position",
    against: str | None = None,
    seed: int = 0,
) -> Scores:
    """AlpacaEval win rates: raw and length-controlled, with standard errors.

    Args:
        instructions: file of instructions in order: difficulty, and characters of the baseline's outputs
        calibration: file of the calibration runs; with it and `instructions` the length-controlled model is fitted
        weights: file of published weights by model; with it nothing is fitted
        regularisation: strength C of the data: a number, a file of them by model, or cv to choose by cross-validation
        difficulty_by: how a row finds its difficulty; position is the benchmark's own rule, and wrong where rows miss
        against: a model of the file; the length-controlled win rate of the others against it is given too
        seed: of the folds of the cross-validation
    """
    known = files.instructions_of(instructions) if instructions else None
    if known is None and (calibration or weights):
        raise EvalError("a length-controlled win rate needs the difficulties", fix="give --instructions too")
    if "preference" not in _first(annotations) and known is not None and _has_weights(annotations):
        return _versus(_from_weights_alone(annotations, known), known, against, annotations.name)
    form, runs = files.runs_of(annotations)
    notes: list[str] = []
    results: dict[str, Figures] = {run.name: raw_figures(run) for run in runs}
    if known is None:
        if against is not None:
            raise EvalError(
                "--against has no effect without length-controlled win rates", fix="give --instructions too"
            )
        notes.append("no length-controlled win rate: give --instructions, and --calibration or --weights")
        return Scores(form, results, notes=notes)
    files.check_prompts(annotations, known)
    if weights is not None:
        table = files.weights_of(weights)
        for run in runs:
            if run.name not in table:
                raise EvalError(f"has no weights of '{run.name}'", where=weights)
            difficulty = _difficulty(run, known, difficulty_by)
            results[run.name] |= _figures(lc.from_weights(table[run.name], difficulty), table[run.name], None)
    elif calibration is not None:
        gamed = files.calibration_of(calibration)
        others = sorted({run.against for run in runs if run.against and not _same_baseline(run.against, gamed)})
        if others:
            notes.append(f"the calibration runs ({', '.join(gamed.names)}) are not of the baseline {', '.join(others)}")
        strengths = files.strengths_of(regularisation, list(results))
        for run in runs:
            results[run.name] |= _fitted(run, known, gamed, strengths[run.name], difficulty_by, seed)
    else:
        notes.append("no length-controlled win rate: give --calibration to fit it, or --weights")
    notes += _order_notes(runs, known, difficulty_by)
    return _versus(Scores(form, results, notes=notes), known, against, annotations.name)


def raw_figures(run: Run) -> Figures:
    """Win rate and what is counted beside it, as AlpacaEval's own table has them.

    y = p - 1,  win rate = 100 mean(y),  standard error = 100 sd(y) / sqrt(n) with n - 1 in sd
    discrete win rate: p rounded to 1 or 2, a draw counting one half
    """
    judged = run.preference[~np.isnan(run.preference)]
    y = judged - 1
    n = len(y)
    if not n:
        raise EvalError(f"no annotation of '{run.name}' has a preference")
    rate = 100 * float(y.mean())
    error = 100 * float(y.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    discrete = np.where(judged == files.DRAW, 0.5, np.rint(judged) - 1)
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error if n > 1 else math.nan
    figures: Figures = {
        "win_rate": Estimate(rate, rate - half, rate + half, n, len(run.preference) - n, "Student t", LEVEL),
        "standard_error": error,
        "n_wins": int((y > 0.5).sum()),
        "n_wins_base": int((y < 0.5).sum()),
        "n_draws": int((y == 0.5).sum()),
        "n_total": n,
        "discrete_win_rate": 100 * float(discrete.mean()),
    }
    if run.length is not None:
        figures["avg_length"] = int(run.length.mean())
    return figures


def _first(data: Annotations) -> Mapping[str, Any]:
    whole = data.rows[0].value
    inner = next(iter(whole.values()), None)
    return inner if len(data.rows) == 1 and isinstance(inner, dict) else whole


def _has_weights(data: Annotations) -> bool:
    return any(key in _first(data) for key in ("weights", "published_glm_weights"))


def _from_weights_alone(data: Annotations, known: Instructions) -> Scores:
    """Models of whom only weights are published; n says how many rows were predicted."""
    results: dict[str, Figures] = {}
    for name, entry in named(data).items():
        n = entry.get("n", len(known.difficulty))
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(known.difficulty):
            raise EvalError(f"'{name}' says n = {n}; there are {len(known.difficulty)} instructions", where=data.name)
        weights = files.weights_in(name, entry, data.name)
        results[name] = _figures(lc.from_weights(weights, known.difficulty[:n]), weights, None)
    return Scores("weights by model", results)


def _difficulty(run: Run, known: Instructions, by: str) -> Floats:
    index = _index(run, known)
    return known.difficulty[: len(index)] if by == "position" else known.difficulty[index]


def _index(run: Run, known: Instructions) -> NDArray[np.int64]:
    n, total = len(run.preference), len(known.difficulty)
    if n > total:
        raise EvalError(f"'{run.name}' has {n} rows, and there are {total} instructions")
    if run.index is None:
        return np.arange(n)
    if run.index.max() >= total:
        raise EvalError(f"'{run.name}' names instruction {int(run.index.max())}, and there are {total}")
    return run.index


def _fitted(run: Run, known: Instructions, gamed: Calibration, strength: float | None, by: str, seed: int) -> Figures:
    index, difficulty, scored = _index(run, known), _difficulty(run, known, by), ~np.isnan(run.preference)
    if run.length is None:
        fix = "give 'len_model', or annotations with the outputs"
        raise EvalError(f"'{run.name}' has no lengths of its outputs", fix=fix)
    baseline = run.baseline
    if baseline is None:
        if known.baseline is None:
            fix = "give 'len_baseline' in the instructions or the annotations"
            raise EvalError(f"the baseline of '{run.name}' is missing: its lengths stand nowhere", fix=fix)
        baseline = known.baseline[index]
    if (run.preference[scored] == files.DRAW).all() and (run.length == baseline).all():
        same = lc.LengthControlled(0.5, 0.0, 0.0, len(difficulty))
        return _figures(same, np.zeros(3), None)  # the baseline against itself
    length = lc.length_term(run.length, baseline)
    own = np.stack([length, difficulty, np.ones(len(length))], axis=1)[scored]
    rest = [_calibration_rows(lengths, known, run.name) for _, lengths in gamed.runs]
    x = np.concatenate([own, *rest])
    y = np.concatenate([run.preference[scored] - 1, *(part for part, _ in gamed.runs)])
    weight = np.full(len(y), gamed.weight)
    weight[: len(own)] = 1.0
    if strength is None:
        strength, found = lc.choose(x, y, weight, seed=seed)
    else:
        found = lc.fit(x, y, weight, strength)
    return _figures(lc.with_error(found, x, y, weight, difficulty, scored), found, strength)


def _same_baseline(name: str, gamed: Calibration) -> bool:
    return any(run.startswith(name) for run in gamed.names)


def _calibration_rows(lengths: NDArray[np.int64], known: Instructions, name: str) -> Floats:
    if known.baseline is None or len(lengths) != len(known.baseline):
        have = 0 if known.baseline is None else len(known.baseline)
        raise EvalError(f"calibration runs have {len(lengths)} lengths, the instructions {have} of the baseline")
    return np.stack([lc.length_term(lengths, known.baseline), known.difficulty, np.zeros(len(lengths))], axis=1)


def _figures(found: lc.LengthControlled, weights: Floats, strength: float | None) -> Figures:
    value, method = 100 * found.value, "normal, sampling of instructions and of the fit (delta method)"
    half = 100 * found.error * float(ndtri((1 + LEVEL) / 2))
    if math.isnan(found.error):
        method = "no interval: the weights were given, not fitted"
    figures: Figures = {
        "length_controlled_winrate": Estimate(value, value - half, value + half, found.n, 0, method, LEVEL),
        "lc_standard_error": 100 * found.spread,
        "lc_weights": dict(zip(files.TERMS, map(float, weights), strict=True)),
    }
    if strength is not None:
        figures["lc_regularisation"] = strength
    return figures


def _versus(scores: Scores, known: Instructions, against: str | None, where: str) -> Scores:
    """Add the win rate of every model against one of them, both at the baseline's length.

    100 mean sigmoid((b3_m - b3_k) + (b2_m - b2_k) difficulty), over all instructions
    """
    if against is None:
        return scores
    if against not in scores.results:
        raise EvalError(f"no annotations of '{against}'{nearest(against, scores.results)}", where=where)
    if "lc_weights" not in scores.results[against]:
        raise EvalError("--against has no effect without length-controlled win rates", fix="give --calibration")
    other = np.array(list(scores.results[against]["lc_weights"].values()))
    for figures in scores.results.values():
        apart = np.array(list(figures["lc_weights"].values())) - other
        figures["length_controlled_winrate_against"] = 100 * lc.from_weights(apart, known.difficulty).value
    return scores


def _order_notes(runs: list[Run], known: Instructions, by: str) -> list[str]:
    short = [run.name for run in runs if run.index is not None and (run.index != np.arange(len(run.preference))).any()]
    if not short or by != "position":
        return []
    return [
        f"{', '.join(short)}: rows are missing, and difficulty was taken by position as the benchmark's code does, "
        "which gives rows after the gap another instruction's; --difficulty-by instruction gives each its own"
    ]
