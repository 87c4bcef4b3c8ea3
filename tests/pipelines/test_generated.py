"""Stages that make their own preferences: what becomes a pair, what does not, and that nothing is lost by a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hizala import config
from hizala.algorithms import algorithms
from hizala.errors import ConfigError, HizalaError
from hizala.pipelines.build import run
from hizala.pipelines.candidates import Answers, Prompt
from hizala.pipelines.generated.pairs import Harvest, Pick, extremes, frozen, gather, thawed
from hizala.pipelines.generated.settings import OnlineDpoSettings
from hizala.records import Group, Message, Sample, Verdict

ONLINE = 'online_dpo: {data: "world:prompts?n=64", steps: 6, batch_size: 4, save_every: 1, max_tokens: 24}'


def answers(*texts: str, cut: Sequence[int] = ()) -> Answers:
    group = Group((Message("user", "soru"),), (), "g")
    samples = tuple(
        Sample(tuple(text.encode()), (-1.0,) * len(text.encode()), index in cut) for index, text in enumerate(texts)
    )
    return Answers(Prompt(group, (1, 2, 3)), samples, texts)


def verdicts(*values: float | None) -> list[Verdict]:
    return [Verdict(value) for value in values]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_pair_is_the_best_and_the_worst_of_the_scored() -> None:
    found = extremes(answers("a", "b", "c", "d"), verdicts(0.4, None, 0.9, 0.1))
    assert found == Pick(2, 3, 0.8)


@pytest.mark.parametrize(
    ("texts", "values", "cut", "reason"),
    [
        (("a", "b"), (0.5, 0.5), (), "tied"),
        (("a", "a"), (0.9, 0.1), (), "tied"),
        (("a", "b"), (0.5, None), (), "unscored"),
        (("a", "b"), (0.5, 0.7), (0, 1), "cut"),
        (("a", "b"), (0.5, 0.6), (), "close"),
    ],
)
def test_what_prefers_nothing_is_no_pair(
    texts: Sequence[str], values: Sequence[float | None], cut: Sequence[int], reason: str
) -> None:
    assert extremes(answers(*texts, cut=cut), verdicts(*values), margin=0.2) == reason


def test_a_cut_response_is_rejected_but_never_chosen() -> None:
    assert extremes(answers("a", "b", "c", cut=(0,)), verdicts(1.0, 0.6, 0.2)) == Pick(1, 2, pytest.approx(0.4))
    assert extremes(answers("a", "b", cut=(1,)), verdicts(1.0, 0.6)) == Pick(0, 1, pytest.approx(0.4))


def test_pairs_hold_the_sampled_tokens_themselves_and_unused_prompts_are_counted() -> None:
    asked = [answers("iyi", "kötü"), answers("x", "y")]
    judged = [verdicts(1.0, 0.0), verdicts(0.5, 0.5)]
    harvest = gather(asked, judged, [extremes(a, v) for a, v in zip(asked, judged, strict=True)], 4)
    (pair,) = harvest.pairs
    assert (pair.id, pair.margin) == ("g@4", 1.0)
    assert [bytes(r.ids).decode() for r in pair.responses] == ["iyi", "kötü"]
    assert all(all(r.mask) for r in pair.responses)
    assert harvest.metrics["pairs/yield"] == 0.5
    assert harvest.metrics["unused/tied"] == 1.0
    assert [row.get("unused") for row in harvest.rows] == [None, "tied"]
    assert [row["id"] for row in harvest.rows] == ["g@4", "g@4#2"], "a prompt met twice in a round has two names"


@pytest.mark.parametrize("measured", [True, False])
def test_a_round_in_a_checkpoint_is_the_round(measured: bool) -> None:
    asked = [answers("iyi", "kötü", cut=(1,)), answers("evet", "hayır")]
    harvest = gather(asked, [verdicts(1, 0), verdicts(0, 1)], [Pick(0, 1, 1.0), Pick(1, 0, 0.5)], 0)
    if measured:
        harvest.reference = {
            pair.id: np.arange(sum(len(r.ids) for r in pair.responses), dtype=np.float32) for pair in harvest.pairs
        }
    back = thawed(frozen(harvest))
    assert back.pairs == harvest.pairs
    assert back.metrics == harvest.metrics
    assert back.reference.keys() == harvest.reference.keys()
    for name, values in harvest.reference.items():
        np.testing.assert_array_equal(back.reference[name], values)
    assert thawed(frozen(Harvest())).pairs == []


def test_online_dpo_trains_on_pairs_of_its_own_samples(write_recipe: Callable[..., Path]) -> None:
    result = run(config.load(write_recipe(ONLINE)))
    stage = result.path / "stages" / "01-online_dpo"
    metrics, samples = rows(stage / "metrics.jsonl"), rows(stage / "samples.jsonl")
    assert [row["round"] for row in metrics] == [1, 2, 3, 4, 5, 6]
    assert len(samples) == 24
    for row in samples:
        scores = [c["score"] for c in row["candidates"]]
        if "unused" in row:
            assert len(set(scores)) == 1 or row["unused"] in ("cut", "tied")
        else:
            assert row["responses"]["rejected"]["score"] == min(scores) < row["responses"]["chosen"]["score"]
    # At the first step the policy is its own reference: every margin is 0 and the loss is log 2.
    assert metrics[0]["dpo/loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert metrics[0]["pairs/count"] == sum("unused" not in row for row in samples[:4])
    assert (result.models["online_dpo"] / "model.safetensors").is_file()


def test_adapters_are_their_own_reference(write_recipe: Callable[..., Path]) -> None:
    stage = ONLINE.replace("steps: 6", "steps: 2, lora: {rank: 2}, learning_rate: 1.0e-2, warmup: 0")
    result = run(config.load(write_recipe(stage)))
    first, second = rows(result.path / "stages" / "01-online_dpo" / "metrics.jsonl")
    assert first["dpo/loss"] == pytest.approx(np.log(2), abs=1e-5)
    assert abs(second["dpo/loss"] - np.log(2)) > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("algorithm: sft", "does not train a policy on pairs"),
        ("algorithm: dppo", "unknown algorithm"),
        ("parameters: {bata: 0.1}", "did you mean 'beta'"),
        ("parameters: {beta: -1}", "must be greater than 0"),
        ("algorithm: tdpo", "asks for 'divergence'"),
        ("judge: golden", "unknown judge"),
        ("anchor: base", "anchor has no effect"),
        ("samples: 1", "at least 2"),
    ],
)
def test_a_wrong_setting_is_refused_when_the_recipe_is_read(
    write_recipe: Callable[..., Path], settings: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(write_recipe(ONLINE.replace("steps: 6", settings)))


@pytest.mark.parametrize("name", ["cdpo", "simpo", "odpo", "orpo", "rpo", "wpo", "aot"])
def test_any_row_that_trains_a_policy_on_pairs_can_be_trained_online(name: str) -> None:
    settings = OnlineDpoSettings(data="world:prompts", algorithm=name)
    row = algorithms.get(name)
    assert {part.loss.name for part in settings.objective().parts} == {n for n, w in row.losses.items() if w}
    smoothing = row.defaults.get("label_smoothing")
    assert smoothing is None or settings.objective().parts[0].params["label_smoothing"] == smoothing


def test_margins_of_a_judge_reach_the_loss(write_recipe: Callable[..., Path]) -> None:
    stage = (
        run(
            config.load(
                write_recipe(ONLINE.replace("steps: 6", "steps: 1, algorithm: odpo, parameters: {scale: identity}"))
            )
        ).path
        / "stages"
    )
    (row,) = rows(stage / "01-online_dpo" / "metrics.jsonl")
    pairs = [r for r in rows(stage / "01-online_dpo" / "samples.jsonl") if "unused" not in r]
    # At the start h = 0, so that the loss is that of the offset alone.
    expected = np.mean([np.log1p(np.exp(r["margin"])) for r in pairs])
    assert row["odpo/loss"] == pytest.approx(expected, abs=1e-5)


def test_an_implicit_reward_needs_an_earlier_model(write_recipe: Callable[..., Path]) -> None:
    with pytest.raises(HizalaError, match="implicit reward of 'base' is 0"):
        run(config.load(write_recipe(ONLINE.replace("steps: 6", "steps: 6, judge: implicit"))))


def start(recipe: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hizala", "run", str(recipe), "--no-report"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill_after(recipe: Path, stage: Path, lines: int) -> None:
    """Kill a run as soon as its metrics have so many rows."""
    process, deadline = start(recipe), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        path = stage / "metrics.jsonl"
        if path.is_file() and path.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_stage_continues_to_the_same_bits(write_recipe: Callable[..., Path]) -> None:
    stage = ONLINE.replace("steps: 6", "steps: 12")
    whole = run(config.load(write_recipe(stage, name="whole"))).path / "stages" / "01-online_dpo"
    recipe = write_recipe(stage, name="killed")
    killed = recipe.parent / "runs" / "killed" / "stages" / "01-online_dpo"
    kill_after(recipe, killed, 3)
    kill_after(recipe, killed, 7)
    run(config.load(recipe))
    for name in ("model/model.safetensors", "metrics.jsonl", "samples.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
