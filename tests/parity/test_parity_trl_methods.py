"""Preference and reward training against real TRL trainers: the same weights and tokens, the same loss and gradient.

`test_parity_losses` compares the loss code on numbers; here TRL's own forward and ours stand behind those numbers,
so that what a loss is given (log-probs, collisions, mismatched log-ratios, scores) is compared too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from resumable import VOCAB
from toy_policy import gradient, make_groups
from trl_trainers import (
    BETA,
    assert_same_gradient,
    dpo_trainer,
    full,
    kto_trainer,
    ours,
    pair_trainer,
    preference_batch,
    reward_trainer,
    shape,
    sided_batch,
    stacked_batch,
    thumb_batch,
    write_models,
)

from hizala.engines.policy import load
from hizala.engines.train import Engine, Objective, Settings
from hizala.pipelines.mismatch import mismatched
from hizala.records import TokenGroup

pytest.importorskip("trl", reason="TRL is not installed")
pytestmark = pytest.mark.parity

GROUPS = full(make_groups(6, vocab=VOCAB, seed=8))
WHOLE = 10_000  # tokens: a batch in one forward, as losses that sort the batch need it

# our loss, its parameters, TRL's settings, TRL's constant
DPO_FAMILY: list[tuple[str, dict[str, Any], dict[str, Any], float]] = [
    ("robust_dpo", {"label_smoothing": 0.2}, {"loss_type": ["robust"], "label_smoothing": 0.2}, 0.0),
    ("hinge", {}, {"loss_type": ["hinge"]}, 0.0),
    ("exo", {"label_smoothing": 0.1}, {"loss_type": ["exo_pair"], "label_smoothing": 0.1}, 0.0),
    ("nca", {}, {"loss_type": ["nca_pair"]}, 0.0),
    ("sppo", {}, {"loss_type": ["sppo_hard"]}, 0.0),
    ("aot", {"label_smoothing": 0.1}, {"loss_type": ["aot"], "label_smoothing": 0.1}, 0.0),
    ("apo_zero", {}, {"loss_type": ["apo_zero"]}, 1.0),
    ("apo_down", {}, {"loss_type": ["apo_down"]}, 1.0),
    ("discopop", {"tau": 0.5}, {"loss_type": ["discopop"], "discopop_tau": 0.5}, 0.0),
    ("dpo_norm", {}, {"loss_type": ["sigmoid_norm"]}, 0.0),
    ("ld_dpo", {"alpha": 0.4}, {"ld_alpha": 0.4}, 0.0),
    ("wpo", {}, {"use_weighting": True}, 0.0),
    ("fdpo", {"divergence": "forward_kl"}, {"f_divergence_type": "forward_kl"}, 0.0),
    ("fdpo", {"divergence": "jensen_shannon"}, {"f_divergence_type": "js_divergence"}, 0.0),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_models(tmp_path_factory.mktemp)


def backward(trainer: Any, batch: dict[str, torch.Tensor]) -> float:
    """TRL's loss; its gradient stands in the model afterwards."""
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss.detach())


@pytest.mark.parametrize(
    ("name", "params", "theirs", "constant"), DPO_FAMILY, ids=[f"{n}-{p}" for n, p, _, _ in DPO_FAMILY]
)
def test_the_dpo_family_has_trls_loss_and_gradient(
    tmp_path: Path,
    models: tuple[Path, Path],
    name: str,
    params: dict[str, Any],
    theirs: dict[str, Any],
    constant: float,
) -> None:
    trainer = dpo_trainer(tmp_path, models, len(GROUPS), **theirs)
    expected = backward(trainer, preference_batch(GROUPS))
    objective = Objective.mixture(name, {name: {"beta": BETA} | params})
    metrics, gradients = ours(models, GROUPS, objective, budget=WHOLE if name == "aot" else 60)
    assert metrics["loss"] == pytest.approx(expected - constant, rel=1e-5, abs=1e-6)
    assert_same_gradient(gradients, gradient(trainer.model), 1e-5)


def test_ipo_by_mean_has_trls_loss_and_gradient(tmp_path: Path, models: tuple[Path, Path]) -> None:
    trainer = dpo_trainer(tmp_path, models, len(GROUPS), loss_type=["ipo"])
    expected = backward(trainer, preference_batch(GROUPS))
    metrics, gradients = ours(models, GROUPS, Objective.mixture("ipo", {"ipo": {"tau": BETA, "normalise": "mean"}}))
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert_same_gradient(gradients, gradient(trainer.model), 1e-5)


