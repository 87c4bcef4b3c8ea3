"""Weights of a model directory: read from safetensors, checked against the decoder, written back. Never pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hizala.errors import ModelError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# What travels with weights when a model is saved: everything small that is not weights.
COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
_SHARD_BYTES = 5 * 2**30
AGAIN = "copy or download the model again"


def files(directory: Path) -> list[Path]:
    """The safetensors files of a model directory, in order. Raises ModelError when there are none or some lack."""
    index = directory / INDEX
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if not index.is_file():
        pickled = any(directory.glob("*.bin")) or any(directory.glob("*.pt"))
        fix = "convert the weights with save_pretrained(safe_serialization=True)" if pickled else AGAIN
        what = "holds pickled weights only, which are never loaded" if pickled else "has no safetensors weights"
        raise ModelError(f"the model directory {what}", where=str(directory), fix=fix)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError("the index of the weights cannot be read", where=str(index), fix=AGAIN) from error
    lost = [n for n in names if Path(n).name != n or not (directory / n).is_file()]
    if lost:
        raise ModelError(f"{len(lost)} of {len(names)} weight files lack: {lost[0]}", where=str(directory), fix=AGAIN)
    return [directory / n for n in names]


def read(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Every stored tensor with its name. Raises ModelError for a damaged file."""
    for path in files(directory):
        try:
            with safe_open(path, framework="pt") as stored:
                for name in stored.keys():  # noqa: SIM118 - not a dict
                    yield name, stored.get_tensor(name)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"the weights are damaged: {error}", where=str(path), fix=AGAIN) from error


def load_into(
    module: torch.nn.Module, directory: Path, *, aliases: Mapping[str, str], aside: str | None = None
) -> dict[str, Tensor]:
    """Copy the stored weights into `module`.

    Args:
        aliases: stored name -> name of the parameter it is tied to.
        aside: prefix of stored tensors that are none of the module's and are returned.
    Returns:
        The tensors laid aside.
    Raises:
        ModelError: a tensor lacks, has another shape, is not known, or is not finite.
    """
    wanted = dict(module.named_parameters(remove_duplicate=True))
    missing = set(wanted)
    laid: dict[str, Tensor] = {}
    for name, tensor in read(directory):
        if aside is not None and name.startswith(aside):
            laid[name] = tensor
            continue
        target = wanted.get(aliases.get(name, name))
        if target is None:
            if name.endswith("rotary_emb.inv_freq"):
                continue
            raise ModelError(
                f"the weights hold '{name}', which this architecture has not", where=str(directory), fix=AGAIN
            )
        if target.shape != tensor.shape:
            was, should = tuple(tensor.shape), tuple(target.shape)
            raise ModelError(f"'{name}' is {was}, config.json asks for {should}", where=str(directory), fix=AGAIN)
        if not torch.isfinite(tensor).all():
            raise ModelError(f"'{name}' holds values that are not finite", where=str(directory), fix=AGAIN)
        with torch.no_grad():
            target.copy_(tensor)
        missing.discard(aliases.get(name, name))
    if missing:
        first = sorted(missing)[0]
        raise ModelError(f"{len(missing)} tensors lack, first '{first}'", where=str(directory), fix=AGAIN)
    return laid


def copy_companions(source: Path | None, directory: Path) -> None:
    """Copy tokenizer and template files of a model that is saved elsewhere; nothing there is overwritten."""
    if source is None or source.resolve() == directory.resolve():
        return
    for path in (p for pattern in COMPANIONS for p in source.glob(pattern)):
        if path.name not in ("config.json", INDEX, "adapter_config.json") and not (directory / path.name).exists():
            shutil.copyfile(path, directory / path.name)


def write(directory: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Path | None) -> None:
    """Write a Hugging Face directory: config.json, safetensors (sharded above 5 GiB), and `source`'s companions."""
    directory.mkdir(parents=True, exist_ok=True)
    copy_companions(source, directory)
    (directory / "config.json").write_text(
        json.dumps(dict(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if held and held + size > _SHARD_BYTES:
            shards.append({})
            held = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        held += size
    if len(shards) == 1:
        save_file(shards[0], directory / SINGLE, metadata={"format": "pt"})
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, directory / name, metadata={"format": "pt"})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    where = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
