"""What runs inside vLLM's worker: take new weights, make every layer use them, and say what is really in use.

vLLM's CPU build packs each matrix for its kernels and drops the original. After a reload it packs again what a file
named, but an output layer tied to the embedding is in no file: it would keep the old weights without a word.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from hizala.engines.rollout.vllm.digest import digest

# Columns of a matrix that are read back; a matrix of no more than twice as many is read back whole.
COLUMNS = 64


class Extension:
    """Methods added to vLLM's worker by `worker_extension_cls`; called by name through `collective_rpc`."""

    model_runner: Any

    def hizala_load(self, source: Mapping[str, Tensor] | str, version: int) -> dict[str, Any]:
        """Take the weights of `source` and call them `version`.

        Args:
            source: name -> tensor, or a directory of safetensors files.
            version: names the weights from now on.
        Returns:
            version; digest: of what was received; stale: parts that do not compute with what was received;
            compared: parts that were looked at; unknown: parts that could not be.
        """
        tensors = dict(read(Path(source)) if isinstance(source, str) else source)
        model = self.model_runner.get_model()
        self.model_runner.reload_weights(weights_iterator=iter(tensors.items()))
        repack_vocabulary(model)
        return {"version": version, "digest": digest(tensors), **in_use(model, tensors, seed=version)}

    def hizala_follow(self) -> list[int]:
        """End with the process that started this one, the server's; its id. Never called where that is a trainer.

        By looking: the kernel's signal at a parent's death comes when the thread that started the child ends, and a
        server's threads come and go.
        """
        parent = os.getppid()

        def follow() -> None:
            while os.getppid() == parent:
                time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=follow, daemon=True).start()
        return [parent]


def read(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the safetensors files in a directory."""
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a dict
                yield name, stored.get_tensor(name)


def repack_vocabulary(model: nn.Module) -> None:
    """Pack embedding and output layer again; a tied output layer is packed by no reload."""
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and getattr(module, "quant_method", None) is not None:
            module.quant_method.process_weights_after_loading(module)


def in_use(model: nn.Module, tensors: Mapping[str, Tensor], seed: int = 0) -> dict[str, Any]:
    """Compare what each layer computes with to what it was given, bit for bit.

    The original of a packed matrix is gone, but W e_j is its column j, exactly: one product of 1 and sums of zeros.

    Args:
        model: vLLM's model.
        tensors: what it was given, under the names of a Hugging Face directory.
        seed: chooses the columns of matrices too wide to be read back whole.
    Returns:
        stale: names of parts that differ; compared: how many were looked at; unknown: names without a counterpart.
    """
    stale, unknown, compared = [], [], 0
    packed: Mapping[str, Sequence[str]] = getattr(model, "packed_modules_mapping", {})
    seen: set[str] = set()
    for name, module in _matrices(model):
        stem, _, leaf = name.rpartition(".")
        parts = [f"{stem}.{part}.weight" if stem else f"{part}.weight" for part in packed.get(leaf, (leaf,))]
        if leaf == "lm_head" and parts[0] not in tensors:
            parts = ["model.embed_tokens.weight"]
        seen.update((f"{name}.weight", *parts))
        if any(part not in tensors for part in parts):
            unknown.append(name)
            continue
        compared += 1
        if not _same(module, torch.cat([tensors[part] for part in parts]), seed):
            stale.append(name)
    for name, parameter in model.named_parameters():
        given = tensors.get(name)
        if given is None or parameter.numel() == 0:
            if name not in seen and not _inside(name, packed, tensors):
                unknown.append(name)
            continue
        if name in seen and not name.endswith("embed_tokens.weight"):
            continue
        compared += 1
        if not torch.equal(parameter[: len(given)].cpu(), given.to(parameter.dtype).cpu()):
            stale.append(name)
    return {"stale": stale, "compared": compared, "unknown": unknown}


def _matrices(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The linear layers and the output layer, with their names."""
    from vllm.model_executor.layers.linear import LinearBase
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for name, module in model.named_modules():
        if isinstance(module, LinearBase | ParallelLMHead):
            yield name, module


def _inside(name: str, packed: Mapping[str, Sequence[str]], tensors: Mapping[str, Tensor]) -> bool:
    """Whether a parameter (a bias, say) is several of the given ones in a row."""
    stem, _, kind = name.rpartition(".")
    stem, _, leaf = stem.rpartition(".")
    return all(f"{stem}.{part}.{kind}" in tensors for part in packed.get(leaf, (leaf,)))


def _same(module: Any, given: Tensor, seed: int) -> bool:
    """Whether a layer's matrix is `given` (out, in), at all columns or at `COLUMNS` of them."""
    width = given.shape[1]
    if width <= 2 * COLUMNS:
        picked = torch.arange(width)
    else:
        picked = torch.randperm(width, generator=torch.Generator().manual_seed(seed))[:COLUMNS]
    like = next((p for p in module.parameters() if p.numel()), given)
    probes = torch.zeros(len(picked), width, dtype=given.dtype, device=like.device)
    probes[torch.arange(len(picked)), picked] = 1
    with torch.inference_mode():
        columns = module.quant_method.apply(module, probes, None)[:, : given.shape[0]]
    return torch.equal(columns.cpu(), given[:, picked].T.cpu())
