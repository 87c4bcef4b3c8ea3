"""Write a safetensors file tensor by tensor: the digest is made on the way and no second copy is held."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hizala.engines.train.sharded import is_sharded_tensor

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(slots=True)
class Entry:
    """A tensor to be written. A sharded one is brought together only when its turn comes, by all processes at once."""

    name: str
    tensor: Tensor
    taken: bool = False

    @property
    def bytes(self) -> int:
        """Size of the whole tensor."""
        return self.tensor.numel() * self.tensor.element_size()

    def content(self) -> memoryview:
        """The whole tensor's bytes; a collective where it is sharded."""
        self.taken = True
        whole = self.tensor.detach()
        if is_sharded_tensor(whole):
            whole = whole.full_tensor()
        return whole.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data

    def attend(self) -> None:
        """Take part in bringing the tensor together, where that is due and has not been done."""
        if is_sharded_tensor(self.tensor) and not self.taken:
            self.content()


def header(entries: Sequence[Entry]) -> bytes:
    """The head of the file: length, then JSON padded to eight bytes."""
    table, position = {}, 0
    for entry in entries:
        shape = list(entry.tensor.shape)
        table[entry.name] = {
            "dtype": _NAMES[entry.tensor.dtype],
            "shape": shape,
            "data_offsets": [position, position + entry.bytes],
        }
        position += entry.bytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def write_file(path: Path, pieces: Sequence[Callable[[], bytes | memoryview]]) -> dict[str, str | int]:
    """Write pieces one after another, safe on disk at the return; their digest and size."""
    total = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            content = piece()
            file.write(content)
            total.update(content)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    return {"sha256": total.hexdigest(), "size": size}


def write_tensors(path: Path, entries: Sequence[Entry]) -> dict[str, str | int]:
    """Write a safetensors file; its digest and size."""
    return write_file(path, [lambda: header(entries), *(entry.content for entry in entries)])


def place(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor laid out as another one is: the same device, and this process's shard of it."""
    moved = whole.to(like.device)
    if is_sharded_tensor(like):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return moved


def digest_file(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
