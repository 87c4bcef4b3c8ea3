"""Policies from model directories, and random ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from hizala.engines.policy import heads as head_kinds
from hizala.engines.policy import lora as adapters
from hizala.engines.policy import native, weights
from hizala.engines.policy.arch import Arch, NotNative, parse, read_config
from hizala.engines.policy.attention import checked
from hizala.engines.policy.decoder import Decoder
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
        heads: heads to add where the directory has none: score, value.
    Raises:
        ModelError: the directory is missing, damaged or of an unsupported kind.
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
        )
        adapters.load_into(policy.module, ref)
        return policy
    config = read_config(ref)
    try:
        arch = parse(config, where=str(ref / "config.json"))
    except NotNative:
        foreign = load_module(ref, config, dtype, device)
        chosen = _complete(foreign, ref, lora, heads, foreign.config.get_text_config().hidden_size)
        if checkpointing:
            enable_checkpointing(foreign)
        return HfPolicy(foreign, config, dtype=dtype, source=ref, lora=chosen, sharing=sharing)
    module = _empty(arch, dtype, device)
    weights.load_into(module, ref, aliases={"lm_head.weight": "model.embed_tokens.weight"} if arch.tied else {})
    return _finish(module, config, ref, lora, heads, checkpointing, attention, sharing)


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
    return _finish(module, config, None, lora, heads, checkpointing, attention, sharing)


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
    checkpointing: bool,
    attention: str,
    sharing: bool,
) -> Policy:
    settings = _complete(module, source, lora, heads, module.arch.hidden)
    module.checkpointing = checkpointing
    if module.dtype == torch.bfloat16 and torch.device(module.model.norm.weight.device).type == "cpu":
        native.enable()
    return Policy(module, config, source=source, lora=settings, attention=attention, sharing=sharing)


def _complete(
    module: Any, source: Path | None, lora: Mapping[str, Any] | None, heads: Sequence[str], hidden: int
) -> adapters.Lora | None:
    """Put adapters and heads into a loaded module."""
    settings = None if lora is None else adapters.Lora.of(lora)
    if settings is not None:
        adapters.attach(module, settings)
    stored = load_file(source / head_kinds.FILE) if source and (source / head_kinds.FILE).is_file() else {}
    like = next(module.parameters())
    for kind in dict.fromkeys([*(name.split(".")[0] for name in stored), *heads]):
        if kind not in head_kinds.KINDS:
            raise ConfigError(f"unknown head '{kind}'{nearest(kind, head_kinds.KINDS)}", fix="known: score, value")
        head = head_kinds.Head(hidden).to(device=like.device, dtype=like.dtype)
        if f"{kind}.weight" in stored:
            try:
                head.load_state_dict({n: stored[f"{kind}.{n}"] for n in ("weight", "bias")})
            except (KeyError, RuntimeError) as error:
                raise ModelError(f"the {kind} head does not fit", where=str(source), fix=weights.AGAIN) from error
        module.heads[kind] = head
    return settings
