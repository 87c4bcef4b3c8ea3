"""AlpacaEval: published win rates, raw and length-controlled, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hizala.cli.main import main
from hizala.core.stats.length_control import predictions
from hizala.errors import ConfigError, EvalError
from hizala.readers.score import score
from hizala.readers.score.alpaca_runs import instructions_of

Find = Callable[[str], Path]
Write = Callable[..., Path]
COUNTS = ("n_wins", "n_wins_base", "n_draws", "n_total")


@pytest.mark.parametrize(
    ("annotations", "table"),
    [
        ("v2_annotations.jsonl.gz", "v2_published.json"),
        ("discrete_annotations.jsonl.gz", "discrete_published.json"),
        ("bon_tulu_annotations.jsonl.gz", "bon_tulu_published.json"),
    ],
)
def test_raw_figures_are_the_published_ones(annotations: str, table: str, published: Find) -> None:
    """Win rate, standard error and discrete win rate to 1e-8; counts and mean length exactly."""
    told = json.loads(published(f"alpaca_eval/{table}").read_text())
    found = score("alpaca_eval", published(f"alpaca_eval/{annotations}")).scores.results
    assert set(found) == set(told)
    for model, figures in found.items():
        expected = told[model].get("published", told[model])
        assert figures["win_rate"].value == pytest.approx(expected["win_rate"], abs=1e-8)
        assert figures["standard_error"] == pytest.approx(expected["standard_error"], abs=1e-8)
        assert figures["discrete_win_rate"] == pytest.approx(expected["discrete_win_rate"], abs=1e-8)
        assert [figures[name] for name in COUNTS] == [expected[name] for name in COUNTS]
        # The table's mean length is over all outputs; two runs lack annotations of some.
        if "avg_length" in expected and expected["n_total"] == 805:
            assert figures["avg_length"] == expected["avg_length"]


def test_a_small_run_by_hand() -> None:
    """Four judged rows 0, 1, 0.5, 0.9 of five: mean 0.6, variance (0.36 + 0.16 + 0.01 + 0.09) / 3."""
    found = score("alpaca_eval", [{"model": "m", "preference": [1, 2, 0, 1.9, None]}]).scores.results["m"]
    assert found["win_rate"].value == pytest.approx(60)
    assert found["standard_error"] == pytest.approx(100 * (0.62 / 3) ** 0.5 / 2)
    assert found["discrete_win_rate"] == pytest.approx(100 * 2.5 / 4)
    assert (found["win_rate"].n, found["win_rate"].unscored) == (4, 1)
    assert found["win_rate"].low < 60 < found["win_rate"].high


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"model": "m", "preference": [1, "2"]}', r"line 2 has the text '2' at preference\[1\] where a number is due"),
        ('{"model": "m", "preference": [1, NaN]}', "line 2 holds NaN"),
        ('{"model": "m", "preference": [1, 1e999]}', "line 2 .* not finite"),
        ('{"model": "m", "preference": [1, 2.5]}', "line 2 has 2.5 .* outside of 0 to 2"),
        ('{"model": "m", "preference": [1, 0.5]}', "line 2 has a preference between 0 and 1"),
        ('{"model": "m", "preference": [true]}', "line 2 has true .* where a number is due"),
        ('{"preference": [1, 2]}', "line 2 has no 'model'"),
        ('{"model": "m"}', "line 2 has no 'preference'"),
        ('{"model": "m", "model": "n", "preference": [1]}', "line 2 has the field 'model' twice"),
        ("[1, 2]", "line 2 is not an object"),
        ('{"model": "m", ', "line 2 is not JSON"),
    ],
)
def test_a_broken_row_is_told_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"model": "good", "preference": [1, 2]}\n' + line + "\n")
    with pytest.raises(EvalError, match=told):
        score("alpaca_eval", path)


def test_all_broken_rows_are_told_at_once(write: Write) -> None:
    path = write([{"model": f"m{i}", "preference": ["x"]} for i in range(14)])
    with pytest.raises(EvalError, match=r"14 broken rows: line 1 .*line 10 .*and 4 more"):
        score("alpaca_eval", path)


def test_the_command_line_prints_the_same_document(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write([{"model": "m", "preference": [1, 2, 2]}])
    assert main(["eval", "score", "alpaca_eval", "--annotations", str(path)]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed == score("alpaca_eval", path).to_json()
    assert printed["annotations"]["rows"] == 1
    assert main(["eval", "score", "alpaca_eval", "--annotations", str(path), "--out", str(tmp_path / "o.json")]) == 0
    assert json.loads((tmp_path / "o.json").read_text()) == printed
    assert main(["eval", "score", "alpaca_eval", "--annotations", str(tmp_path / "absent")]) == 2


V2 = ("alpaca_eval/v2_annotations.jsonl.gz", "alpaca_eval/v2_published.json")
BON = ("alpaca_eval/bon_tulu_annotations.jsonl.gz", "alpaca_eval/bon_tulu_published.json")
LC = "length_controlled_winrate"


def side_files(published: Find) -> dict[str, Any]:
    """The instructions and calibration rows."""
    return {
        "instructions": published("alpaca_eval/instructions.jsonl.gz"),
        "calibration": published("alpaca_eval/calibration.json.gz"),
    }


def test_published_weights_give_the_published_length_controlled_rate(published: Find) -> None:
    """28 runs to 1e-6."""
    told = json.loads(published(V2[1]).read_text())
    known = published("alpaca_eval/instructions.jsonl.gz")
    found = score("alpaca_eval", published(V2[0]), instructions=known, weights=published(V2[1])).scores.results
    for model, figures in found.items():
        assert figures[LC].value == pytest.approx(told[model]["published"][LC], abs=1e-6)
        assert "not fitted" in figures[LC].method


def test_weights_alone_give_rate_and_standard_error(published: Find) -> None:
    """71 models of whom only weights are published; one row's weights are of another run, as its note says."""
    path = published("alpaca_eval/v2_weights_only.json")
    told = json.loads(path.read_text())
    found = score("alpaca_eval", path, instructions=published("alpaca_eval/instructions.jsonl.gz")).scores.results
    assert set(found) == set(told)
    for model, figures in found.items():
        assert figures[LC].value == pytest.approx(told[model][LC], abs=told[model]["tol"])
        if told[model]["lc_standard_error"] is not None:
            assert figures["lc_standard_error"] == pytest.approx(told[model]["lc_standard_error"], abs=1e-8)
    assert [model for model, entry in told.items() if entry["tol"] != 1e-6] == ["dbrx-instruct"]


