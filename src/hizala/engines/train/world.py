"""The processes that train together: every one sees the same batch and takes its share of it."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hizala.engines.train.sharded import is_sharded_module
from hizala.errors import TrainError


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among those that train together.

    Attributes:
        rank: of this process, 0 is first.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> World:
        """The world of the initialised process group, or a world of one."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """This process writes."""
        return self.rank == 0

    def share(self, sizes: Sequence[int]) -> list[int]:
        """Indices of this process's part: largest first to the process with the least, then in order."""
        if self.size == 1:
            return list(range(len(sizes)))
        loads, mine = [0] * self.size, []
        for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
            rank = loads.index(min(loads))
            loads[rank] += sizes[index]
            if rank == self.rank:
                mine.append(index)
        return sorted(mine)

    def add(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def join(device: str = "cpu") -> World:
    """Join the processes that `torchrun` started; a world of one without it.

    Raises:
        TrainError: the process group cannot be formed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        try:
            dist.init_process_group(backend, timeout=timedelta(minutes=30))
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise TrainError(f"the processes cannot find each other: {reason}", fix="start with torchrun") from error
        atexit.register(_leave)
    return World.current()


def _leave() -> None:
    """Close the connections before the interpreter goes: threads that outlive it would abort the process."""
    if dist.is_initialized():
        dist.destroy_process_group()


def leave(code: int) -> NoReturn:
    """End one of several processes with an exit code, once all have come to their good end.

    The interpreter is not taken down: threads of the process group can outlive it and would abort the process.
    """
    if code == 0 and dist.is_initialized():
        dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def shard(module: nn.Module, world: World, device: str) -> None:
    """Shard parameters, gradients and optimiser state over the processes (FSDP2). A world of one is left as it is.

    Gradients are summed, not averaged: each process's loss already stands over the global denominator.
    """
    if world.size == 1 or is_sharded_module(module):
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if device.startswith("cuda") else "cpu", (world.size,))
    for block in _blocks(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for part in module.modules():
        if is_sharded_module(part):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a model: children of its outermost module lists."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """While open, every process holds the whole of a sharded module's parameters."""
    parts = [part for part in module.modules() if is_sharded_module(part)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
