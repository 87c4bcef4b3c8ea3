"""The results of a sweep from planted runs: figures, what dominates what, and a page that trusts nothing."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup

from hizala.core.stats.crossed import crossed_interval
from hizala.errors import RunError
from hizala.readers.report.charts import Spot, scatter
from hizala.readers.report.frontier import label, verdict
from hizala.readers.sweep import conclude, measure, render

PROMPTS = 60


def response(score: float | None, kl: float, cut: bool = False) -> dict[str, Any]:
    return {"text": "x", "score": score, "tokens": 5, "truncated": cut, "kl": [kl], "kl_k1": [kl], "kl_k3": [kl]}


class Planted:
    """A sweep over beta whose runs say what a test wants them to say."""

    def __init__(self, home: Path, metric: str = "gold/total") -> None:
        self.home = home
        self.record: dict[str, Any] = {
            "format": 1, "name": "planted-sweep", "stage": "dpo", "parameters": {"beta": []}, "seeds": [],
            "metric": metric, "start": "start", "runs": [],
        }  # fmt: skip

    def add(
        self, beta: Any, seed: int, gain: float, kl: float, *, status: str = "done", prefix: str = "p", **extra: Any
    ) -> None:
        name = f"beta-{len(self.record['runs'])}"
        self.record["runs"].append({"values": {"beta": beta}, "seed": seed, "run": name, "status": status})
        if beta not in self.record["parameters"]["beta"]:
            self.record["parameters"]["beta"].append(beta)
        if seed not in self.record["seeds"]:
            self.record["seeds"].append(seed)
        if status != "done":
            return
        place = self.home / name / "stages" / "02-frontier"
        place.mkdir(parents=True)
        rng = np.random.default_rng(seed)  # prompts differ, and answers to them by seed: the same for every value
        start = rng.uniform(0.2, 0.5, PROMPTS)
        rows = [
            {
                "id": f"{prefix}{i}",
                "responses": {
                    "base": response(start[i], 0.0),
                    "dpo": response(start[i] + gain + 0.01 * rng.normal(), kl * rng.uniform(0.8, 1.2), i < 2),
                },
            }
            for i in range(PROMPTS)
        ]
        (place / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "results.json").write_text(json.dumps({"models": {"base": {}, "dpo": {}}}))
        if extra:
            early = self.home / name / "stages" / "01-evaluate"
            early.mkdir()
            models = {model: {self.record["metric"]: {"value": value}} for model, value in extra.items()}
            (early / "results.json").write_text(json.dumps({"models": models}))

    def conclude(self) -> dict[str, Any]:
        self.home.mkdir(exist_ok=True)
        (self.home / "sweep.json").write_text(json.dumps(self.record))
        return conclude(self.home)


def by_beta(record: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    return {value["values"]["beta"]: value for value in record["results"]["values"]}


def test_a_value_that_scores_less_and_is_farther_away_is_dominated(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed in (1, 2, 3):
        planted.add(0.01, seed, 0.10, 9.0)
        planted.add(0.1, seed, 0.20, 3.0)
        planted.add(1.0, seed, 0.05, 0.5)
        planted.add(3.0, seed, 0.05, 0.6)
    values = by_beta(planted.conclude())
    assert [d["values"] for d in values[0.01]["dominated_by"]] == [{"beta": 0.1}]
    assert values[0.01]["dominated_by"][0]["difference"]["value"] == pytest.approx(0.1, abs=0.005)
    # Farther but better, and equal with nothing between the scores: neither is dominated.
    assert [values[beta]["dominated_by"] for beta in (0.1, 1.0, 3.0)] == [[], [], []]
    assert values[0.1]["gain"]["value"] == pytest.approx(0.2, abs=0.005)
    assert values[0.1]["kl"]["value"] == pytest.approx(3.0, rel=0.05)
    assert values[0.1]["truncated"]["value"] == pytest.approx(2 / PROMPTS)


def test_figures_are_those_of_seeds_crossed_with_prompts(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed in (1, 2):
        planted.add(0.1, seed, 0.2, 3.0)
        planted.add(1.0, seed, 0.1, 1.0)
    values = by_beta(planted.conclude())
    runs = [measure(planted.home / f"beta-{i}", "gold/total") for i in (0, 2)]
    expected = crossed_interval(np.array([run.score for run in runs if run is not None]))
    assert (values[0.1]["score"]["low"], values[0.1]["score"]["high"]) == pytest.approx((expected.low, expected.high))
    assert "2 seeds crossed" in values[0.1]["score"]["method"]


def test_a_difference_within_its_interval_dominates_nothing(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed in (1, 2, 3):
        planted.add(0.01, seed, 0.1 + 0.05 * (seed == 1), 9.0)
        planted.add(0.1, seed, 0.12, 3.0)
    assert all(not value["dominated_by"] for value in by_beta(planted.conclude()).values())


def test_failed_and_missing_runs_are_said(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    planted.add(0.1, 1, 0.2, 3.0)
    planted.add(9.0, 1, 0.0, 0.0, status="failed")
    record = planted.conclude()
    assert verdict(by_beta(record)[9.0]) == "failed"
    assert verdict(by_beta(record)[0.1]) == "not dominated"
    assert any("1 of 2 runs failed" in note for note in record["results"]["notes"])
    assert any("one seed" in note for note in record["results"]["notes"])
    render(record)
    (planted.home / "beta-0" / "stages" / "02-frontier" / "samples.jsonl").write_text("{torn")
    with pytest.raises(RunError, match="no run of the sweep is finished"):
        planted.conclude()
    with pytest.raises(RunError, match="not a sweep"):
        conclude(tmp_path)


def test_prompts_that_differ_between_seeds_leave_the_seeds_means(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed in (1, 2, 3):
        planted.add(0.1, seed, 0.2, 3.0, prefix=f"of {seed}, ")
        planted.add(1.0, seed, 0.1, 1.0, prefix=f"of {seed}, ")
    values = by_beta(planted.conclude())
    assert values[0.1]["score"]["method"] == "Student t over 3 seeds"
    assert values[0.1]["gain"]["value"] == pytest.approx(0.2, abs=0.005)


def test_another_metric_is_one_figure_a_seed(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s", metric="preferences/accuracy")
    for seed in (1, 2, 3):
        planted.add(0.1, seed, 0.0, 1.0, base=0.5, dpo=0.8 + 0.01 * seed)
        planted.add(1.0, seed, 0.0, 3.0, dpo=0.6 + 0.01 * seed)
    values = by_beta(planted.conclude())
    assert values[0.1]["gain"]["value"] == pytest.approx(0.32)
    assert values[1.0]["gain"]["value"] is None
    assert values[1.0]["dominated_by"][0]["difference"]["value"] == pytest.approx(0.2)
    single = Planted(tmp_path / "t", metric="preferences/accuracy")
    single.add(0.1, 1, 0.0, 1.0, dpo=0.8)
    single.add(1.0, 1, 0.0, 3.0, dpo=0.6)
    assert by_beta(single.conclude())[1.0]["dominated_by"] == []


def test_the_page_stands_alone_and_shows_hostile_names_as_text(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed in (1, 2):
        planted.add("<script>alert(1)</script>", seed, 0.1, 9.0)
        planted.add("plain", seed, 0.2, 3.0)
    planted.record["runs"][0]["reason"] = "<img src=x onerror=y>"
    planted.conclude()
    page = (planted.home / "sweep.html").read_text("utf-8")
    assert "<script" not in page
    assert "<img" not in page
    assert re.search(r"https?://", page) is None
    assert page.count('class="whisker"') >= 4
    assert "dominated by" in page


def test_labels_are_written_as_people_write_them() -> None:
    assert label({"beta": 0.1, "schedule": "cosine", "lora.rank": 4}) == "beta 0.1, schedule cosine, lora.rank 4"


def test_a_divergence_is_never_shown_below_zero(tmp_path: Path) -> None:
    planted = Planted(tmp_path / "s")
    for seed, kl in ((1, 0.01), (2, 9.0)):
        planted.add(0.1, seed, 0.2, kl)
        planted.add(1.0, seed, 0.1, kl)
    value = by_beta(planted.conclude())[0.1]
    assert value["kl"]["low"] == 0.0
    assert value["kl_k1"]["low"] < 0.0 < value["kl"]["value"] < value["kl"]["high"]


def test_names_of_a_scatter_lie_on_no_other_name_and_what_cannot_be_drawn_is_left_out() -> None:
    nan = math.nan
    spots = [Spot((x, x - 0.1, x + 0.1), (y, nan, nan), "m2", f"value {i}") for i, (x, y) in enumerate([(1, 1)] * 3)]
    spots += [Spot((nan, nan, nan), (1.0, 0.9, 1.1), "m4", "lost"), Spot((3, nan, nan), (2, 1.5, 2.5), "m4", "far")]
    drawn = str(scatter(spots, Markup('role="img"'), joined=[0, 4]))
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(?:start|end)">(value \d|far)<', drawn)
    assert len({(x, y) for x, y, _ in places}) == 4
    assert "lost" not in drawn
    assert "nan" not in drawn.replace("finance", "")
    assert drawn.count('class="whisker"') == 4