def test_published_predictions_of_each_instruction(published: Find, rows: Callable[[Path], Any]) -> None:
    known = instructions_of(str(published("alpaca_eval/instructions.jsonl.gz")))
    told = [row for row in rows(published("alpaca_eval/v2_glm_preference.jsonl.gz")) if not row.get("stale_weights")]
    assert len(told) >= 5
    for row in told:
        p = predictions(np.array(row["weights"]), known.difficulty)
        assert np.abs(p - np.array(row["glm_preference"])).max() < 1e-6


@pytest.mark.parametrize(("files", "tolerance"), [(V2, 0.02), (BON, 0.01)])
def test_the_fit_at_the_recovered_strength(files: tuple[str, str], tolerance: float, published: Find) -> None:
    """Against the published rate; against an exact fit of the same rows far closer."""
    told = json.loads(published(files[1]).read_text())
    found = score("alpaca_eval", published(files[0]), regularisation=published(files[1]), **side_files(published))
    for model, figures in found.scores.results.items():
        assert figures[LC].value == pytest.approx(told[model]["published"][LC], abs=tolerance)
        exact = told[model].get("reference_fit", {})
        if exact:
            assert figures[LC].value == pytest.approx(exact[LC], abs=1e-6)
            assert figures["lc_standard_error"] == pytest.approx(exact["lc_standard_error"], abs=1e-6)
            assert figures[LC].high - figures[LC].value > figures["lc_standard_error"] * 1.96
        elif "reference_lc" in told[model]:
            # Another benchmark's runs, fitted with the calibration runs of AlpacaEval 2, as published: it is said.
            assert "are not of the baseline gpt-3.5-turbo-0613" in found.scores.notes[0]
            assert figures[LC].value == pytest.approx(told[model]["reference_lc"], abs=1e-6)


@pytest.mark.parametrize("files", [V2, BON])
def test_the_own_choice_of_strength(files: tuple[str, str], published: Find) -> None:
    told = json.loads(published(files[1]).read_text())
    found = score("alpaca_eval", published(files[0]), **side_files(published)).scores.results
    for model, figures in found.items():
        assert figures[LC].value == pytest.approx(told[model]["published"][LC], abs=0.2)
    if "gpt4_1106_preview" in found:
        assert (found["gpt4_1106_preview"][LC].value, found["gpt4_1106_preview"]["lc_standard_error"]) == (50, 0)


def test_difficulty_by_position_is_the_benchmarks_rule_and_is_said(published: Find) -> None:
    """Two runs miss rows: by instruction their rates move, by position they are the published ones."""
    given: dict[str, Any] = {"regularisation": published(V2[1]), **side_files(published)}
    place = score("alpaca_eval", published(V2[0]), **given).scores
    own = score("alpaca_eval", published(V2[0]), difficulty_by="instruction", **given).scores
    moved = {m for m, f in place.results.items() if abs(f[LC].value - own.results[m][LC].value) > 1e-9}
    assert moved == {"phi-2", "minotaur-13b"}
    assert "phi-2, minotaur-13b: rows are missing" in place.notes[0]
    assert not own.notes


