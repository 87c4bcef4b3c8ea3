"""AlpacaEval's files: runs of models, instructions with their difficulty, calibration rows, published weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hizala.errors import EvalError
from hizala.readers.score.options import by_name
from hizala.readers.score.rows import (
    Annotations,
    RowError,
    checked,
    each,
    integer_of,
    list_of,
    name_of,
    number_of,
    numbers_of,
    read,
    refuse,
    text_of,
    unique,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DRAW = 1.5
TERMS = ("tanh_std_delta_len", "instruction_difficulty", "not_gamed_baseline")


@dataclass(frozen=True, slots=True)
class Run:
    """One model's annotations.

    Attributes:
        name: the model, or judge/model where the file names judges.
        preference: (n,) 1 is the baseline's win, 2 the model's, 1.5 a draw; NaN was not judged.
        length: (n,) characters of the model's outputs; None where the file has none.
        baseline: (n,) characters of the baseline's outputs; None where they stand elsewhere.
        index: (n,) which instruction each row answers; None where they are all in order.
        against: the baseline's name, "" where the file does not say it.
    """

    name: str
    preference: Floats
    length: Ints | None = None
    baseline: Ints | None = None
    index: Ints | None = None
    against: str = ""


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is known of each instruction, in order: difficulty, the baseline's length, md5 (None where absent)."""

    difficulty: Floats
    baseline: Ints | None
    md5: tuple[str, ...] | None


def runs_of(data: Annotations) -> tuple[str, list[Run]]:
    """The runs of a file and the name of its form."""
    if data.has("output_1") or data.has("generator_2"):
        return "one row an annotation", [_long(data)]
    if not data.has("preference"):
        fix = "the forms are in docs/evaluation/forms.md"
        raise EvalError(f"no row has a 'preference' (the first has: {data.fields})", where=data.name, fix=fix)
    heads: list[Ints] = []
    rest = each(data, lambda row: _wide(row) if "model" in row or "preference" in row else _head(row, heads))
    runs = [run for run in rest if run is not None]
    if heads:
        if len(heads) > 1:
            raise EvalError("more than one row gives the baseline's lengths", where=data.name)
        runs = [_against(run, heads[0], data.name) for run in runs]
    names = [run.name for run in runs]
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise EvalError(f"'{again[0]}' stands in more than one row", where=data.name, fix="one row a model")
    return "one row a model", runs


def _head(row: Mapping[str, Any], heads: list[Ints]) -> None:
    name_of(row, "baseline")
    heads.append(_lengths(row, "len_baseline", None))


def _against(run: Run, baseline: Ints, where: str) -> Run:
    if len(baseline) != len(run.preference):
        what = f"{len(run.preference)} preferences, the baseline {len(baseline)} lengths"
        raise EvalError(f"'{run.name}' has {what}", where=where)
    return Run(run.name, run.preference, run.length, baseline, run.index, run.against)


def _wide(row: Mapping[str, Any]) -> Run:
    model = name_of(row, "model")
    name = f"{text_of(row, 'judge')}/{model}" if "judge" in row else model
    preference = _drawn(np.array(numbers_of(row, "preference", low=0, high=2, null=True)))
    n = len(preference)
    if not n:
        raise RowError("has no preferences")
    if "n" in row and integer_of(row, "n") != n:
        raise RowError(f"says n = {row['n']} and has {n} preferences")
    length = _lengths(row, "len_model", n) if row.get("len_model") is not None else None
    baseline = _lengths(row, "len_baseline", n) if row.get("len_baseline") is not None else None
    index = _lengths(row, "idx", n) if row.get("idx") is not None else None
    if index is not None and len(set(index.tolist())) < n:
        raise RowError("names an instruction twice in 'idx'")
    return Run(name, preference, length, baseline, index, str(row.get("baseline") or ""))


def _lengths(row: Mapping[str, Any], key: str, n: int | None) -> Ints:
    values = list_of(row, key, n)
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise RowError(f"has no count at {key}[{place}]")
    return np.array(values, dtype=np.int64)


def _drawn(preference: Floats) -> Floats:
    """0 is another word for a draw; nothing else may stand below 1."""
    if ((preference > 0) & (preference < 1)).any():
        raise RowError("has a preference between 0 and 1; 1 is the baseline's win, 2 the model's, 0 or 1.5 a draw")
    return np.where(preference == 0, DRAW, preference)


def _long(data: Annotations) -> Run:
    """The benchmark's own annotations.json: one object an instruction, texts of both sides included."""

    def convert(row: Mapping[str, Any]) -> tuple[str, str, float, int, int]:
        given = row.get("preference")
        value = float("nan") if given is None else number_of(row, "preference", 0, 2)
        p = float(_drawn(np.array([value]))[0])
        sizes = [row.get(f"output_{side}") for side in (1, 2)]
        for side, text in enumerate(sizes, 1):
            if not isinstance(text, str):
                raise RowError(f"has no text in 'output_{side}'")
        return name_of(row, "generator_1"), name_of(row, "generator_2"), p, len(str(sizes[0])), len(str(sizes[1]))

    found = each(data, convert)
    for side, what in ((0, "baselines"), (1, "models")):
        names = sorted({str(row[side]) for row in found})
        if len(names) > 1:
            fix = "give one file a model, or the form with one row a model"
            raise EvalError(f"mixes {len(names)} {what}: {', '.join(names[:5])}", where=data.name, fix=fix)
    unique(data, lambda row: str(row.get("instruction")), "instruction")
    preference = np.array([row[2] for row in found])
    baseline, length = (np.array([row[side] for row in found], dtype=np.int64) for side in (3, 4))
    return Run(str(found[0][1]), preference, length, baseline, None, str(found[0][0]))


