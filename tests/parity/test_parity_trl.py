"""DPO and SFT against the installed TRL: the same weights and tokens give the same loss, metrics and gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
from resumable import VOCAB
from toy_policy import gradient, make_groups
from trl_trainers import (
    BETA,
    assert_same_gradient,
    causal,
    common,
    dpo_trainer,
    full,
    ours,
    preference_batch,
    tokenizer,
    write_models,
)

from hizala.algorithms import algorithms
from hizala.engines.train import Objective

trl = pytest.importorskip("trl", reason="TRL is not installed")
pytestmark = pytest.mark.parity

GROUPS = full(make_groups(6, vocab=VOCAB, seed=8))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_models(tmp_path_factory.mktemp)


@pytest.mark.parametrize("with_nll", [False, True])
def test_dpo_has_trls_loss_metrics_and_gradient(tmp_path: Path, models: tuple[Path, Path], with_nll: bool) -> None:
    changes = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]} if with_nll else {}
    trainer = dpo_trainer(tmp_path, models, len(GROUPS), **changes)
    trainer.model.train()
    theirs = trainer.compute_loss(trainer.model, preference_batch(GROUPS))
    theirs.backward()
    objective = Objective.of(algorithms.get("dpo"), {"beta": BETA}, weights={"chosen_nll": 0.2} if with_nll else {})
    metrics, gradients = ours(models, GROUPS, objective)
    assert metrics["loss"] == pytest.approx(theirs.item(), rel=1e-6)
    assert_same_gradient(gradients, gradient(trainer.model))
    said = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert metrics["dpo/margin"] == pytest.approx(said["rewards/margins"], rel=1e-5)
    assert metrics["dpo/accuracy"] == pytest.approx(said["rewards/accuracies"])
    assert BETA * metrics["dpo/chosen_logratio"] == pytest.approx(said["rewards/chosen"], rel=1e-5)
    assert BETA * metrics["dpo/rejected_logratio"] == pytest.approx(said["rewards/rejected"], rel=1e-5)


def test_label_smoothing_is_the_one_of_trls_smoothed_losses(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """With one pair a batch there is nothing to sort, and TRL's "aot" is cDPO."""
    trainer = dpo_trainer(tmp_path, models, len(GROUPS), loss_type=["aot"], label_smoothing=0.2)
    objective = Objective.of(algorithms.get("dpo"), {"beta": BETA, "label_smoothing": 0.2})
    for group in GROUPS[:3]:
        theirs = trainer.compute_loss(trainer.model, preference_batch([group]))
        metrics, _ = ours(models, [group], objective)
        assert metrics["loss"] == pytest.approx(theirs.item(), rel=1e-6)


def test_trl_ignores_label_smoothing_for_its_sigmoid_loss(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """The difference our docstring states; when this fails, TRL has changed and the docstring must."""
    with_smoothing = dpo_trainer(tmp_path, models, len(GROUPS), label_smoothing=0.2)
    theirs = with_smoothing.compute_loss(with_smoothing.model, preference_batch(GROUPS)).item()
    plain, _ = ours(models, GROUPS, Objective.of(algorithms.get("dpo"), {"beta": BETA}))
    smoothed, _ = ours(models, GROUPS, Objective.of(algorithms.get("dpo"), {"beta": BETA, "label_smoothing": 0.2}))
    assert plain["loss"] == pytest.approx(theirs, rel=1e-6)
    assert abs(smoothed["loss"] - theirs) > 1e-3


def test_sft_has_trls_loss_and_gradient(tmp_path: Path, models: tuple[Path, Path]) -> None:
    from datasets import Dataset

    trainer = trl.SFTTrainer(
        model=causal(models[0]),
        args=trl.SFTConfig(**common(tmp_path, len(GROUPS)), completion_only_loss=True),
        train_dataset=Dataset.from_list([{"prompt": "t5", "completion": "t6"}]),
        processing_class=tokenizer(),
    )
    groups = make_groups(6, vocab=VOCAB, responses=1, seed=8)  # with tokens inside a response that do not count
    rows = []
    for group in groups:
        response = group.responses[0]
        labels = [i if counts else -100 for i, counts in zip(response.ids, response.mask, strict=True)]
        rows.append({"input_ids": [*group.prompt, *response.ids], "labels": [-100] * len(group.prompt) + labels})
    batch = trainer.data_collator(rows)
    trainer.model.train()
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    metrics, gradients = ours(models, groups, Objective.of(algorithms.get("sft")))
    assert metrics["loss"] == pytest.approx(theirs.item(), rel=1e-6)
    assert_same_gradient(gradients, gradient(trainer.model))