OUTPUTS = {"generator_1": "base", "generator_2": "m", "output_1": "a", "output_2": "bb", "preference": 2}


def test_the_benchmarks_own_annotations_json(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([{"instruction": f"i{n}", **OUTPUTS} for n in range(3)]), encoding="utf-8")
    found = score("alpaca_eval", path).scores
    assert (found.form, found.results["m"]["n_wins"], found.results["m"]["avg_length"]) == (
        "one row an annotation",
        3,
        2,
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"generator_2": "other"}, "mixes 2 models: m, other"),
        ({"generator_1": "other"}, "mixes 2 baselines: base, other"),
        ({"instruction": "i0"}, "line 2 is the same instruction as line 1"),
        ({"output_1": None}, "line 2 has no text in 'output_1'"),
    ],
)
def test_mixed_or_doubled_annotations_are_refused(change: dict[str, Any], told: str, write: Write) -> None:
    path = write([{"instruction": "i0", **OUTPUTS}, {"instruction": "i1", **OUTPUTS, **change}])
    with pytest.raises(EvalError, match=told):
        score("alpaca_eval", path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"preference": [1] * 4, "len_model": [1] * 4}, "has 4 rows, and there are 3 instructions"),
        ({"preference": [1, 2], "len_model": [1, 2], "idx": [0, 7]}, "names instruction 7, and there are 3"),
        ({"preference": [1, 2, 2]}, "has no lengths of its outputs"),
        ({"preference": [1, 2, 2], "len_model": [1, 2, 3]}, "the baseline of 'm' is missing"),
    ],
)
def test_annotations_that_do_not_fit_the_instructions(row: dict[str, Any], told: str, write: Write) -> None:
    known = write([{"i": i, "difficulty": 0.1 * i} for i in range(3)], "instructions.jsonl")
    gamed = write([{"len_model": {"a": [1, 2, 3]}, "preference": {"a": [1, 2, 1]}}], "calibration.jsonl")
    with pytest.raises(EvalError, match=told):
        score("alpaca_eval", write([{"model": "m", **row}]), instructions=known, calibration=gamed)


def test_annotations_of_other_prompts_are_refused(write: Write) -> None:
    md5 = [hashlib.md5(f"i{n}".encode()).hexdigest() for n in range(2)]
    known = write([{"difficulty": 0.0, "md5": digest} for digest in md5], "instructions.jsonl")
    path = write([{"instruction": text, **OUTPUTS} for text in ("i0", "elsewhere")])
    with pytest.raises(EvalError, match="line 2 answers an instruction that is not in the file"):
        score("alpaca_eval", path, instructions=known)
    swapped = write([{"i": 1, "difficulty": 0.0}, {"i": 0, "difficulty": 0.0}], "swapped.jsonl")
    with pytest.raises(EvalError, match="line 1 says i = 1 where 0 is due"):
        score("alpaca_eval", path, instructions=swapped)


def test_an_option_without_effect_or_an_unknown_one_is_refused(write: Write) -> None:
    path = write([{"model": "m", "preference": [1, 2]}])
    with pytest.raises(EvalError, match="needs the difficulties"):
        score("alpaca_eval", path, calibration="c.json")
    with pytest.raises(ConfigError, match="did you mean 'calibration'"):
        score("alpaca_eval", path, calibraton="c.json")
    with pytest.raises(ConfigError, match="did you mean 'alpaca_eval'"):
        score("alpaca_evl", path)


def test_any_two_models_at_equal_length(published: Find) -> None:
    """Against itself 50, both directions sum to 100, and against the baseline it is the published rate."""
    path, known = published("alpaca_eval/v2_weights_only.json"), published("alpaca_eval/instructions.jsonl.gz")
    name = "length_controlled_winrate_against"

    def against(model: str) -> dict[str, float]:
        found = score("alpaca_eval", path, instructions=known, against=model).scores.results
        return {other: figures[name] for other, figures in found.items()}

    one, two = against("claude-3-opus-20240229"), against("gpt4_0314")
    assert one["claude-3-opus-20240229"] == 50
    assert one["gpt4_0314"] + two["claude-3-opus-20240229"] == pytest.approx(100)
    assert one["gpt4_0314"] < 50 < two["claude-3-opus-20240229"]
    table = json.loads(published(V2[1]).read_text())
    base = score(
        "alpaca_eval", published(V2[0]), instructions=known, weights=published(V2[1]), against="gpt4_1106_preview"
    )
    told = table["claude-2"]["published"][LC]
    assert base.scores.results["claude-2"][name] == pytest.approx(told, abs=1e-6)
    with pytest.raises(EvalError, match="no annotations of 'gpt-5'"):
        score("alpaca_eval", path, instructions=known, against="gpt-5")
    with pytest.raises(EvalError, match="has no effect"):
        score("alpaca_eval", published(V2[0]), against="claude-2")