def instructions_of(path: str) -> Instructions:
    """Rows {i, difficulty, len_baseline, md5}: one an instruction, in the order of the benchmark.

    Raises:
        EvalError: a difficulty missing, or instructions out of order.
    """
    data = read(path)
    problems = [
        (row.place, f"says i = {row.value.get('i')} where {place} is due")
        for place, row in enumerate(data.rows)
        if row.value.get("i", place) != place
    ]
    refuse(problems, data.name, fix="one row an instruction, in order")
    difficulty = np.array(each(data, lambda row: number_of(row, "difficulty")))
    baseline = None
    if data.has("len_baseline"):
        baseline = np.array(each(data, lambda row: integer_of(row, "len_baseline")), dtype=np.int64)
    md5 = tuple(each(data, lambda row: text_of(row, "md5"))) if data.has("md5") else None
    return Instructions(difficulty, baseline, md5)


def check_prompts(data: Annotations, known: Instructions) -> None:
    """Refuse annotations of instructions that the benchmark does not have; only texts can show it."""
    if known.md5 is None or not data.has("instruction"):
        return
    md5 = set(known.md5)
    problems = [
        (row.place, "answers an instruction that is not in the file of instructions")
        for row in data.rows
        if isinstance(text := row.value.get("instruction"), str)
        and hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest() not in md5
    ]
    refuse(problems, data.name, fix="score annotations with the instructions they were made for")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Runs of the baseline told to be brief or long: what anchors the length term. y in [0, 1]."""

    runs: tuple[tuple[Floats, Ints], ...]  # (y, characters) of each
    weight: float
    names: tuple[str, ...]


def calibration_of(path: str) -> Calibration:
    """One object: len_model and preference (1..2, or preference_reconstructed 0..1) by run, and row_weight.

    Raises:
        EvalError: sides missing or of unequal length.
    """
    data = read(path)
    whole = data.rows[0].value
    key = "preference" if "preference" in whole else "preference_reconstructed"
    try:
        if len(data.rows) > 1 or not isinstance(whole.get("len_model"), dict) or not isinstance(whole.get(key), dict):
            raise RowError("must be one object with 'len_model' and 'preference', each by name")
        runs = []
        for name in whole["len_model"]:
            lengths = _lengths(whole["len_model"], name, None)
            low = 1.0 if key == "preference" else 0.0
            y = np.array(numbers_of(whole[key], name, len(lengths), low, low + 1)) - low
            runs.append((y, lengths))
        weight = number_of(whole, "row_weight", 0) if "row_weight" in whole else 0.1
    except RowError as error:
        raise EvalError(str(error), where=data.name) from None
    if not runs:
        raise EvalError("holds no runs", where=data.name)
    return Calibration(tuple(runs), weight, tuple(whole["len_model"]))


def weights_of(path: str) -> dict[str, Floats]:
    """Published weights by model: {model: {weights: {...}}} or published_glm_weights, or a list of three."""
    return {name: weights_in(name, entry, path) for name, entry in by_name(path).items()}


def weights_in(name: str, entry: Mapping[str, Any], where: str) -> Floats:
    """The three weights of one entry. Raises EvalError naming the model."""
    given = entry.get("weights", entry.get("published_glm_weights", entry))
    try:
        if isinstance(given, list):
            return np.array(numbers_of({"weights": given}, "weights", 3))
        if not isinstance(given, dict):
            raise RowError("has no weights")
        return np.array([number_of(given, term) for term in TERMS])
    except RowError as error:
        raise EvalError(f"'{name}' {error}", where=where) from None


def strengths_of(text: str, names: list[str]) -> dict[str, float | None]:
    """The strength C for each model: a number, `cv` (None: chosen by cross-validation), or a file by model."""
    if text == "cv":
        return dict.fromkeys(names)
    try:
        value = float(text)
    except ValueError:
        pass
    else:
        if not 0 < value < float("inf"):
            raise EvalError(f"the strength must be above 0, got {text}", where="regularisation")
        return dict.fromkeys(names, value)
    found: dict[str, float | None] = {}
    table = by_name(text)
    for name in names:
        entry = table.get(name, {})
        given = next((entry[key] for key in ("C", "recovered_C", "nearest_C") if entry.get(key) is not None), None)
        try:
            found[name] = None if given is None else checked(given, lambda: f"a strength for '{name}'", 1e-12)  # noqa: B023
        except RowError as error:
            raise EvalError(str(error), where=text) from None
    return found
