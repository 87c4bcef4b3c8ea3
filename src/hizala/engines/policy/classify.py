"""Reward models as the directories other frameworks know: sequence classifiers, and token classifiers for steps.

A score head of A outputs is `*ForSequenceClassification` with A labels: `score.weight` (A, hidden), no bias, read at
the last token that is not padding. A step head is `*ForTokenClassification` with the labels wrong and right:
`score.weight` is [0; w] and `score.bias` [0; b], so that the softmax over the two is the sigmoid of w h + b.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hizala.engines.policy.heads import Head
from hizala.errors import ModelError

SEQUENCE, TOKEN = "ForSequenceClassification", "ForTokenClassification"
# Our own decoders' classes in transformers; None where there is no such class.
CLASSES: dict[str, tuple[str | None, str | None]] = {
    **{
        kind: (f"{name}{SEQUENCE}", f"{name}{TOKEN}")
        for kind, name in (("llama", "Llama"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3"), ("mistral", "Mistral"))
    },
    "gemma3_text": (f"Gemma3Text{SEQUENCE}", None),
}
STEP_LABELS = ("wrong", "right")
_AGAIN = "copy or download the model again"


def kind_of(config: Mapping[str, Any]) -> str | None:
    """The reward head a directory holds by its config: score, step, or None for a language model."""
    named = str((config.get("architectures") or [""])[0])
    return "score" if named.endswith(SEQUENCE) else "step" if named.endswith(TOKEN) else None


def outputs_of(config: Mapping[str, Any]) -> int:
    """How many labels a classifier has; transformers leaves them out of a config where there are two."""
    return len(config.get("id2label") or (0, 1))


def labels_of(config: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    """Names of a score head's outputs, from `id2label`."""
    names = config.get("id2label") or {}
    return tuple(str(names.get(str(i), names.get(i, f"LABEL_{i}"))) for i in range(outputs))


def class_of(config: Mapping[str, Any], kind: str) -> str:
    """The transformers class that holds such a head on this architecture.

    Raises:
        ModelError: transformers has none, so the reward model could not be saved as others load it.
    """
    model_type = str(config.get("model_type"))
    names = CLASSES[model_type] if model_type in CLASSES else _foreign_classes(model_type)
    name = names[0 if kind == "score" else 1]
    if name is None:
        what = SEQUENCE if kind == "score" else TOKEN
        able = ", ".join(other for other, (whole, steps) in CLASSES.items() if (whole if kind == "score" else steps))
        raise ModelError(
            f"transformers has no *{what} for model_type '{model_type}', so this reward model could not be saved",
            fix=f"start from one that has: {able}",
        )
    return name


def _foreign_classes(model_type: str) -> tuple[str | None, str | None]:
    from transformers.models.auto import modeling_auto as auto

    tables = (
        auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    )
    first, second = (table.get(model_type) for table in tables)
    return (None if first is None else str(first)), (None if second is None else str(second))


def tensors(head: Head) -> dict[str, Tensor]:
    """A reward head's tensors under their standard names."""
    weight = head.weight.detach()
    if head.bias is None:
        return {"score.weight": weight}
    bias = head.bias.detach()
    return {
        "score.weight": torch.cat((torch.zeros_like(weight), weight)),
        "score.bias": torch.cat((torch.zeros_like(bias), bias)),
    }


def head_from(stored: Mapping[str, Tensor], config: Mapping[str, Any], kind: str, hidden: int, where: str) -> Head:
    """The reward head of a directory's own `score.*` tensors.

    A token classifier of two labels becomes one output, the log-odds of the second: the difference of its rows.

    Raises:
        ModelError: the tensors lack, have another shape, or are not those of a reward model.
    """
    weight, bias = stored.get("score.weight"), stored.get("score.bias")
    if weight is None or weight.ndim != 2 or weight.shape[1] != hidden or not torch.isfinite(weight).all():
        found = "lacks" if weight is None else f"is {tuple(weight.shape)}"
        raise ModelError(f"'score.weight' {found}, it should be (labels, {hidden})", where=where, fix=_AGAIN)
    if kind == "score":
        if bias is not None:
            raise ModelError("the weights hold 'score.bias', which a sequence classifier has not", where=where)
        head = Head(hidden, kind, labels_of(config, len(weight)))
    else:
        if len(weight) != 2:
            raise ModelError(f"a model of steps has the labels wrong and right, this one {len(weight)}", where=where)
        weight = weight[1:] - weight[:1]
        bias = torch.zeros(1) if bias is None else bias[1:] - bias[:1]
        head = Head(hidden, kind)
    head.to(weight.dtype)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.reads is not None:
            # What a member does not read it weighs by exactly 0.
            head.reads.copy_(weight != 0)
        if head.bias is not None and bias is not None:
            head.bias.copy_(bias)
    return head


def described(config: Mapping[str, Any], head: Head, source: Path | None) -> dict[str, Any]:
    """`config.json` of the reward model that a language model with this head is."""
    labels = head.labels if head.kind == "score" else STEP_LABELS
    out = {
        **config,
        "architectures": [class_of(config, head.kind)],
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "pad_token_id": padding(config, source),
    }
    if head.kind == "score":
        # Scores are real numbers: pipelines then hand them on as they are.
        out["problem_type"] = "regression"
    return out


def padding(config: Mapping[str, Any], source: Path | None) -> int | None:
    """A padding token that no response can end with: classifiers score the last token that is not padding.

    Where the model's own is also an end token, another special token takes its place; None where there is none
    (batches of one then).
    """
    own, ends, added = config.get("pad_token_id"), _ends(config, source), _special(source)
    if own is not None and own not in ends:
        return int(own)
    free = {token: text for token, text in added.items() if token not in ends and token < int(config["vocab_size"])}
    named = [token for token, text in free.items() if "pad" in text.lower()]
    begins = [token for token in free if token == config.get("bos_token_id")]
    return next(iter((*named, *begins, *free)), None)


def settle_tokenizer(directory: Path, pad: int | None) -> None:
    """Let the saved tokenizer pad as the classifier expects: with its padding token, on the right."""
    path = directory / "tokenizer_config.json"
    if not path.is_file():
        return
    document = _json(path)
    text = _special(directory).get(pad) if pad is not None else None
    document |= {"padding_side": "right"} | ({"pad_token": text} if text is not None else {})
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _ends(config: Mapping[str, Any], source: Path | None) -> set[int]:
    """Every token that a response may end with."""
    ends: set[int] = set()
    generation = _json(source / "generation_config.json") if source else {}
    for value in (config.get("eos_token_id"), generation.get("eos_token_id")):
        ends |= {int(i) for i in (value if isinstance(value, list) else [value]) if i is not None}
    named = _json(source / "tokenizer_config.json").get("eos_token") if source else None
    named = named.get("content") if isinstance(named, dict) else named
    return ends | {token for token, text in _special(source).items() if text == named}


def _special(directory: Path | None) -> dict[int, str]:
    """Special tokens of a tokenizer, id to text."""
    added = _json(directory / "tokenizer.json").get("added_tokens") if directory else None
    return {int(t["id"]): str(t["content"]) for t in added or () if t.get("special")}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path), fix=_AGAIN) from error
    return document if isinstance(document, dict) else {}
