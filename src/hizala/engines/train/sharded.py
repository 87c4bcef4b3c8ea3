"""Whether something is sharded over processes, asked without loading what shards: its import costs a second.

A tensor or module can be sharded only where the library that shards it has been imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor


def is_sharded_tensor(value: Any) -> TypeGuard[DTensor]:
    """Whether a tensor is divided over the processes."""
    library = sys.modules.get("torch.distributed.tensor")
    return library is not None and isinstance(value, library.DTensor)


def is_sharded_module(value: Any) -> TypeGuard[FSDPModule]:
    """Whether a module's parameters are divided over the processes."""
    library = sys.modules.get("torch.distributed.fsdp")
    return library is not None and isinstance(value, library.FSDPModule)
