"""The loss code of installed peers, run on the values of a case: their own functions, fed with our log-probs.

TRL's trainers compute a loss in a method that asks the model for log-probs. Here that very method runs on a stand-in
for the trainer's settings and on a "model" that answers with the case's values, so no weights and no forward pass
stand between the two losses, and float64 stays float64.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from loss_cases import ATTRIBUTES, Case
from torch import Tensor

PROMPT_LOGP = -1.5  # what the "model" says of each prompt token after the first; only ORPO's NLL reads it
IDENTITY = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x, unwrap_model=lambda m: m
)


def padded(case: Case, role: str, order: list[tuple[int, int]]) -> Tensor:
    """(rows, longest) values of the responses (group, place) in that order, 0 behind the end."""
    rows = [case.roles[role][g][r] for g, r in order]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def chosen_first(case: Case) -> list[tuple[int, int]]:
    """All chosen responses, then all rejected ones, as TRL stacks them."""
    groups = range(len(case.groups))
    return [(g, 0) for g in groups] + [(g, 1) for g in groups]


class Speaker(torch.nn.Module):
    """Stands for a language model behind TRL's fused head: log-probs of one role, one row a response."""

    is_gradient_checkpointing = False

    def __init__(self, rows: Tensor, collision: Tensor | None = None, mismatched: Tensor | None = None) -> None:
        super().__init__()
        self.rows, self.collision, self.mismatched = rows, collision, mismatched

    def forward(self, *, input_ids: Tensor, **_: Any) -> Any:
        rows = self.mismatched if self.mismatched is not None and "KL" in _marks(input_ids) else self.rows
        nothing = torch.zeros_like(rows)
        return SimpleNamespace(
            log_probs=rows,
            log_sum_sq_probs=nothing if self.collision is None else self.collision,
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
        )


def _marks(ids: Tensor) -> str:
    return "KL" if int(ids[0, 0]) == 7 else ""


def _mask(case: Case, order: list[tuple[int, int]]) -> Tensor:
    """(rows, 1 + longest) 1 where a token counts; the first column is the prompt's last token."""
    lengths = [len(case.roles["policy"][g][r]) for g, r in order]
    mask = torch.zeros(len(order), 1 + max(lengths), dtype=torch.int64)
    for row, n in enumerate(lengths):
        mask[row, 1 : 1 + n] = 1
    return mask


def trl_dpo(case: Case, loss_type: str, *, beta: float, single: bool = False, **settings: Any) -> float:
    """`DPOTrainer._compute_loss` of TRL on a case of pairs; `single` runs it in float32."""
    from trl import DPOTrainer

    order, dtype = chosen_first(case), torch.float32 if single else torch.float64
    mask = _mask(case, order)
    policy = Speaker(padded(case, "policy", order).to(dtype), padded(case, "collision", order).to(dtype))
    trainer = SimpleNamespace(
        model=policy,
        ref_model=Speaker(padded(case, "reference", order).to(dtype)),
        accelerator=IDENTITY,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=settings.pop("discopop_tau", 0.05)),
        aux_loss_enabled=False,
        ld_alpha=settings.pop("ld_alpha", None),
        precompute_ref_logps=False,
        f_divergence_type=settings.pop("f_divergence_type", "reverse_kl"),
        f_alpha_divergence_coef=settings.pop("f_alpha_divergence_coef", 0.5),
        beta=beta,
        label_smoothing=settings.pop("label_smoothing", 0.0),
        loss_types=[loss_type],
        loss_weights=[1.0],
        use_weighting=settings.pop("use_weighting", False),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    assert not settings, f"unknown settings {settings}"
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}
    return float(DPOTrainer._compute_loss(trainer, policy, inputs, False))


