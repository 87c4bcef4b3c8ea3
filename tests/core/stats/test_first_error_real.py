"""First-error detection on BIG-Bench Mistake against the published figures of three trivial predictors."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hizala.core.stats.steps import first_error

SHARED = Path(os.environ.get("HIZALA_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
FOLDER = SHARED / "prm_bigbench_mistake"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared data sets are not here")


@pytest.fixture(scope="module")
def traces() -> list[dict[str, Any]]:
    raw = gzip.decompress((FOLDER / "traces.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in raw.split("\n") if line]


@pytest.mark.parametrize("name", ["always_null", "always_first", "half_index_if_answer_wrong"])
def test_trivial_predictors_get_their_published_figures(name: str, traces: list[dict[str, Any]]) -> None:
    guess = {
        "always_null": lambda trace: None,
        "always_first": lambda trace: 0,
        "half_index_if_answer_wrong": lambda t: None if t["answer"] == t["target"] else len(t["steps"]) // 2,
    }[name]
    found = first_error([guess(trace) for trace in traces], [trace["mistake_index"] for trace in traces])
    told = json.loads((FOLDER / "stats_and_expected.json").read_text())["processbench_metric"]["predictors"][name]
    assert found.wrong == pytest.approx(told["error_acc"], abs=1e-12)
    assert found.right == pytest.approx(told["correct_acc"], abs=1e-12)
    assert found.f1 == pytest.approx(told["f1"], abs=1e-12)
