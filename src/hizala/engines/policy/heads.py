"""Heads on the final hidden states: a score for each response or marked step, a value for each counted token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hizala.errors import ModelError

# score: each response, at its last token; step: each marked step, at its last token; value: each counted token.
KINDS = ("score", "step", "value")
# What a reward model has; its directory is a standard one, see `classify`.
REWARD = ("score", "step")
FILE = "heads.safetensors"
# Standard deviation of a fresh reward head's output on a state of unit root mean square.
_FRESH = 0.01


def member_labels(members: int) -> tuple[str, ...]:
    """Names of the outputs of an ensemble on one trunk; none for a single score."""
    return tuple(f"member_{i + 1}" for i in range(members)) if members > 1 else ()


def is_ensemble(labels: Sequence[str]) -> bool:
    """Whether a head's outputs are members of an ensemble, by their names."""
    return len(labels) > 1 and all(re.fullmatch(r"member_\d+", label) for label in labels)


class Head(nn.Module):
    """Numbers from a hidden state: W h + b, computed in float32 or better.

    A fresh value head is zero, so that it says nothing. A fresh reward head is drawn from torch's random numbers, a
    hundredth of a log-odds in size: from zero the model beneath would learn nothing in the first step.

    Members of an ensemble (labels `member_1`, `member_2`, …) each read a random half of the state and weigh the rest
    by 0. Heads that read all of it become one: the data say the same to each, and they agree to half a percent.

    Attributes:
        labels: names of the outputs; one for a step or a value.
        reads: (A, hidden) which part of the state each member reads; None where all read all.
    Source: Ho 1998, The random subspace method, IEEE TPAMI 20(8), sec. 2 (half of the features a member).
    """

    reads: Tensor | None

    def __init__(self, hidden: int, kind: str, labels: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.kind, self.labels = kind, labels or (kind,)
        shape = (len(self.labels), hidden) if kind in REWARD else (hidden,)
        drawn = torch.randn(shape) * (_FRESH / hidden**0.5) if kind in REWARD else torch.zeros(shape)
        reads = torch.rand(shape) < 0.5 if is_ensemble(self.labels) else None
        self.register_buffer("reads", reads, persistent=False)
        self.weight = nn.Parameter(drawn if reads is None else drawn * reads)
        # Sequence classifiers of transformers have no bias, and a comparison of scores has no use for one.
        self.bias = None if kind == "score" else nn.Parameter(torch.zeros(shape[:-1]))

    def forward(self, hidden: Tensor) -> Tensor:
        """(M,) numbers of (M, hidden) states; (M, A) where the head has A > 1 outputs."""
        wide = torch.promote_types(hidden.dtype, torch.float32)
        weight = self.weight if self.reads is None else self.weight * self.reads
        out = hidden.to(wide) @ weight.to(wide).movedim(-1, 0)
        if self.bias is not None:
            out = out + self.bias.to(wide)
        return out.squeeze(1) if out.ndim == 2 and out.shape[1] == 1 else out


class Mute(nn.Module):
    """Stands where a language model has its output layer: a reward model of others' making has none."""

    @property
    def weight(self) -> Tensor:
        """Raises ModelError: there are no logits."""
        raise ModelError(
            "the model is a reward model: it scores responses and has no language head",
            fix="use a language model where log-probs or samples are needed",
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Raises ModelError: there are no logits."""
        return self.weight


def save_value(heads: Mapping[str, nn.Module] | nn.ModuleDict, directory: Path) -> None:
    """Write the value head beside the model, where there is one; no standard directory has a place for it."""
    if "value" in heads:
        state = {f"value.{n}": t.detach().cpu().contiguous() for n, t in heads["value"].state_dict().items()}
        save_file(state, directory / FILE, metadata={"format": "pt"})


def load_value(directory: Path, hidden: int) -> Iterator[Head]:
    """The value head that stands beside a model, or nothing. Raises ModelError where it is damaged or does not fit."""
    path = directory / FILE
    if not path.is_file():
        return
    head = Head(hidden, "value")
    try:
        stored = load_file(path)
        head.to(stored["value.weight"].dtype).load_state_dict({n: stored[f"value.{n}"] for n in ("weight", "bias")})
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise ModelError(
            "the value head does not fit", where=str(path), fix="copy or download the model again"
        ) from error
    yield head
