"""Lets the C library keep the memory that a training step frees and takes again at once."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@cache
def keep_freed_memory() -> bool:
    """Ask the GNU C library not to hand large freed blocks back to the kernel; False where it is another library.

    Without this every activation of a step is mapped anew and faulted in page by page, a tenth of a small model's
    step. The process's peak memory stays what it was.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