def trl_kto(case: Case, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> float:
    """`KTOTrainer._compute_loss` of TRL; its KL completions are given the case's mean mismatched log-ratio."""
    from trl import KTOTrainer

    order = [(g, r) for g, group in enumerate(case.groups) for r in range(len(group.responses))]
    mask = _mask(case, order)
    strange = torch.full((len(order), 1), case.mismatch, dtype=torch.float64)
    policy = Speaker(padded(case, "policy", order), mismatched=strange)
    trainer = SimpleNamespace(
        model=policy,
        ref_model=Speaker(padded(case, "reference", order), mismatched=torch.zeros_like(strange)),
        accelerator=IDENTITY,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        calculate_KL=True,
        loss_type="kto",
        beta=beta,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer._compute_kl_logps = partial(KTOTrainer._compute_kl_logps, trainer)
    inputs = {
        "input_ids": torch.ones_like(mask),
        "attention_mask": torch.ones_like(mask),
        "completion_mask": mask,
        "KL_input_ids": torch.full((len(order), 2), 7),
        "KL_attention_mask": torch.ones(len(order), 2),
        "KL_completion_mask": torch.tensor([[0, 1]] * len(order)),
        "label": torch.tensor([bool(case.groups[g].responses[r].label) for g, r in order]),
    }
    return float(KTOTrainer._compute_loss(trainer, policy, inputs, False))


def _binary_logits(logps: Tensor) -> Tensor:
    """Logits over two tokens under which token 1 has these log-probs."""
    return torch.stack([torch.log(-torch.expm1(logps)), logps], dim=-1)


def _paired_batch(case: Case, prompt: int) -> tuple[dict[str, Tensor], Any]:
    """TRL's batch of pairs with `prompt` prompt tokens, and the model that answers with the policy's values."""
    batch = {}
    for side, place in (("chosen", 0), ("rejected", 1)):
        lengths = [len(case.roles["policy"][g][place]) for g in range(len(case.groups))]
        position = torch.arange(prompt + max(lengths))
        end = prompt + torch.tensor(lengths)[:, None]
        inside = position < end
        batch[f"{side}_input_ids"] = inside.long()
        batch[f"{side}_attention_mask"] = inside.long()
        batch[f"{side}_labels"] = torch.where(inside & (position >= prompt), 1, -100)
    rows = padded(case, "policy", chosen_first(case))
    rows = torch.where(rows == 0, -1.0, rows)  # behind a response's end: any number, no label reads it
    said = torch.full((len(rows), prompt - 1), PROMPT_LOGP, dtype=torch.float64)
    last = torch.full((len(rows), 1), -1.0, dtype=torch.float64)
    logits = _binary_logits(torch.cat([said, rows, last], dim=1))
    return batch, lambda *_, **__: SimpleNamespace(logits=logits)


def _pair_trainer(cls: Any, **settings: Any) -> Any:
    trainer = SimpleNamespace(
        accelerator=IDENTITY, is_encoder_decoder=False, pad_token_id=0, padding_value=0, aux_loss_enabled=False
    )
    trainer.__dict__.update(settings)
    trainer.concatenated_inputs = cls.concatenated_inputs
    trainer.get_batch_logps = cls.get_batch_logps
    trainer.concatenated_forward = partial(cls.concatenated_forward, trainer)
    return trainer


def trl_cpo(
    case: Case, loss_type: str, *, beta: float, cpo_alpha: float, simpo_gamma: float = 0.5, label_smoothing: float = 0.0
) -> float:
    """`CPOTrainer.get_batch_loss_metrics` of TRL: CPO and SimPO."""
    from trl.experimental.cpo import CPOTrainer

    trainer = _pair_trainer(
        CPOTrainer,
        loss_type=loss_type,
        beta=beta,
        cpo_alpha=cpo_alpha,
        simpo_gamma=simpo_gamma,
        label_smoothing=label_smoothing,
        alpha=0.0,
    )
    trainer.cpo_loss = partial(CPOTrainer.cpo_loss, trainer)
    batch, model = _paired_batch(case, prompt=1)
    return float(CPOTrainer.get_batch_loss_metrics(trainer, model, batch)[0])


def trl_orpo(case: Case, *, beta: float, prompt: int = 4) -> float:
    """`ORPOTrainer.get_batch_loss_metrics` of TRL on prompts of that many tokens; it works in float32."""
    from trl.experimental.orpo import ORPOTrainer

    trainer = _pair_trainer(ORPOTrainer, beta=beta)
    trainer.odds_ratio_loss = partial(ORPOTrainer.odds_ratio_loss, trainer)
    batch, model = _paired_batch(case, prompt)
    return float(ORPOTrainer.get_batch_loss_metrics(trainer, model, batch)[0])


def trl_odds_ratio(case: Case) -> float:
    """The odds-ratio term alone, weight 1: `ORPOTrainer.odds_ratio_loss`; it works in float32."""
    from trl.experimental.orpo import ORPOTrainer

    mean = [[t.mean() for t in group] for group in case.roles["policy"]]
    chosen, rejected = (torch.stack([group[side] for group in mean]) for side in (0, 1))
    stand_in = SimpleNamespace(beta=1.0, accelerator=IDENTITY)
    return -float(ORPOTrainer.odds_ratio_loss(stand_in, chosen, rejected)[0].mean())


def trl_reward(scores: Tensor, *, margins: Tensor | None = None, centre: float | None = None) -> float:
    """`RewardTrainer.compute_loss` of TRL on (P, 2) scores, chosen first."""
    from trl import RewardTrainer

    logits = scores.T.reshape(-1, 1)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=IDENTITY,
        args=SimpleNamespace(center_rewards_coefficient=centre),
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs: dict[str, Any] = {"attention_mask": torch.ones(len(logits), 1)}
    if margins is not None:
        inputs["margin"] = margins

    def model(**_: Any) -> Any:
        return SimpleNamespace(logits=logits)

    return float(RewardTrainer.compute_loss(trainer, model, inputs))


def transformers_regression(scores: Tensor, grades: Tensor) -> float:
    """The loss of transformers' `AutoModelForSequenceClassification` with problem type "regression"."""
    from transformers.loss.loss_utils import ForSequenceClassificationLoss

    outputs = scores.shape[1] if scores.ndim == 2 else 1
    return float(
        ForSequenceClassificationLoss(grades, scores, SimpleNamespace(num_labels=outputs, problem_type="regression"))
    )


def transformers_tokens(step_scores: Tensor, correct: Tensor) -> float:
    """The loss of transformers' `AutoModelForTokenClassification` with logits (0, z) and classes wrong, right."""
    from transformers.loss.loss_utils import ForTokenClassification

    logits = torch.stack([torch.zeros_like(step_scores), step_scores], dim=-1)
    return float(ForTokenClassification(logits[None], correct.long()[None], SimpleNamespace(num_labels=2)))


def transformers_causal(case: Case) -> float:
    """The loss of transformers' causal language models on all responses, prompts not labelled."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    order = [(g, r) for g, group in enumerate(case.groups) for r in range(len(group.responses))]
    mask = _mask(case, order)
    rows = padded(case, "policy", order)
    logits = _binary_logits(torch.where(rows == 0, -1.0, rows))
    logits = torch.cat([logits, logits[:, :1]], dim=1)
    return float(ForCausalLMLoss(logits, torch.where(mask == 1, 1, -100), vocab_size=2))


def choix_rankings(values: list[list[float]], ranks: list[list[int]]) -> float:
    """Mean -log Plackett-Luce likelihood of lists of items of their own: `choix.log_likelihood_rankings`."""
    import choix
    import numpy as np

    params, data = [], []
    for items, order in zip(values, ranks, strict=True):
        best_first = sorted(range(len(items)), key=order.__getitem__)
        data.append([len(params) + i for i in best_first])
        params.extend(items)
    return -float(choix.log_likelihood_rankings(data, np.array(params))) / len(data)


def known_attributes(case: Case) -> tuple[Tensor, Tensor]:
    """(R, A) scores and grades of a case in which every attribute is known."""
    branches = [b for g in case.groups for b in g.responses]
    grades = torch.tensor([[b.attributes[a] for a in ATTRIBUTES] for b in branches], dtype=torch.float64)
    return torch.stack([s for group in case.roles["scores"] for s in group]), grades
