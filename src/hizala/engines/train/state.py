"""Everything a run needs to continue to the same bits, as tensors and JSON."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hizala.engines.train.optim import trainable
from hizala.engines.train.tensorfile import Entry, place
from hizala.errors import CheckpointError

_TENSOR, _ARRAY, _TUPLE = "__tensor__", "__array__", "__tuple__"


def weights(module: nn.Module) -> list[Entry]:
    """Trained parameters and persistent buffers, by name; a tied one once."""
    saved = module.state_dict()
    buffers = [Entry(name, buffer) for name, buffer in module.named_buffers() if name in saved]
    return [*(Entry(name, parameter) for name, parameter in trainable(module).items()), *buffers]


def everything(module: nn.Module) -> list[Entry]:
    """All parameters, trained or not, by name; a tied one once."""
    return [Entry(name, parameter) for name, parameter in module.named_parameters()]


@torch.no_grad()
def restore_everything(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy what `everything` gave back in.

    Raises:
        CheckpointError: names or shapes differ; nothing was changed.
    """
    entries = everything(module)
    _check({e.name: tuple(e.tensor.shape) for e in entries}, tensors, where)
    for entry in entries:
        entry.tensor.copy_(tensors[entry.name])


def moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[Entry]:
    """The optimiser's tensors as `parameter:key`."""
    entries = []
    for name, parameter in trainable(module).items():
        entries += [Entry(f"{name}:{key}", value) for key, value in optimizer.state.get(parameter, {}).items()]
    return entries


def frozen_digest(module: nn.Module) -> str:
    """Digest of the parameters that do not train (the base of adapters); "" where all do."""
    total, any_frozen = hashlib.sha256(), False
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            any_frozen = True
            total.update(name.encode())
            total.update(Entry(name, parameter).content())
    return total.hexdigest() if any_frozen else ""


@torch.no_grad()
def restore_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy saved weights into a module.

    Raises:
        CheckpointError: names or shapes differ; nothing was changed.
    """
    entries = weights(module)
    _check({e.name: tuple(e.tensor.shape) for e in entries}, tensors, where)
    for entry in entries:
        entry.tensor.copy_(place(tensors[entry.name], entry.tensor))


def restore_moments(
    module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Put saved optimiser state in place of what there is."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition(":")
        by_name.setdefault(name, {})[kind] = tensor
    parameters = trainable(module)
    if unknown := sorted(by_name.keys() - parameters.keys()):
        raise CheckpointError(f"optimiser state of unknown parameter '{unknown[0]}'", where=where, fix=FOREIGN)
    optimizer.state.clear()
    for name, values in by_name.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {
            kind: place(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
            for kind, value in values.items()
        }


FOREIGN = "the checkpoint was made with another model or other adapters; start in another run directory"


def _check(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: str) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found == wanted:
        return
    odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    there, here = found.get(odd[0], "missing"), wanted.get(odd[0], "missing")
    raise CheckpointError(
        f"'{odd[0]}' is {there} in the checkpoint and {here} in the policy",
        where=where,
        fix=FOREIGN,
    )


def random_states() -> dict[str, Any]:
    """States of the generators of Python, NumPy and torch, as JSON."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": bytes(torch.get_rng_state().numpy()).hex(),
    }
    if torch.cuda.is_available():
        state["cuda"] = [bytes(s.numpy()).hex() for s in torch.cuda.get_rng_state_all()]
    return state


def restore_random_states(state: Mapping[str, Any]) -> None:
    """Set the generators to saved states."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_state_tensor(state["torch"]))
    if "cuda" in state and torch.cuda.is_available() and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([_state_tensor(s) for s in state["cuda"]])


def _state_tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def encode(value: Any, tensors: list[Entry]) -> Any:
    """A value of dicts, lists, tuples, numbers, text, arrays and tensors as JSON; its tensors go to the list.

    Raises:
        CheckpointError: a value of another kind.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: encode(inner, tensors) for key, inner in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [encode(inner, tensors) for inner in value]}
    if isinstance(value, list):
        return [encode(inner, tensors) for inner in value]
    if isinstance(value, np.generic):
        return encode(value.item(), tensors)
    if isinstance(value, np.ndarray | Tensor):
        kind, name = (_ARRAY if isinstance(value, np.ndarray) else _TENSOR), str(len(tensors))
        tensors.append(Entry(name, torch.as_tensor(value)))
        return {kind: name}
    raise CheckpointError(
        f"extra state holds a {type(value).__name__}", fix="use dicts with text keys, lists, numbers, text and arrays"
    )


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TUPLE}:
        return tuple(decode(inner, tensors) for inner in value[_TUPLE])
    if value.keys() == {_ARRAY}:
        return tensors[value[_ARRAY]].numpy()
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]]
    return {key: decode(inner, tensors) for key, inner in value.items()}
