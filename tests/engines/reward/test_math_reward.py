"""The math reward: number formats, the published grading of real solutions, settings, and what is not scored."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hizala import world
from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import build
from hizala.engines.reward.math import math
from hizala.engines.reward.numerals import Number, equal, read
from hizala.records import Group, Message, Response

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def graded(text: str, answer: Any, lang: str = "en", **how: Any) -> float | None:
    """The reward of one response."""
    return math(Response((Message("assistant", text),)), asked(answer, lang), **how).value


def asked(answer: Any, lang: str = "en", *texts: str) -> Group:
    """A prompt whose answer is known."""
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    return Group((Message("user", "?"),), responses, "g", {"answer": answer, "lang": lang})


# text -> (in Turkish, in English); None: no number
FORMATS: dict[str, tuple[object, object]] = {
    "1.234": (1234, "1.234"),
    "1,234": ("1.234", 1234),
    "1.234,56": ("1234.56", "1234.56"),
    "1,234.56": ("1234.56", "1234.56"),
    "1.234.567": (1234567, 1234567),
    "1,234,567": (1234567, 1234567),
    "12.34.567": (None, None),
    "1.5": ("1.5", "1.5"),
    "1,5": ("1.5", "1.5"),
    "0.125": ("0.125", "0.125"),
    "0,125": ("0.125", "0.125"),
    ".5": ("0.5", "0.5"),
    "12.345": (12345, "12.345"),
    "1234.567": ("1234.567", "1234.567"),
    "1234,567": ("1234.567", "1234.567"),
    "1 234 567": (1234567, 1234567),
    "1\u00a0234,5": ("1234.5", "1234.5"),
    "1{,}5": ("1.5", "1.5"),
    "10,\\!000": (10000, 10000),
    "007": (7, 7),
    "- 5": (-5, -5),
    "(-5)": (-5, -5),
    "3/4": ("0.75", "0.75"),
    "-3/4": ("-0.75", "-0.75"),
    "\\tfrac{3}{4}": ("0.75", "0.75"),
    "\\dfrac34": ("0.75", "0.75"),
    "-\\frac{3}{4}": ("-0.75", "-0.75"),
    "1 1/2": ("1.5", "1.5"),
    "1½": ("1.5", "1.5"),
    "1 tam 1/2": ("1.5", "1.5"),
    "2\\frac{1}{2}": ("2.5", "2.5"),
    "3 bin": (3000, 3000),
    "1,5 milyon": (1500000, 1500000),
    "2 million": (2000000, 2000000),
    "1.5 \\times 10^{3}": (1500, 1500),
    "1e3": (1000, 1000),
    "18 TL": (18, 18),
    "₺18": (18, 18),
    "18,50 TL": ("18.5", "18.5"),
    "$1,234.50": ("1234.5", "1234.5"),
    "18'dir": (18, 18),
    "18 tanedir.": (18, 18),
    "60 km/h": (60, 60),
    "5²": (None, None),
    "5 x": (None, None),
    "5 değil": (None, None),
    "5 or 7": (None, None),
    "1/0": (None, None),
    "beş": (None, None),
    "": (None, None),
}


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize(("place", "lang"), [(0, "tr"), (1, "en")])
def test_a_number_is_read_in_the_format_of_its_language(text: str, place: int, lang: str) -> None:
    found, expected = read(text, lang), FORMATS[text][place]
    assert (found and found.value) == (None if expected is None else Fraction(str(expected)))


def turkish(value: int, cents: int) -> str:
    """An amount as it is written in Turkish."""
    return f"{value:,}".replace(",", ".") + f",{cents:02}"


@given(st.integers(-(10**12), 10**12), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_what_is_written_in_a_format_is_read_back_from_it(value: int, cents: int) -> None:
    sign = -1 if value < 0 else 1
    exact = value + sign * Fraction(cents, 100)
    written = f"{value:,}.{cents:02}" if value or sign > 0 else f"-0.{cents:02}"
    for text, lang in ((written, "en"), (turkish(value, cents), "tr"), (turkish(value, cents), "en")):
        found = read(text, lang)
        assert found is not None
        assert found.value == exact


@given(st.text(max_size=60), st.sampled_from(["tr", "en"]))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_is_no_number(text: str, lang: str) -> None:
    found = read(text, lang)
    assert found is None or equal(found, found)


def test_numbers_meet_as_math_verify_says_where_both_read_the_same_format() -> None:
    from math_verify import parse, verify

    texts = [
        "5",
        "-5",
        "0.5",
        "1/2",
        "\\frac{1}{2}",
        "5.0",
        "50\\%",
        "1,000",
        "1000",
        "2\\frac{1}{2}",
        "2.5",
        "-0.5",
    ]
    numbers = {text: read(text, "en") for text in texts}
    trees = {text: parse(f"${text}$", parsing_timeout=None) for text in texts}
    for one in trees:
        for two in trees:
            mine, other = numbers[one], numbers[two]
            assert mine is not None
            assert other is not None
            if mine.percent == other.percent:  # it takes 50 % for 50 on one side only
                assert equal(mine, other) == verify(trees[two], trees[one], timeout_seconds=None), (one, two)


MEET: dict[str, dict[str, bool | None]] = {
    "50%": {"50": True, "0.5": True, "50 percent": True, "5": False},
    "0.5": {"50": False, "1/2": True, "30": False},
    "30 minutes": {"0.5 hours": True, "1/2 h": True, "30": True, "30 km": False, "30 s": False},
    "18": {"18 dollars": True, "$18.00": True, "18 eggs": True, "-18": False},
    "250 cents": {"$2.50": True, "2.50": False, "2,50 TL": False},
    "2 km": {"2 m": False, "2000 m": True, "200000 cm": True},
    "2/3": {"0.6667": True, "0.66667": True, "0.667": False, "0.6666": False},
    "1/4": {"0.2501": False, "0.25": True, "25%": True},
    "1000000": {"1000001": False, "10^6": None, "1 million": True},
}


@pytest.mark.parametrize(("one", "two"), [(one, two) for one, row in MEET.items() for two in row])
def test_percentages_units_and_roundings_meet_by_rule(one: str, two: str) -> None:
    first, second = read(one, "en"), read(two, "en")
    assert isinstance(first, Number)
    assert (second and equal(first, second)) == MEET[one][two]


@pytest.mark.parametrize(
    ("text", "how", "value"),
    [
        ("\\boxed{5}", {"style": "boxed"}, 1.0),
        ("Answer: 5", {"style": "boxed"}, 0.0),
        ("5", {"style": "label"}, 0.0),
        ("#### 5", {"style": "hash"}, 1.0),
        ("<answer>5</answer>", {"style": "tag"}, 1.0),
        ("5", {"fallback": "none"}, 0.0),
        ("So we get 2 and then 5 in all", {}, 0.0),
        ("So we get 2 and then 5 in all", {"fallback": "last_number"}, 1.0),
        ("Answer: 4\nAnswer: 5", {"several": "last"}, 1.0),
        ("Answer: 4\nAnswer: 5", {"several": "first"}, 0.0),
        ("#### 5\nQuestion: 3?\n#### 3", {"several": "first"}, 1.0),
        ("Answer: 2+3", {"unevaluated": True}, 1.0),
        ("Answer: 2+4", {"unevaluated": True}, 0.0),
        ("The answer is 5", {"opened": True}, 0.0),
        ("2 + 3</think>The answer is 5", {"opened": True}, 1.0),
    ],
)
def test_settings_say_what_counts_as_the_answer(text: str, how: dict[str, Any], value: float) -> None:
    assert graded(text, 5, **how) == value


def test_the_truth_is_read_in_the_language_that_is_said() -> None:
    assert graded("Cevap: 1.234", "1.234", "tr") == 1.0
    assert graded("Cevap: 1.234", "1.234", "tr", answer_lang="en") == 0.0
    assert graded("Cevap: 1,234", "1.234", "tr", answer_lang="en") == 1.0
    assert graded("Cevap: 1.234", 1234, "tr") == 1.0


def test_any_of_several_truths_will_do() -> None:
    assert graded("\\boxed{x^2-1}", ["(x-1)(x+1)", 7]) == 1.0
    assert graded("Answer: 7", ["(x-1)(x+1)", 7]) == 1.0
    assert graded("Answer: 8", ["(x-1)(x+1)", 7]) == 0.0


@pytest.mark.parametrize("answer", [True, {"a": 1}, "", "   ", float("nan"), "\\frac{"])
def test_a_truth_that_cannot_be_read_is_not_scored(answer: Any) -> None:
    composed = build({"math": 1.0}, RewardContext(workers=1))
    (row,) = composed.score([asked(answer, "en", "\\boxed{\\sqrt{2}}")])
    composed.close()
    assert row[0].value is None
    assert "crash: ValueError" in row[0].reason


@pytest.mark.parametrize("endless", ["(a+b+c+d+e+f)^{300}", "\\sum_{k=1}^{9999} \\sin(k)", "\\sqrt{2^{9999}+3^{9999}}"])
def test_mathematics_that_takes_for_ever_costs_its_own_sample(endless: str) -> None:
    composed = build({"math": {"unevaluated": True}}, RewardContext(workers=2, time_limit=0.5))
    (row,) = composed.score([asked("2x", "en", "\\boxed{2x}", f"\\boxed{{{endless}}}", "\\boxed{x+x}", "\\boxed{3x}")])
    report = composed.report()["math"]
    composed.close()
    assert [verdict.value for verdict in row] == [1.0, None, 1.0, 0.0]
    assert row[1].reason == "math: time limit: more than 0.5 s of computing"
    assert report.unscored == {"time limit": 1}


def test_the_worlds_own_arithmetic_is_graded_as_the_world_does() -> None:
    """Right answers, and right ones without a label, are right; slips are wrong."""
    from random import Random

    rng = Random(5)
    for group in world.prompts(120, seed=3, tasks=["arithmetic"]):
        for quality, value in (("good", 1.0), ("half", 1.0), ("bad", 0.0)):
            for think in (True, False):
                text = world.respond(group, quality, rng, think)  # type: ignore[arg-type]
                assert math(Response((Message("assistant", text),)), group).value == value, (text, group.meta)


@pytest.fixture(scope="session")
def gsm8k() -> Path:
    """The folder of real problems, where there is one."""
    named = os.environ.get("HIZALA_SHARED_DATA")
    candidates = [Path(named)] if named else [p / "shared" / "data" for p in Path(__file__).parents]
    for path in candidates:
        if (path / "gsm8k").is_dir():
            return path / "gsm8k"
    pytest.skip("real data are absent: set HIZALA_SHARED_DATA, or put them at ../shared/data beside the checkout")


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a compressed file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().split("\n") if line]


def test_real_solutions_are_graded_as_published(gsm8k: Path) -> None:
    expected = json.loads((gsm8k / "graded_expected.json").read_text("utf-8"))
    composed = build({"math": 1.0}, RewardContext(workers=2))
    data = rows(gsm8k / "graded_model_solutions.jsonl.gz")
    groups = [
        Group(
            (Message("user", row["question"]),),
            tuple(Response((Message("assistant", row[model]["solution"]),)) for model in MODELS),
            str(row["i"]),
            {"answer": row["ground_truth"].rpartition("A:")[2].strip(), "lang": "en"},
        )
        for row in data
    ]
    right: Counter[str] = Counter()
    disagreements = []
    for row, group, verdicts in zip(data, groups, composed.score(groups), strict=True):
        for model, verdict in zip(MODELS, verdicts, strict=True):
            right[model] += int(verdict.value or 0)
            if verdict.value != float(row[model]["is_correct"]):
                disagreements.append((group.id, model, verdict))
    composed.close()
    assert disagreements == []
    assert dict(right) == expected["n_correct"]
    assert {model: right[model] / len(data) for model in MODELS} == pytest.approx(expected["accuracy"])


def test_every_published_solution_solves_its_own_problem_and_no_other(gsm8k: Path) -> None:
    data = rows(gsm8k / "train_2000.jsonl.gz")
    for row, other in zip(data, data[1:] + data[:1], strict=True):
        group = Group((Message("user", row["question"]),), (), "", {"answer": row["answer"]})
        assert math(Response((Message("assistant", row["answer"]),)), group).value == 1.0
        mine, theirs = (r["answer"].rpartition("#### ")[2].replace(",", "") for r in (row, other))
        assert math(Response((Message("assistant", other["answer"]),)), group).value == float(mine == theirs)
