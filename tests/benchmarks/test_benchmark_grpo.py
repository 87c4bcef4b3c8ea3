"""The GRPO race runs from end to end on a tiny model; both sides have the same prompts and the same rewards."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def module(name):
    """A module of the benchmarks folder, which is not a package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


for helper in ("bench_common", "bench_pairs", "bench_race"):
    module(helper)
prompts, race = module("bench_prompts"), module("grpo_vs_trl")


@pytest.mark.parity
@pytest.mark.real
def test_both_sides_run_and_are_measured():
    pytest.importorskip("trl", reason="the peer is not installed")
    command = [sys.executable, str(FOLDER / "grpo_vs_trl.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ratios"]["smoke"] > 0
    assert figures["sampling_to_generate"]["smoke"].keys() == {"float32", "bfloat16"}
    for of in figures["split"]["smoke"].values():
        assert all(of[part] > 0 for part in race.PARTS)
        assert 1 <= of["length"] <= 8
    assert figures["rss"]["smoke"]["ours_to_trl"] > 0
    assert figures["fixed_length"]["smoke"]["split"]["ours"]["length"] > figures["split"]["smoke"]["ours"]["length"]


def test_the_reward_tells_right_answers_and_words_apart():
    assert prompts.reward("so it is 1,234.", "1234") > 1
    assert prompts.reward("1234 or rather 7", "1234") < 0.2
    assert prompts.reward("", "7") == 0
    assert prompts.reward("words", "7") == pytest.approx(0.2)


def test_questions_are_read_with_the_number_that_answers_them(tmp_path):
    import gzip

    with gzip.open(tmp_path / "train_2.jsonl.gz", "wt", encoding="utf-8") as out:
        out.write(json.dumps({"question": "How many?", "answer": "a lot\n#### 1,024"}) + "\n")
    (question,), (worked,) = prompts.questions(tmp_path)
    assert question.answer == "1024"
    assert "How many?" in question.prompt
    assert worked.startswith("a lot")


def test_more_end_tokens_are_written_where_generation_looks_for_them(tmp_path):
    class Tokenizer:
        eos_token_id = 2

    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))
    ends = prompts.set_ends(tmp_path, Tokenizer(), prompts.MORE_ENDS, 4096)
    assert ends[0] == 2
    assert len(set(ends)) == prompts.MORE_ENDS + 1
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == ends


def test_the_smoke_run_overrides_what_would_take_long():
    options = race.parse(["--smoke"])
    assert (options.models, options.data, options.rounds) == ("smoke", "synthetic", 1)
    assert race.parse([]).models == "4m,27m"
