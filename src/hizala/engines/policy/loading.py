"""Policies from model directories, and random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hizala.engines.policy import classify, native, weights
from hizala.engines.policy import heads as head_kinds
from hizala.engines.policy import lora as adapters
from hizala.engines.policy.arch import Arch, NotNative, parse, read_config
from hizala.engines.policy.attention import checked
from hizala.engines.policy.decoder import Decoder
from hizala.engines.policy.heads import Mute
from hizala.engines.policy.hf import HfPolicy, enable_checkpointing, load_module
from hizala.engines.policy.policy import DTYPES, Policy
from hizala.errors import ConfigError, ModelError, nearest


def load(
    ref: Path,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    lora: Mapping[str, Any] | None = None,
    checkpointing: bool = False,
    attention: str = "auto",
    sharing: bool = True,
    heads: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Policy:
    """A policy from a model directory.

    Args:
        ref: a Hugging Face directory, or one of adapters written by `Policy.save`.
        dtype: what is computed in: float32, bfloat16 (float32 masters, softmax and norm statistics) or float64.
        device: where.
        lora: rank, alpha, targets, dropout, merge: train adapters instead of the weights.
        checkpointing: recompute layers in the backward pass; slower, less memory.
        attention: auto, sdpa or flex.
        sharing: let responses share their prompt.
        heads: heads to add where the directory has none: score (of responses) or step (of marked steps), which make it
            a reward model, and value.
        labels: names of a fresh score head's outputs (attributes, members of an ensemble); one when not given.
    Raises:
        ModelError: the directory is missing, damaged or of an unsupported kind, or holds another reward head.
        ConfigError: a setting is unknown.
    """
    ref = Path(ref)
    checked(attention)
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype '{dtype}'{nearest(dtype, DTYPES)}", fix=f"known: {', '.join(DTYPES)}")
    if (ref / "adapter_config.json").is_file() and not (ref / "config.json").is_file():
        settings, base = adapters.read_settings(ref)
        if lora is not None:
            raise ConfigError("the directory holds adapters already", where=str(ref), fix="leave lora out")
        policy = load(
            base,
            dtype=dtype,
            device=device,
            lora=settings_of(settings),
            checkpointing=checkpointing,
            attention=attention,
            sharing=sharing,
            heads=heads,
            labels=labels,
        )
        trained = adapters.load_into(policy.module, ref)
        if trained is not None:
            _put(policy.module, trained)
        return policy
    config = read_config(ref)
    try:
        arch = parse(config, where=str(ref / "config.json"))
    except NotNative:
        foreign, stored = load_module(ref, config, dtype, device)
        hidden = foreign.config.get_text_config().hidden_size
        chosen = _complete(foreign, config, ref, lora, heads, labels, hidden, stored)
        if checkpointing:
            enable_checkpointing(foreign)
        return HfPolicy(foreign, config, dtype=dtype, source=ref, lora=chosen, sharing=sharing)
    module = _empty(arch, dtype, device)
    if classify.kind_of(config) is not None:
        module.set_submodule("lm_head", Mute())
    aliases = {"lm_head.weight": "model.embed_tokens.weight"} if arch.tied else {}
    stored = weights.load_into(module, ref, aliases=aliases, aside="score.")
    return _finish(module, config, ref, lora, heads, labels, stored, checkpointing, attention, sharing)


def random_init(
    config: Mapping[str, Any],
    seed: int,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    lora: Mapping[str, Any] | None = None,
    checkpointing: bool = False,
    attention: str = "auto",
    sharing: bool = True,
    heads: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Policy:
    """A policy with random weights, normal with the config's `initializer_range`; for tests and benchmarks."""
    module = _empty(parse(config), dtype, device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0 - module.arch.norm_offset)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                drawn = torch.randn(parameter.shape, generator=generator) * module.arch.initializer_range
                parameter.copy_(drawn)
    return _finish(module, config, None, lora, heads, labels, {}, checkpointing, attention, sharing)


def settings_of(lora: adapters.Lora) -> dict[str, Any]:
    """Adapter settings as the mapping a recipe holds."""
    return {name: getattr(lora, name) for name in ("rank", "alpha", "targets", "dropout", "merge")}


def _empty(arch: Arch, dtype: str, device: str | torch.device) -> Decoder:
    """A decoder whose weights are not initialised: building it costs no time."""
    with torch.device("meta"):
        module = Decoder(arch, DTYPES[dtype])
    held = torch.float64 if dtype == "float64" else torch.float32
    module.to(held).to_empty(device=device)
    if arch.tied:
        module.lm_head.weight = module.model.embed_tokens.weight
    return module


def _finish(
    module: Decoder,
    config: Mapping[str, Any],
    source: Path | None,
    lora: Mapping[str, Any] | None,
    heads: Sequence[str],
    labels: Sequence[str],
    stored: Mapping[str, Tensor],
    checkpointing: bool,
    attention: str,
    sharing: bool,
) -> Policy:
    settings = _complete(module, config, source, lora, heads, labels, module.arch.hidden, stored)
    module.checkpointing = checkpointing
    # In float32 too, for decoding and drawing; here, so that it does not depend on what was done before.
    if module.model.norm.weight.device.type == "cpu":
        native.enable()
    return Policy(module, config, source=source, lora=settings, attention=attention, sharing=sharing)


def _complete(
    module: Any,
    config: Mapping[str, Any],
    source: Path | None,
    lora: Mapping[str, Any] | None,
    heads: Sequence[str],
    labels: Sequence[str],
    hidden: int,
    stored: Mapping[str, Tensor],
) -> adapters.Lora | None:
    """Put adapters and heads into a loaded module: those the directory holds, then those asked for."""
    settings = None if lora is None else adapters.Lora.of(lora)
    if settings is not None:
        adapters.attach(module, settings)
    kind = classify.kind_of(config)
    if kind is not None:
        _put(module, classify.head_from(stored, config, kind, hidden, str(source)))
    elif stored:
        raise ModelError(f"the weights hold '{next(iter(stored))}', config.json names no classifier", where=str(source))
    if source is not None:
        for head in head_kinds.load_value(source, hidden):
            _put(module, head)
    for name in dict.fromkeys(heads):
        if name not in head_kinds.KINDS:
            known = ", ".join(head_kinds.KINDS)
            raise ConfigError(f"unknown head '{name}'{nearest(name, head_kinds.KINDS)}", fix=f"known: {known}")
        if name in module.heads:
            continue
        if name in head_kinds.REWARD:
            classify.class_of(config, name)
        _put(module, head_kinds.Head(hidden, name, tuple(labels) if name == "score" else ()))
    if labels and ("score" not in module.heads or module.heads["score"].labels != tuple(labels)):
        raise ModelError(
            f"the model's score head does not give {', '.join(labels)}",
            where=str(source),
            fix="start from a language model, or ask for what the head was made for",
        )
    return settings


def _put(module: Any, head: head_kinds.Head) -> None:
    """The head in the module, on its device and in its dtype; it takes the place of one of its kind."""
    other = next((kind for kind in head_kinds.REWARD if kind in module.heads and kind != head.kind), None)
    if head.kind in head_kinds.REWARD and other is not None:
        raise ModelError(
            f"the model has a {other} head already, and a reward model has one", fix="start from a language model"
        )
    like = next(module.parameters())
    module.heads[head.kind] = head.to(device=like.device, dtype=like.dtype)
