"""Low-rank adapters through `peft`, put into the decoder's linear layers.

Source: Hu et al. 2021, arXiv:2106.09685, eq. 3: W x + (alpha / rank) B A x.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hizala.engines.policy import classify
from hizala.engines.policy.heads import Head
from hizala.errors import ConfigError, ModelError, nearest

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_PREFIX = "base_model.model."
_FILE, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Lora:
    """Settings of the adapters.

    Attributes:
        rank: >= 1, columns of A and B.
        alpha: > 0; the adapter's output is multiplied by alpha / rank.
        targets: linear layers that get one.
        dropout: probability, [0, 1), with which an adapter's input is dropped in training.
        merge: when the policy is saved, True adds the adapters into the weights, False writes them alone.
    """

    rank: int = 16
    alpha: float = 32.0
    targets: tuple[str, ...] = TARGETS
    dropout: float = 0.0
    merge: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Lora:
        """Settings from a recipe's mapping. Raises ConfigError for an unknown key or a value out of bounds."""
        known = ("rank", "alpha", "targets", "dropout", "merge")
        for key in settings:
            if key not in known:
                raise ConfigError(f"unknown key 'lora.{key}'{nearest(key, known)}", fix=f"known: {', '.join(known)}")
        lora = cls(**{**settings, "targets": tuple(settings.get("targets", TARGETS))})
        if lora.rank < 1 or lora.alpha <= 0 or not 0 <= lora.dropout < 1 or not lora.targets:
            raise ConfigError("lora needs rank >= 1, alpha > 0, 0 <= dropout < 1 and at least one target", where="lora")
        for target in lora.targets:
            if target not in TARGETS:
                fix = f"known: {', '.join(TARGETS)}"
                raise ConfigError(f"unknown lora target '{target}'{nearest(target, TARGETS)}", where="lora", fix=fix)
        return lora


def attach(module: nn.Module, lora: Lora) -> None:
    """Put adapters into `module`, in place; only they stay trainable."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("adapters need the peft package", fix="pip install 'hizala[lora]'") from error
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), lora_dropout=lora.dropout, bias="none"
    )
    try:
        inject_adapter_in_model(config, module)
    except ValueError as error:
        fix = "name linear layers this architecture has"
        raise ConfigError(f"no layer is called any of {', '.join(lora.targets)}", where="lora", fix=fix) from error
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("lora_" in name)


def layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The adapted linear layers with their names."""
    for name, child in module.named_modules():
        if hasattr(child, "lora_A") and hasattr(child, "base_layer"):
            yield name, child


@contextmanager
def switched_off(module: nn.Module) -> Iterator[None]:
    """While open, the adapters add nothing."""
    found = [child for _, child in layers(module)]
    before = [child._disable_adapters for child in found]
    # The flag itself, not peft's enable_adapters: that one also changes which parameters are trainable.
    try:
        for child in found:
            child._disable_adapters = True
        yield
    finally:
        for child, was in zip(found, before, strict=True):
            child._disable_adapters = was


def merged(module: nn.Module) -> dict[str, Tensor]:
    """The parameters under their plain names, adapters added into the weights."""
    deltas = {f"{name}.weight": child.get_delta_weight("default") for name, child in layers(module)}
    out = {}
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        out[plain] = (parameter + deltas[plain].to(parameter.dtype)).detach() if plain in deltas else parameter.detach()
    return out


def save(module: nn.Module, lora: Lora, base: Path | None, path: Path, head: Head | None = None) -> None:
    """Write the adapters alone, as peft reads them; a reward head stands beside them as a module that was trained."""
    path.mkdir(parents=True, exist_ok=True)
    tensors = {
        _PREFIX + name.replace(".default.", "."): parameter.detach().cpu().contiguous()
        for name, parameter in module.named_parameters()
        if "lora_" in name
    }
    told = {"format": "pt"}
    if head is not None:
        tensors |= {_PREFIX + n: t.cpu().contiguous() for n, t in classify.tensors(head).items()}
        told |= {"head": head.kind, "labels": json.dumps(head.labels)}
    save_file(tensors, path / _FILE, metadata=told)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if head is None else {"score": "SEQ_CLS", "step": "TOKEN_CLS"}[head.kind],
        "modules_to_save": None if head is None else ["score"],
        "base_model_name_or_path": str(base) if base else None,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": list(lora.targets),
        "bias": "none",
        "inference_mode": True,
    }
    (path / _CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_settings(path: Path) -> tuple[Lora, Path]:
    """Settings and base model of a saved adapter directory. Raises ModelError when they cannot be used."""
    where = str(path / _CONFIG)
    try:
        config = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
        settings = Lora(int(config["r"]), float(config["lora_alpha"]), tuple(config["target_modules"]), merge=False)
        base = Path(config["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the adapter's settings cannot be read: {error}", where=where) from error
    if set(settings.targets) - set(TARGETS) or config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise ModelError("only plain LoRA on the projections is supported", where=where, fix="merge it with peft")
    return settings, base


def head_told(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Kind and labels of the reward head that stands beside saved adapters, or None. Raises ModelError when damaged."""
    try:
        with safe_open(path / _FILE, framework="pt") as file:
            told = file.metadata() or {}
    except Exception as error:
        raise ModelError(f"the adapter's weights cannot be read: {error}", where=str(path)) from error
    return (told["head"], tuple(json.loads(told.get("labels", "[]")))) if "head" in told else None


def load_into(module: nn.Module, path: Path) -> Head | None:
    """Copy saved adapters into a module that has adapters; the reward head that stands beside them, if any.

    Raises:
        ModelError: the file cannot be read, or names or shapes differ.
    """
    try:
        stored = load_file(path / _FILE)
        with safe_open(path / _FILE, framework="pt") as file:
            told = file.metadata() or {}
    except Exception as error:
        raise ModelError(f"the adapter's weights cannot be read: {error}", where=str(path)) from error
    scoring = {n.removeprefix(_PREFIX): stored.pop(n) for n in list(stored) if n.startswith(_PREFIX + "score.")}
    wanted = {_PREFIX + n.replace(".default.", "."): p for n, p in module.named_parameters() if "lora_" in n}
    if set(stored) != set(wanted) or any(stored[n].shape != wanted[n].shape for n in wanted):
        raise ModelError("the adapter does not fit the model", where=str(path), fix="give the model it was trained on")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(stored[name])
    if not scoring:
        return None
    names = json.loads(told.get("labels", "[]"))
    kind = told.get("head", "step" if "score.bias" in scoring else "score")
    hidden = int(scoring["score.weight"].shape[-1])
    return classify.head_from(scoring, {"id2label": dict(enumerate(names))}, kind, hidden, str(path))