@pytest.mark.parametrize("size", [6, 3])
def test_kto_has_trls_loss_and_gradient_on_one_micro_batch_and_another_on_two(
    tmp_path: Path, models: tuple[Path, Path], size: int
) -> None:
    """TRL estimates the reference point from each micro-batch by itself, ours from the whole batch."""
    thumbs = [replace(g, responses=(replace(g.responses[0], label=i % 3 != 0),)) for i, g in enumerate(GROUPS)]
    others = mismatched(thumbs)
    trainer = kto_trainer(tmp_path, models, size, desirable_weight=1.33)
    parts = [slice(start, start + size) for start in range(0, len(thumbs), size)]
    expected = sum(backward(trainer, thumb_batch(thumbs[part], others[part])) for part in parts) / len(parts)
    objective = Objective.mixture("kto", {"kto": {"beta": BETA, "desirable_weight": 1.33}})
    metrics, gradients = ours(models, thumbs, objective, mismatched=others)
    if size == len(thumbs):
        assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
        assert metrics["kto/z0"] == pytest.approx(trainer._metrics["train"]["kl"][-1], rel=1e-4, abs=1e-6)
        assert_same_gradient(gradients, gradient(trainer.model), 1e-5)
    else:
        points = trainer._metrics["train"]["kl"]
        assert len(points) == 2
        assert points[0] != points[1]
        assert abs(metrics["loss"] - expected) > 1e-5


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize(("name", "kind"), [("simpo", "simpo"), ("cpo", "sigmoid")])
def test_simpo_and_cpo_have_trls_loss_and_gradient_with_and_without_likelihood(
    tmp_path: Path, models: tuple[Path, Path], name: str, kind: str, weight: float
) -> None:
    extra = {"simpo_gamma": 0.7} if name == "simpo" else {}
    trainer = pair_trainer(
        "cpo", tmp_path, models[0], len(GROUPS), beta=BETA, loss_type=kind, cpo_alpha=weight, **extra
    )
    expected = backward(trainer, sided_batch(GROUPS))
    mixed: dict[str, dict[str, Any]] = {name: {"beta": BETA} | ({"gamma": 0.7} if name == "simpo" else {})}
    if weight:
        mixed["chosen_nll"] = {"weight": weight}
    metrics, gradients = ours(models, GROUPS, Objective.mixture(name, mixed))
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert_same_gradient(gradients, gradient(trainer.model), 1e-5)


@pytest.mark.parametrize("prompt", [1, None])
def test_orpo_has_trls_loss_and_gradient_where_the_prompt_has_nothing_to_learn(
    tmp_path: Path, models: tuple[Path, Path], prompt: int | None
) -> None:
    """TRL's likelihood term runs over the prompt too: the same on prompts of one token, another on longer ones."""
    groups = [replace(g, prompt=list(g.prompt)[:prompt]) for g in GROUPS]
    trainer = pair_trainer("orpo", tmp_path, models[0], len(groups), beta=BETA)
    expected = backward(trainer, sided_batch(groups))
    metrics, gradients = ours(models, groups, Objective.mixture("orpo", {"orpo": {"weight": BETA}, "chosen_nll": {}}))
    if prompt == 1:
        assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
        assert_same_gradient(gradients, gradient(trainer.model), 1e-5)
    else:
        assert max(len(g.prompt) for g in groups) > 1
        assert abs(metrics["loss"] - expected) > 1e-3


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("classifier")
    config = Qwen3Config(**shape(), num_labels=1, pad_token_id=0, eos_token_id=3)
    Qwen3ForSequenceClassification(config).save_pretrained(path)
    return path


@pytest.mark.parametrize(("with_margin", "centre"), [(False, None), (True, None), (False, 0.1)])
def test_reward_models_have_trls_loss_and_gradient(
    tmp_path: Path, classifier: Path, with_margin: bool, centre: float | None
) -> None:
    groups: list[TokenGroup] = [replace(g, margin=0.25 * i) for i, g in enumerate(GROUPS)]
    trainer = reward_trainer(tmp_path, classifier, len(groups), center_rewards_coefficient=centre)
    batch = stacked_batch(groups)
    if with_margin:
        batch["margin"] = torch.tensor([g.margin for g in groups])
    expected = backward(trainer, batch)
    mixed: dict[str, dict[str, Any]] = {"bradley_terry_margin" if with_margin else "bradley_terry": {}}
    if centre:
        mixed["reward_centre"] = {"weight": centre}
    policy = load(classifier)
    engine = Engine(policy, Settings(learning_rate=1e-3, total_steps=1, token_budget=60))
    objective = Objective.mixture("reward", mixed)
    engine.accumulate(groups, objective)
    got = {name.replace("heads.score.", "score."): g for name, g in gradient(policy.module).items()}
    assert engine.step(groups, objective).metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert_same_gradient(got, gradient(trainer.model), 1e-5)
