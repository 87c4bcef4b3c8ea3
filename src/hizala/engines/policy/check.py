"""Whether a model directory can be loaded, seen from its config and the headers of its weights alone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from hizala.engines.policy import classify, weights
from hizala.engines.policy import lora as adapters
from hizala.engines.policy.arch import NotNative, parse, read_config
from hizala.engines.policy.decoder import Decoder
from hizala.errors import ModelError


def check_directory(ref: Path) -> None:
    """Refuse a model directory that `load` would refuse, without reading its tensors.

    Args:
        ref: a model directory, or one of adapters (whose base is found when it is loaded).
    Raises:
        ModelError: config or weights are missing or damaged, or names and shapes do not fit the config; for an
            architecture that is not our own, transformers does not know it either.
    """
    if (ref / "adapter_config.json").is_file() and not (ref / "config.json").is_file():
        return
    config = read_config(ref)
    try:
        arch = parse(config, where=str(ref / "config.json"))
    except NotNative:
        _check_foreign(ref)
        return
    with torch.device("meta"):
        wanted = {name: tuple(p.shape) for name, p in Decoder(arch).named_parameters()}
    kind = classify.kind_of(config)
    if kind is not None:
        wanted.pop("lm_head.weight", None)
        wanted["score.weight"] = (2 if kind == "step" else classify.outputs_of(config), arch.hidden)
    stored: dict[str, tuple[int, ...]] = {}
    for path in weights.files(ref):
        try:
            with safe_open(path, framework="pt") as file:
                stored |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"the weights are damaged: {error}", where=str(path), fix=weights.AGAIN) from error
    for name, shape in wanted.items():
        if name not in stored:
            raise ModelError(f"the weights lack '{name}'", where=str(ref), fix=weights.AGAIN)
        if stored[name] != shape:
            found = stored[name]
            raise ModelError(f"'{name}' is {found}, config.json asks for {shape}", where=str(ref), fix=weights.AGAIN)


def reward_head(ref: Path) -> tuple[str, tuple[str, ...]] | None:
    """The reward head of a model directory without reading its tensors: (score or step, labels); None without one.

    Raises:
        ModelError: config or adapters are missing or damaged.
    """
    if (ref / "adapter_config.json").is_file() and not (ref / "config.json").is_file():
        return adapters.head_told(ref) or reward_head(adapters.read_settings(ref)[1])
    config = read_config(ref)
    kind = classify.kind_of(config)
    if kind is None:
        return None
    return kind, classify.labels_of(config, classify.outputs_of(config)) if kind == "score" else ("step",)


def _check_foreign(ref: Path) -> None:
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(ref, local_files_only=True)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise ModelError(f"transformers cannot read this model: {reason}", where=str(ref / "config.json")) from error
    weights.files(ref)
