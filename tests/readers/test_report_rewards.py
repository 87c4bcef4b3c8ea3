"""The report's section on reward models: every figure in its place, parts that lack, files with anything in them."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hizala.pipelines.evals import reward_best_of_n as bon
from hizala.pipelines.evals.reward_lists import ScoredSteps, step_figures
from hizala.pipelines.evals.reward_pairs import accuracy_measures, bucket_table, calibration, length_bias
from hizala.pipelines.evals.reward_rows import Scored, pair_rows
from hizala.pipelines.evals.suite import SuiteResult, comparisons, estimates
from hizala.readers.report.load import load
from hizala.readers.report.page import render
from hizala.readers.report.scores import slots
from hizala.readers.report.strings import STRINGS
from hizala.records import Group, Message, Response, Step

SYNTHETIC = runpy.run_path(str(Path(__file__).parent / "synthetic_run.py"))


def result() -> SuiteResult:
    """Two reward models on the same pairs, one overconfident; a model of steps; a curve that falls."""
    rng = np.random.default_rng(0)
    figures: dict[str, Any] = {}
    measures: dict[str, Any] = {}
    details: dict[str, Any] = {}
    said = tuple(Response((Message("assistant", text),)) for text in ("a", "b"))
    groups = [Group((Message("user", f"p{i}"),), said, f"g{i}", {"source": "xy"[i % 2]}) for i in range(300)]
    lengths = rng.integers(3, 30, (300, 2))
    for name, scale in (("rm", 1.0), ("loud", 4.0)):
        scores = scale * np.stack([rng.normal(0.8, 1, 300), rng.normal(0, 1, 300)], 1)
        scored = [Scored(g, scores[i], lengths[i], f"p{i}") for i, g in enumerate(groups)]
        rows = pair_rows(scored)
        calibrated, tables, _ = calibration(rows, name)
        measures[name] = accuracy_measures(rows)
        figures[name] = {**estimates(measures[name]), **calibrated, **length_bias(scored, rows)}
        details[name] = {"calibration": tables, "buckets": bucket_table(rows)}
    marks = [[True, False], [True, True]] * 20
    steps = tuple(Step("s", True) for _ in range(2))
    answers = [
        ScoredSteps(
            Group((Message("user", f"q{i}"),), (Response((Message("assistant", "s s"),), steps=steps),), f"s{i}",
                  {"task": ("add", "mul")[i % 4 // 2]}),
            mark, rng.random(2).tolist(), f"q{i}",
        )
        for i, mark in enumerate(marks)
    ]  # fmt: skip
    figures["prm"], details["prm"] = step_figures(answers)
    value = [rng.random(8) for _ in range(60)]
    curves = {
        "rm": bon.curve([v + rng.normal(0, 0.2, 8) for v in value], value, list(range(60))),
        "ceiling": bon.curve(None, value, list(range(60))),
    }
    told = {f"{n}@all": {"name": n, "tasks": "all", "policy": "dpo", **c.told()} for n, c in curves.items()}
    figures["rm"] |= bon.figures(curves["rm"])
    return SuiteResult(figures, comparisons(measures), details={"reward": details, "best_of_n": told})


@pytest.fixture(scope="module")
def found() -> SuiteResult:
    return result()


@pytest.fixture
def run(tmp_path: Path, found: SuiteResult) -> Path:
    """A finished run whose evaluation measured reward models beside policies."""
    root: Path = SYNTHETIC["write_run"](tmp_path / "rewards", steps=20, each=8)
    path = root / "stages/03-evaluate/results.json"
    given, mine = json.loads(path.read_text()), found.results()
    given["models"] |= mine["models"]
    given["paired"] += mine["paired"]
    given["details"] = mine["details"]
    path.write_text(json.dumps(given))
    return root


def section(page: str, name: str) -> str:
    match = re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)
    return match.group() if match else ""


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_every_part_of_the_section_is_there_with_its_figures(run: Path, found: SuiteResult) -> None:
    part = section(render(load(run)), "rewards")
    words = text(part)
    for key in (
        "rewards.table.quality",
        "rewards.table.calibration",
        "rewards.table.bias",
        "rewards.table.process",
        "rewards.calibration",
        "rewards.brier",
        "buckets.source",
        "buckets.longer",
        "buckets.length",
        "rewards.curve",
        "rewards.curve.gold",
        "rewards.curve.proxy",
        "rewards.steps",
    ):
        assert STRINGS["en"][key] in words, key
    for model, metric in (("loud", "reward/ece"), ("rm", "reward/accuracy.x"), ("prm", "reward/first_error_f1")):
        assert f"{found.models[model][metric].value:.3f}" in words
    assert f"{found.models['rm']['best_of_n/gold.8'].value:.3f}" in words
    assert part.count('<svg class="chart"') == 4
    bins = found.details["reward"]["rm"]["calibration"]["before"]["bins"]
    assert part.count('class="whisker"') > len(bins)


def test_reward_models_stand_in_no_other_table_and_policies_in_none_of_theirs(run: Path) -> None:
    page = render(load(run))
    assert "reward/" not in text(section(page, "scores"))
    assert "loud" not in text(section(page, "scores"))
    assert STRINGS["en"]["metric.arithmetic"] not in text(section(page, "rewards"))
    assert '<a href="#rewards">' in page


def test_a_run_without_reward_models_has_no_such_section(tmp_path: Path) -> None:
    page = render(load(SYNTHETIC["write_run"](tmp_path / "plain", steps=20, each=8)))
    assert section(page, "rewards") == ""
    assert '<a href="#rewards">' not in page


def test_buckets_of_length_stand_from_shorter_to_longer_and_all_are_drawn(run: Path) -> None:
    part = section(render(load(run)), "rewards")
    part = part[part.index(STRINGS["en"]["buckets.longer"]) : part.index(STRINGS["en"]["buckets.length"])]
    lanes = re.findall(r'<div class="lane (?!ends)[a-z]*"><span>(.*?)</span><svg', part)
    assert [text(lane).strip() for lane in lanes] == [
        STRINGS["en"][f"metric.{name}"] for name in ("much_shorter", "shorter", "same_length", "longer", "much_longer")
    ]


def test_more_models_than_colours_are_told_apart() -> None:
    found = slots([f"m{i}" for i in range(12)])
    assert len(set(found.values())) == 12


def test_it_speaks_turkish_as_well(run: Path) -> None:
    words = text(section(render(load(run), "tr"), "rewards"))
    for key in ("rewards.calibration.note", "buckets.note", "rewards.ceiling", "metric.length_correlation"):
        assert STRINGS["tr"][key].split("{")[0] in words
    assert "{" not in words


@pytest.mark.parametrize(
    "details",
    [
        None,
        [],
        {"reward": 3, "best_of_n": []},
        {"reward": {"rm": None, "loud": {"calibration": {"before": 7}, "buckets": "x", "first_error": [1]}}},
        {"reward": {"rm": {"calibration": {"before": {"bins": [{"predicted": "a"}, 3], "brier": {"score": None}}}}}},
        {"best_of_n": {"k": {"points": [{"n": None, "kl": 1}, "x"]}, "j": {"name": 3, "tasks": {}, "points": {}}}},
        {"best_of_n": {"k": {"name": "<b>", "tasks": "<i>", "points": [{"n": 1, "kl": 0, "gold": {"value": 1}}]}}},
    ],
)
def test_details_of_any_shape_never_break_the_page(run: Path, details: Any) -> None:
    path = run / "stages/03-evaluate/results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"details": details}))
    page = render(load(run))
    assert STRINGS["en"]["rewards.table.quality"] in page
    assert "<i>" not in section(page, "rewards").replace("<i></i>", "")
    assert "<b>" not in re.sub(r"<b>(<span|[\d–])", "", section(page, "rewards"))


def test_a_curve_s_ceiling_comes_first_and_is_dashed(run: Path) -> None:
    part = section(render(load(run)), "rewards")
    chart = part[part.index(STRINGS["en"]["rewards.curve.gold"]) :]
    assert chart.index('class="ideal"') < chart.index(STRINGS["en"]["rewards.ceiling"])
    assert 'data-read="rewards.curve.at"' in part
