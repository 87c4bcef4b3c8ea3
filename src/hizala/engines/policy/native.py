"""Builds the compiled twins of the elementwise passes with the machine's C compiler, once, and checks them.

The library is kept in the user's cache directory, keyed by its source, the compiler and the processor. Without a
compiler, or where a check fails, PyTorch does the same work, slower. `HIZALA_KERNELS=0` switches the kernels off.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from hizala.core.ops import kernels

# No flag here lets the compiler assume that values are finite.
FLAGS = [
    *("-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp-simd", "-ffp-contract=fast", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"),
]


@cache
def enable() -> str:
    """Build, check and install the kernels; "" when they are in use, else why they are not."""
    if os.environ.get("HIZALA_KERNELS", "1") == "0":
        return "switched off by HIZALA_KERNELS=0"
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or platform.machine() not in ("x86_64", "AMD64"):
        return "no C compiler for this processor"
    try:
        built = _Native(ctypes.CDLL(str(_build(compiler))))
    except (OSError, subprocess.SubprocessError) as error:
        return f"the kernels could not be built: {type(error).__name__}"
    if not _agree(built):
        return "the kernels that were built compute something else"
    kernels.install(built)
    return ""


def _build(compiler: str) -> Path:
    source = resources.files("hizala.core.ops").joinpath("kernels.c").read_bytes()
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=30).stdout
    key = hashlib.sha256(b"\0".join((source, version, " ".join(FLAGS).encode(), _processor()))).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hizala"
    target = folder / f"kernels-{key}.so"
    if target.is_file() and target.stat().st_uid == os.getuid():
        return target
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        text, made = Path(scratch, "kernels.c"), Path(scratch, "kernels.so")
        text.write_bytes(source)
        command = [compiler, *FLAGS, "-o", str(made), str(text), "-lm"]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        # Atomic: another process never sees half a library.
        os.replace(made, target)
    return target


def _processor() -> bytes:
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(sorted({line for line in lines if line.startswith((b"model name", b"flags"))}))


class _Native:
    """The library behind `kernels.Kernels`. Tensors are made contiguous where the C code needs it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._lib = library

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        out, rstd = torch.empty_like(x), torch.empty(x.shape[0])
        self._call("rms_norm", x, weight, out, rstd, *x.shape, eps)
        return out, rstd

    def rms_norm_backward(self, x: Tensor, weight: Tensor, rstd: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        d_x, d_weight, grad = torch.empty_like(x), torch.zeros(x.shape[1]), grad.contiguous()
        row = self._row(x.shape[1])
        self._call("rms_norm_backward", x, weight, rstd, grad, d_x, d_weight, row, *x.shape)
        return d_x, d_weight

    def turn_heads(
        self, x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        out, rstd = torch.empty(x.shape, dtype=x.dtype), torch.empty(x.shape[:2])
        self._call("turn_heads", x, x.stride(0), weight, cos, sin, out, rstd, *x.shape, eps)
        return out, rstd

    def turn_heads_backward(
        self, x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, rstd: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor]:
        d_x, d_weight, grad = torch.empty(x.shape, dtype=x.dtype), torch.zeros(x.shape[2]), grad.contiguous()
        row = self._row(x.shape[2])
        head = (x, x.stride(0), weight, cos, sin, rstd)
        self._call("turn_heads_backward", *head, grad, d_x, d_weight, row, *x.shape)
        return d_x, d_weight

    def silu_gated(self, gate: Tensor, value: Tensor) -> Tensor:
        out = torch.empty(gate.shape, dtype=gate.dtype)
        self._call("silu_gated", gate, value, gate.stride(0), out, *gate.shape)
        return out

    def silu_gated_backward(self, gate: Tensor, value: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        d_gate, d_value = (torch.empty(gate.shape, dtype=gate.dtype) for _ in range(2))
        grad, d = grad.contiguous(), gate.shape[1]
        self._call("silu_gated_backward", gate, value, gate.stride(0), grad, d_gate, d_value, d, *gate.shape)
        return d_gate, d_value

    def softmax_(self, scores: Tensor, bias: Tensor, scale: float) -> Tensor:
        d = scores.shape[-1]
        self._call("softmax", scores, bias, self._row(d), scores.numel() // d, bias.shape[0], d, scale)
        return scores

    def softmax_backward_(self, grad: Tensor, weights: Tensor, scale: float) -> Tensor:
        d = grad.shape[-1]
        self._call("softmax_backward", grad, weights, grad.numel() // d, d, scale)
        return grad

    def log_sum_exp(self, logits: Tensor, *, softmax: bool) -> tuple[Tensor, Tensor | None]:
        lse, out = torch.empty(logits.shape[0]), torch.empty_like(logits) if softmax else None
        self._call("log_sum_exp", logits, lse, out, self._row(logits.shape[1]), *logits.shape)
        return lse, out

    def _row(self, d: int) -> Tensor:
        # A fresh buffer a call: two threads may be in here at once, ctypes lets go of the interpreter's lock.
        return torch.empty(d)

    def _call(self, name: str, *values: Tensor | float | None) -> None:
        getattr(self._lib, name)(*(_argument(v) for v in values))


def _argument(value: Tensor | float | None) -> ctypes.c_void_p | ctypes.c_long | ctypes.c_float:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if value is None:
        return ctypes.c_void_p(None)
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_long(value)


def _agree(built: _Native) -> bool:
    """Whether the library gives what PyTorch gives on a small case."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 37, generator=generator).bfloat16() * 4
    weight, bias = torch.rand(37, generator=generator), torch.zeros(5, 37, dtype=torch.bfloat16)
    bias[:, 20:] = -torch.inf
    wide = x.float()
    pairs = [
        (built.softmax_(x.clone(), bias, 0.5), torch.softmax(wide * 0.5 + bias, -1)),
        (built.log_sum_exp(x, softmax=False)[0], torch.logsumexp(wide, -1)),
        (built.silu_gated(x, x), torch.nn.functional.silu(wide) * wide),
        (built.rms_norm(x, weight, 1e-6)[0], torch.nn.functional.rms_norm(wide, (37,), weight, 1e-6)),
    ]
    return all(torch.allclose(a.float(), b, rtol=1e-2, atol=1e-3) for a, b in pairs)
