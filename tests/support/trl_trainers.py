"""Real TRL trainers on tiny models, and our engine on the same weights and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from resumable import CONFIG, VOCAB
from torch import Tensor
from toy_policy import gradient

from hizala.engines.policy import load
from hizala.engines.train import Engine, Objective, Settings, measure
from hizala.records import TokenBranch, TokenGroup

BETA = 0.3


def full(groups: Sequence[TokenGroup]) -> list[TokenGroup]:
    """Every response token counts and every response has two or more, as TRL's collators have it."""
    return [
        TokenGroup(g.prompt, tuple(TokenBranch([*r.ids, 3], [True] * (len(r.ids) + 1)) for r in g.responses), g.id)
        for g in groups
    ]


def write_models(make: Callable[[str], Path]) -> tuple[Path, Path]:
    """(policy, reference) directories written by transformers; `make` gives an empty directory of that name."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        path = make(f"model{seed}")
        Qwen3ForCausalLM(Qwen3Config(**shape(), pad_token_id=0, eos_token_id=3)).save_pretrained(path)
        paths.append(path)
    return paths[0], paths[1]


def shape() -> dict[str, Any]:
    """The tiny architecture's settings as transformers takes them."""
    return {k: v for k, v in CONFIG.items() if k not in ("architectures", "model_type")}


def tokenizer() -> Any:
    """Words t0, t1, …; t0 pads and t3 ends."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t0"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="t0", eos_token="t3")


def common(out: Path, size: int) -> dict[str, Any]:
    """Settings that every trainer is given."""
    return {
        "output_dir": str(out),
        "bf16": False,
        "use_cpu": True,
        "report_to": "none",
        "gradient_checkpointing": False,
        "max_length": None,
        "per_device_train_batch_size": size,
    }


def causal(path: Path) -> Any:
    """A model in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def dpo_trainer(out: Path, models: tuple[Path, Path], size: int, **changes: Any) -> Any:
    """TRL's DPOTrainer with the policy and the reference."""
    import trl
    from datasets import Dataset

    return trl.DPOTrainer(
        model=causal(models[0]),
        ref_model=causal(models[1]),
        args=trl.DPOConfig(**common(out, size), **({"beta": BETA} | changes)),
        train_dataset=Dataset.from_list([{"prompt": "t5", "chosen": "t6", "rejected": "t7"}]),
        processing_class=tokenizer(),
    )


def kto_trainer(out: Path, models: tuple[Path, Path], size: int, **changes: Any) -> Any:
    """TRL's KTOTrainer with the policy and the reference."""
    import trl
    from datasets import Dataset

    rows = [{"prompt": f"t{i}", "completion": "t6", "label": i % 2 == 0} for i in range(5, 9)]
    return trl.KTOTrainer(
        model=causal(models[0]),
        ref_model=causal(models[1]),
        args=trl.KTOConfig(**common(out, size), beta=BETA, **changes),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )


def pair_trainer(kind: str, out: Path, model: Path, size: int, **changes: Any) -> Any:
    """TRL's CPOTrainer or ORPOTrainer."""
    from datasets import Dataset

    if kind == "cpo":
        from trl.experimental.cpo import CPOConfig as Config
        from trl.experimental.cpo import CPOTrainer as Trainer
    else:
        from trl.experimental.orpo import ORPOConfig as Config
        from trl.experimental.orpo import ORPOTrainer as Trainer
    settings = common(out, size) | {"max_length": 64}
    return Trainer(
        model=causal(model),
        args=Config(**settings, **changes),
        train_dataset=Dataset.from_list([{"prompt": "t5", "chosen": "t6", "rejected": "t7"}]),
        processing_class=tokenizer(),
    )


def reward_trainer(out: Path, model: Path, size: int, **changes: Any) -> Any:
    """TRL's RewardTrainer on a sequence classifier."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification

    return trl.RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32),
        args=trl.RewardConfig(**common(out, size), **changes),
        train_dataset=Dataset.from_list([{"prompt": "t5", "chosen": "t6", "rejected": "t7"}]),
        processing_class=tokenizer(),
    )


def preference_batch(groups: Sequence[TokenGroup]) -> dict[str, Tensor]:
    """What TRL's own collator makes of the pairs."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = [
        {
            "prompt_ids": list(g.prompt),
            "chosen_ids": list(g.responses[0].ids),
            "rejected_ids": list(g.responses[1].ids),
        }
        for g in groups
    ]
    batch: dict[str, Tensor] = DataCollatorForPreference(pad_token_id=0)(rows)
    return batch


def thumb_batch(groups: Sequence[TokenGroup], mismatched: Sequence[TokenGroup]) -> dict[str, Tensor]:
    """What TRL's own collator makes of the thumbs and of their mismatched responses."""
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    rows = [
        {
            "prompt_ids": list(g.prompt),
            "completion_ids": list(g.responses[0].ids),
            "KL_completion_ids": list(other.responses[0].ids),
            "label": g.responses[0].label,
        }
        for g, other in zip(groups, mismatched, strict=True)
    ]
    batch: dict[str, Tensor] = DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    return batch


def sided_batch(groups: Sequence[TokenGroup]) -> dict[str, Tensor]:
    """Pairs as CPOTrainer and ORPOTrainer take them: prompt and response of each side, prompts not labelled."""
    batch = {}
    for place, side in enumerate(("chosen", "rejected")):
        rows = [[*g.prompt, *g.responses[place].ids] for g in groups]
        labels = [[-100] * len(g.prompt) + list(g.responses[place].ids) for g in groups]
        batch[f"{side}_input_ids"] = rectangle(rows, 0)
        batch[f"{side}_attention_mask"] = rectangle([[1] * len(row) for row in rows], 0)
        batch[f"{side}_labels"] = rectangle(labels, -100)
    return batch


def stacked_batch(groups: Sequence[TokenGroup]) -> dict[str, Tensor]:
    """Pairs as RewardTrainer takes them: all chosen rows, then all rejected ones."""
    rows = [[*g.prompt, *g.responses[place].ids] for place in (0, 1) for g in groups]
    return {"input_ids": rectangle(rows, 0), "attention_mask": rectangle([[1] * len(row) for row in rows], 0)}


def rectangle(rows: list[list[int]], fill: int) -> Tensor:
    """Rows filled up at the end."""
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def ours(
    models: tuple[Path, Path],
    groups: Sequence[TokenGroup],
    objective: Objective,
    *,
    budget: int = 60,
    mismatched: Sequence[TokenGroup] = (),
) -> tuple[Mapping[str, float], dict[str, Tensor]]:
    """Metrics of one step of our engine, and its gradient before the step."""
    policy = load(models[0])
    columns = {}
    if "reference" in objective.measures:
        every = [*groups, *mismatched]
        columns["reference"] = {g.id: m for g, m in zip(every, measure(load(models[1]), every, budget), strict=True)}
    engine = Engine(policy, Settings(learning_rate=1e-3, total_steps=1, token_budget=budget))
    engine.accumulate(groups, objective, columns, mismatched)
    gradients = gradient(policy.module)
    return engine.step(groups, objective, columns, mismatched).metrics, gradients


def assert_same_gradient(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 2e-6) -> None:
    """Every parameter's gradient, against the largest norm among them."""
    assert got.keys() == expected.keys()
    scale = max(float(g.norm()) for g in expected.values())
    for name, g in expected.items():
        assert float((got[name] - g).norm()) <= tolerance * scale, name
