"""DPO and SFT against the installed TRL: the same weights and tokens give the same loss, metrics and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from resumable import CONFIG, VOCAB
from toy_policy import gradient, make_groups

from hizala.algorithms import algorithms
from hizala.engines.policy import load
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.records import TokenBranch, TokenGroup

trl = pytest.importorskip("trl", reason="TRL is not installed")
pytestmark = pytest.mark.parity

BETA = 0.3


def full(groups: list[TokenGroup]) -> list[TokenGroup]:
    """Every response token counts and every response has two or more, as TRL's collators have it."""
    return [
        TokenGroup(g.prompt, tuple(TokenBranch([*r.ids, 3], [True] * (len(r.ids) + 1)) for r in g.responses), g.id)
        for g in groups
    ]


GROUPS = full(make_groups(6, vocab=VOCAB, seed=8))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(policy, reference) directories written by transformers."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        path = tmp_path_factory.mktemp(f"model{seed}")
        config = {k: v for k, v in CONFIG.items() if k not in ("architectures", "model_type")}
        Qwen3ForCausalLM(Qwen3Config(**config, pad_token_id=0, eos_token_id=3)).save_pretrained(path)
        paths.append(path)
    return paths[0], paths[1]


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="t0", eos_token="t3")


def common(tmp_path: Path) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "gradient_checkpointing": False,
        "max_length": None,
        "per_device_train_batch_size": len(GROUPS),
    }


def dpo_trainer(tmp_path: Path, models: tuple[Path, Path], **changes: Any) -> Any:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    rows = Dataset.from_list([{"prompt": "t5", "chosen": "t6", "rejected": "t7"}])
    policy, reference = (AutoModelForCausalLM.from_pretrained(m, dtype=torch.float32) for m in models)
    return trl.DPOTrainer(
        model=policy,
        ref_model=reference,
        args=trl.DPOConfig(**common(tmp_path), beta=BETA, **changes),
        train_dataset=rows,
        processing_class=tokenizer(),
    )


def preference_batch(groups: list[TokenGroup]) -> dict[str, torch.Tensor]:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = [
        {
            "prompt_ids": list(g.prompt),
            "chosen_ids": list(g.responses[0].ids),
            "rejected_ids": list(g.responses[1].ids),
        }
        for g in groups
    ]
    batch: dict[str, torch.Tensor] = DataCollatorForPreference(pad_token_id=0)(rows)
    return batch


def ours(models: tuple[Path, Path], groups: list[TokenGroup], objective: Objective) -> tuple[dict[str, float], Any]:
    policy, reference = load(models[0]), load(models[1])
    columns = {"reference": {g.id: m for g, m in zip(groups, measure(reference, groups, 60), strict=True)}}
    engine = Engine(policy, Settings(learning_rate=1e-3, total_steps=1, token_budget=60))
    engine.accumulate(groups, objective, columns)
    gradients = gradient(policy.module)
    return engine.step(groups, objective, columns).metrics, gradients


def assert_same_gradient(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    scale = max(float(g.norm()) for g in expected.values())
    for name, g in expected.items():
        assert float((got[name] - g).norm()) <= 2e-6 * scale, name


@pytest.mark.parametrize("with_nll", [False, True])
def test_dpo_has_trls_loss_metrics_and_gradient(tmp_path: Path, models: tuple[Path, Path], with_nll: bool) -> None:
    changes = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]} if with_nll else {}
    trainer = dpo_trainer(tmp_path, models, **changes)
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
    trainer = dpo_trainer(tmp_path, models, loss_type=["aot"], label_smoothing=0.2)
    objective = Objective.of(algorithms.get("dpo"), {"beta": BETA, "label_smoothing": 0.2})
    for group in GROUPS[:3]:
        theirs = trainer.compute_loss(trainer.model, preference_batch([group]))
        metrics, _ = ours(models, [group], objective)
        assert metrics["loss"] == pytest.approx(theirs.item(), rel=1e-6)


def test_trl_ignores_label_smoothing_for_its_sigmoid_loss(tmp_path: Path, models: tuple[Path, Path]) -> None:
    """The difference our docstring states; when this fails, TRL has changed and the docstring must."""
    with_smoothing = dpo_trainer(tmp_path, models, label_smoothing=0.2)
    theirs = with_smoothing.compute_loss(with_smoothing.model, preference_batch(GROUPS)).item()
    plain, _ = ours(models, GROUPS, Objective.of(algorithms.get("dpo"), {"beta": BETA}))
    smoothed, _ = ours(models, GROUPS, Objective.of(algorithms.get("dpo"), {"beta": BETA, "label_smoothing": 0.2}))
    assert plain["loss"] == pytest.approx(theirs, rel=1e-6)
    assert abs(smoothed["loss"] - theirs) > 1e-3


def test_sft_has_trls_loss_and_gradient(tmp_path: Path, models: tuple[Path, Path]) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    trainer = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(models[0], dtype=torch.float32),
        args=trl.SFTConfig(**common(tmp_path), completion_only_loss=True),
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
