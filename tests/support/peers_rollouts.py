"""The peers' own code of online RL, run on the values of a case."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import peers_source as source
import torch
from loss_cases import Case
from peers import padded
from torch import Tensor

ONE_PROCESS = SimpleNamespace(
    device=torch.device("cpu"),
    num_processes=1,
    sync_gradients=True,
    gather=lambda x: x,
    gather_for_metrics=lambda x: x,
    reduce=lambda x, reduction="sum": x,
)


def in_order(case: Case) -> list[tuple[int, int]]:
    """(group, place) of every response."""
    return [(g, r) for g, group in enumerate(case.groups) for r in range(len(group.responses))]


def rows(case: Case, role: str) -> Tensor:
    """(R, longest) values of a role, 0 behind the end."""
    return padded(case, role, in_order(case))


def mask(case: Case) -> Tensor:
    """(R, longest) 1 where a token was sampled."""
    lengths = [len(case.roles["policy"][g][r]) for g, r in in_order(case)]
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(torch.float64)


def trl_grpo(case: Case, loss_type: str = "grpo", *, policy: Tensor | None = None, **settings: Any) -> Tensor:
    """`GRPOTrainer._compute_loss` of TRL; `policy` replaces the padded log-probs, for gradients."""
    from trl import GRPOTrainer

    logps, counted = rows(case, "policy") if policy is None else policy, mask(case)
    inputs = {
        "prompt_ids": torch.zeros(len(logps), 1, dtype=torch.int64),
        "prompt_mask": torch.ones(len(logps), 1, dtype=torch.int64),
        "completion_ids": torch.zeros(logps.shape, dtype=torch.int64),
        "completion_mask": counted,
        "advantages": rows(case, "advantages"),
        "old_per_token_logps": rows(case, "old"),
        "ref_per_token_logps": rows(case, "reference"),
        "num_items_in_batch": counted.sum(),
    }
    arguments = SimpleNamespace(
        delta=settings.pop("delta", None),
        use_bias_correction_kl=settings.pop("use_bias_correction_kl", False),
        steps_per_generation=1,
    )
    entropy = settings.pop("entropy_coef", 0.0)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=arguments,
        accelerator=ONE_PROCESS,
        loss_type=loss_type,
        importance_sampling_level=settings.pop("level", "token"),
        epsilon_low=settings.pop("epsilon", 0.2),
        epsilon_high=settings.pop("epsilon_high", 0.2),
        beta=settings.pop("beta", 0.0),
        max_completion_length=settings.pop("length", 1),
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        current_gradient_accumulation_steps=1,
        aux_loss_enabled=False,
        use_adaptive_entropy=False,
        entropy_coef=entropy,
        _entropy_bonus_enabled=bool(entropy),
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *_, **__: (logps, rows(case, "entropy"), None),
    )
    if settings:
        raise TypeError(f"unknown settings {sorted(settings)}")
    loss: Tensor = GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss


def verl_policy(case: Case, kind: str = "vanilla", how: str = "token-mean", **settings: Any) -> Tensor:
    """verl's policy loss of that name."""
    verl = source.verl()
    columns = (rows(case, "old"), rows(case, "policy"), rows(case, "advantages"), mask(case))
    loss: Tensor = getattr(verl, f"compute_policy_loss_{kind}")(*columns, how, verl.Configured(**settings))[0]
    return loss


def verl_value(case: Case, clip: float) -> Tensor:
    """verl's value loss."""
    columns = (rows(case, "values"), rows(case, "returns"), rows(case, "old_values"), mask(case))
    loss: Tensor = source.verl().compute_value_loss(*columns, clip)[0]
    return loss


def verl_kl(case: Case, kind: str) -> Tensor:
    """verl's KL penalty, averaged over tokens."""
    verl = source.verl()
    found = verl.kl_penalty(rows(case, "policy"), rows(case, "reference"), kind)
    loss: Tensor = verl.agg_loss(found, mask(case), "token-mean")
    return loss


def openrlhf_policy(case: Case, *, token: bool = True, **settings: Any) -> Tensor:
    """OpenRLHF's policy loss."""
    loss = source.openrlhf().PolicyLoss(token_level_loss=token, **settings)
    found: Tensor = loss(rows(case, "policy"), rows(case, "old"), rows(case, "advantages"), mask(case))[0]
    return found


def openrlhf_value(case: Case, clip: float | None) -> Tensor:
    """OpenRLHF's value loss."""
    loss = source.openrlhf().ValueLoss(clip)
    found: Tensor = loss(rows(case, "values"), rows(case, "old_values"), rows(case, "returns"), mask(case))
    return found


def openrlhf_kl(case: Case, kind: str) -> Tensor:
    """OpenRLHF's KL estimate (float32), averaged over tokens."""
    found = source.openrlhf().compute_approx_kl(rows(case, "policy"), rows(case, "reference"), kl_estimator=kind)
    counted = mask(case)
    mean: Tensor = (found * counted).sum() / counted.sum()
    return mean
