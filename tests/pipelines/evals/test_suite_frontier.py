"""The suites `frontier` and `frontier_data`: divergences checked against whole distributions, computed plainly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from hizala import world
from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import load
from hizala.engines.rollout.local import LocalSampler
from hizala.errors import EvalError
from hizala.pipelines.evals import EvalContext, Evaluated
from hizala.pipelines.evals.frontier import frontier_data_suite, frontier_suite
from hizala.pipelines.evals.sampled import samples_of

N = 24


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with its weights shaken a little."""
    path = tmp_path_factory.mktemp("moved") / "model"
    policy = load(world.model_dir())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in policy.module.parameters():
            weight += 0.04 * weight.std() * torch.randn(weight.shape, generator=generator)
    policy.save(path)
    return path


def context(moved: Path, store: Path | None = None, **settings: object) -> EvalContext:
    template = ChatTemplate.load(world.model_dir())
    template.prove()

    def sampler_for(policy: object, progress: object) -> LocalSampler:
        return LocalSampler(policy, end_ids=template.end_ids(), temperature=1.0)

    models = [
        Evaluated("base", "digest of base", lambda: load(world.model_dir())),
        Evaluated("moved", "digest of moved", lambda: load(moved), "base"),
    ]
    given = {"prompts": N, "samples": 2, "max_tokens": 24, "seed": 3, "sampling": {"temperature": 1.0}}
    return EvalContext(models=models, tokenizer=template, sampler_for=sampler_for, store=store, **given | settings)


def test_the_divergence_is_that_of_whole_distributions_on_the_models_own_samples(moved: Path, tmp_path: Path) -> None:
    given = context(moved, tmp_path)
    result = frontier_suite(given)
    groups = world.generate("test", N, seed=0)
    prompts = [given.tokenizer.encode_prompt(group) for group in groups]
    drawn = samples_of(given, given.models[1], prompts)
    mine, start = (AutoModelForCausalLM.from_pretrained(p, dtype=torch.float64) for p in (moved, world.model_dir()))
    sums = np.zeros((N, 2, 3))
    with torch.no_grad():
        for i, (prompt, some) in enumerate(zip(prompts, drawn, strict=True)):
            for j, sample in enumerate(some):
                ids = torch.tensor([[*prompt, *sample.ids]])
                at = slice(len(prompt) - 1, -1)
                p, q = (model(ids).logits[0, at].log_softmax(-1) for model in (mine, start))
                d = (q - p).gather(-1, torch.tensor(sample.ids)[:, None])[:, 0]
                sums[i, j] = (float((p.exp() * (p - q)).sum()), float(-d.sum()), float((d.exp() - 1 - d).sum()))
    for row, expected in zip(result.samples, sums, strict=True):
        told = row["responses"]["moved"]
        for place, key in enumerate(("kl", "kl_k1", "kl_k3")):
            assert told[key] == pytest.approx(expected[:, place], rel=2e-3, abs=2e-3)
        assert row["responses"]["base"]["kl"] == [0.0, 0.0]
    figures = result.models["moved"]
    for place, name in enumerate(("kl/start", "kl/start_k1", "kl/start_k3")):
        assert figures[name].value == pytest.approx(sums[:, :, place].mean(), rel=1e-3, abs=1e-3)
    assert figures["kl/start"].value > 0.05
    spread = {name: figures[name].high - figures[name].low for name in ("kl/start", "kl/start_k1")}
    assert spread["kl/start"] < spread["kl/start_k1"]
    assert result.models["base"]["kl/start"].value == 0.0


def test_the_score_is_the_gold_reward_of_the_same_samples(moved: Path) -> None:
    result = frontier_suite(context(moved, samples=1))
    scores = [row["responses"]["moved"]["score"] for row in result.samples]
    assert result.models["moved"]["gold/total"].value == pytest.approx(np.mean(scores))
    assert {p.metric for p in result.paired} >= {"gold/total", "kl/start"}


def test_it_can_be_stopped_and_read_back(moved: Path, tmp_path: Path) -> None:
    first = frontier_suite(context(moved, tmp_path, samples=1))

    def never() -> object:
        raise AssertionError("the model was opened again")

    given = context(moved, tmp_path, samples=1)
    again = EvalContext(
        **{name: getattr(given, name) for name in EvalContext.__slots__}
        | {"models": [Evaluated(m.name, m.digest, never, m.parent) for m in given.models]}
    )
    assert frontier_suite(again).models == first.models


def test_data_give_prompts_and_no_score(moved: Path) -> None:
    groups = [*world.preferences(5, 1), *world.preferences(8, 1)]
    result = frontier_data_suite(context(moved, samples=1, groups=lambda: groups))
    assert len(result.samples) == 8
    assert "gold/total" not in result.models["moved"]
    assert result.models["moved"]["kl/start"].n == 8
    assert "unscored" not in {finding.kind for finding in result.findings}


def test_another_temperature_is_refused(moved: Path) -> None:
    with pytest.raises(EvalError, match="at temperature 1"):
        frontier_suite(context(moved, sampling={"temperature": 0.7}))
