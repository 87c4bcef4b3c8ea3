"""Builds the compiled passes with the machine's C compiler, once, and checks them: elementwise passes, and, where the
processor multiplies bfloat16 (AVX-512 BF16), attention over trees and products with weights.

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from hizala.core.ops import kernels

# One text for the compiler, in this order.
SOURCES = ("kernels.c", "products.c", "trees.c", "decode.c", "sampling.c")
# Every thread packs for itself: with more of them PyTorch is faster.
MOST_THREADS = 4
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
    folder_of_sources = resources.files("hizala.core.ops")
    source = b"".join(folder_of_sources.joinpath(name).read_bytes() for name in SOURCES)
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
        self._trees = hasattr(library, "tree_attention")

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

    def log_sum_exp(
        self, logits: Tensor, *, softmax: bool, mean: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        lse, out = torch.empty(logits.shape[0]), torch.empty_like(logits) if softmax else None
        means = torch.empty_like(lse) if mean else None
        self._call("log_sum_exp", logits, lse, out, means, self._row(logits.shape[1]), *logits.shape)
        return lse, out, means

    def multiplies(self, rows: int, columns: int) -> bool:
        return self._trees and rows % 16 == columns % 16 == 0 and torch.get_num_threads() <= MOST_THREADS

    def multiply(self, x: Tensor, weight: Tensor, *, across: bool = False, wide: bool = False) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        (n, inside), out = x.shape, weight.shape[1 if across else 0]
        y = torch.empty(n, out, dtype=torch.float32 if wide else x.dtype)
        round_weight = int(weight.dtype == torch.float32)

        def part(first: int, stop: int) -> int:
            rows = x[first:stop], inside, weight, round_weight, int(across), y[first:stop], out, int(wide)
            return self._call("multiply", *rows, stop - first, inside, out)

        self._in_threads("multiply", n, part)
        return y

    def outer_sum(self, left: Tensor, right: Tensor) -> Tensor:
        left, right = left.contiguous(), right.contiguous()
        (n, rows), columns = left.shape, right.shape[1]
        out = (torch.empty if n else torch.zeros)(rows, columns)

        def part(first: int, stop: int) -> int:
            mine = left[:, first:stop], rows, right, columns, out[first:stop], columns
            return self._call("outer_sum", *mine, n, stop - first, columns)

        self._in_threads("outer_sum", rows // 16, lambda first, stop: part(16 * first, 16 * stop))
        return out

    def attends(self, head_dim: int) -> bool:
        return self._trees and head_dim % 16 == 0

    def tree_attention(
        self, q: Tensor, k: Tensor, v: Tensor, see: Tensor, groups: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        q, k, v = q.contiguous(), _heads_together(k), _heads_together(v)
        out, lse = torch.empty_like(q), torch.empty(q.shape[:2])
        head = (q, k, k.stride(0), v, v.stride(0), see, groups, len(groups))
        self._over_heads("tree_attention", k.shape[1], *head, out, lse, q.shape[1], *k.shape[1:], scale)
        return out, lse

    def tree_attention_backward(
        self, q: Tensor, k: Tensor, v: Tensor, see: Tensor, groups: Tensor, lse: Tensor, grad: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, grad = q.contiguous(), _heads_together(k), _heads_together(v), grad.contiguous()
        # Keys of no group have no gradient: only then is not everything written.
        make = torch.empty if int(groups[:, 3].sum()) == len(k) else torch.zeros
        d_q, d_k, d_v = torch.empty_like(q), make(k.shape, dtype=k.dtype), make(v.shape, dtype=v.dtype)
        head = (q, k, k.stride(0), v, v.stride(0), see, groups, len(groups), lse, grad, d_q, d_k, d_v)
        self._over_heads("tree_attention_backward", k.shape[1], *head, q.shape[1], *k.shape[1:], scale)
        return d_q, d_k, d_v

    def draw(self, logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        logits, (rows, columns) = logits.contiguous(), logits.shape
        tokens, logps = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
        spare = torch.empty(columns // 256 + 1, dtype=torch.float64)
        self._call("draw_tokens", logits, uniforms.contiguous(), temperature, tokens, logps, spare, rows, columns)
        return tokens, logps

    def nucleus(self, logits: Tensor, floor: Tensor, share: float) -> tuple[Tensor, Tensor]:
        logits, (rows, columns) = logits.contiguous(), logits.shape
        floor, last = floor.clone(), torch.empty(rows, dtype=torch.int64)
        spare = torch.empty(2048 + columns, dtype=torch.float64)
        self._call("nucleus", logits, floor, last, torch.tensor(share, dtype=torch.float64), spare, rows, columns)
        return floor, last

    def softmax_kept(
        self, logits: Tensor, floor: Tensor, last: Tensor, targets: Tensor, *, softmax: bool, mean: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        logits, lse = logits.contiguous(), torch.empty(len(logits))
        means, out = torch.empty_like(lse) if mean else None, torch.empty_like(logits) if softmax else None
        kept = (floor.contiguous(), last.contiguous(), targets.contiguous())
        self._call("softmax_kept", logits, *kept, lse, means, out, *logits.shape)
        return lse, out, means

    def packed(self, weight: Tensor, *, wide: bool) -> Tensor:
        weight = weight.detach().contiguous()
        out, inside = weight.shape
        words = torch.empty(-(-out // 64) * 64 * (inside if wide else inside // 2), dtype=torch.int32)
        self._call("pack_weight", weight, int(wide), inside, out, words)
        return words

    def decode_step(self, model: kernels.DecodeModel, rows: kernels.DecodeRows, logits: Tensor) -> None:
        longest = int(rows.positions.max()) + 1
        parts = max(1, min(torch.get_num_threads(), len(logits)))

        def part(first: int, stop: int) -> int:
            mine = (column[first:stop] for column in rows)
            number = -(-first * parts // len(logits))
            return self._decode(model, number, (*mine, logits[first:stop]), longest, stop - first)

        self._in_threads("decode_step", len(logits), part)

    def decode_prompt(self, model: kernels.DecodeModel, tokens: Tensor, first: int, state: Tensor) -> Tensor:
        n, logits = len(tokens), torch.empty(int(model.shape[6]))
        address = torch.tensor([state.data_ptr()])
        rows = (tokens, torch.arange(first, first + n), None, address, None, logits)
        self._decode(model, 0, rows, first + n, n)
        return logits

    def _decode(
        self, model: kernels.DecodeModel, number: int, rows: tuple[Tensor | None, ...], longest: int, n: int
    ) -> int:
        size = self._call("decode_scratch", model.shape, n, longest) + 64
        spare = model.scratch.get(number)
        if spare is None or len(spare) < size:
            spare = model.scratch[number] = torch.empty(2 * size, dtype=torch.uint8)
        head = (model.shape, model.eps, model.scale, model.table, model.cosine, model.sine)
        return self._call("decode_step", *head, *rows, spare[-spare.data_ptr() % 64 :], model.step, longest, n)

    def _over_heads(self, name: str, heads: int, *values: Tensor | float | None) -> None:
        self._in_threads(name, heads, lambda first, stop: self._call(name, *values, first, stop))

    def _in_threads(self, name: str, size: int, work: Callable[[int, int], int]) -> None:
        """`work` over [0, size), at once or cut into one part a thread."""
        parts = max(1, min(torch.get_num_threads(), size))
        cuts = [size * i // parts for i in range(parts + 1)]
        if parts == 1:
            failed = work(0, size)
        else:
            with ThreadPoolExecutor(parts) as pool:
                failed = max(pool.map(work, cuts[:-1], cuts[1:]))
        if failed:
            raise MemoryError(f"no memory for {name}")

    def _row(self, d: int) -> Tensor:
        # A fresh buffer a call: two threads may be in here at once, ctypes lets go of the interpreter's lock.
        return torch.empty(d)

    def _call(self, name: str, *values: Tensor | float | None) -> int:
        found: int = getattr(self._lib, name)(*(_argument(v) for v in values))
        return found


def _heads_together(x: Tensor) -> Tensor:
    """(N, heads, d) whose heads stand one behind another in each row."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


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
    return all(torch.allclose(a.float(), b, rtol=1e-2, atol=1e-3) for a, b in pairs) and _products_agree(built)


def _products_agree(built: _Native) -> bool:
    if not built.attends(16):
        return True
    q, k, v = (torch.randn(19, 2, 16, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(3))
    see = torch.tensor([[0, 1 + i, 1 + i, 1 + i] for i in range(19)], dtype=torch.int32)
    out = built.tree_attention(q, k, v, see, torch.tensor([[0, 19, 0, 19]]), 0.25)[0]
    sums = built.outer_sum(q.flatten(1), k.flatten(1))
    weight = torch.randn(48, 32, generator=torch.Generator().manual_seed(3))
    product = built.multiply(built.multiply(q.flatten(1), weight), weight.bfloat16(), across=True)
    q, k, v = (t.float() for t in (q, k, v))
    over = torch.nn.functional.scaled_dot_product_attention
    wanted = over(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), is_causal=True, scale=0.25)
    right = torch.allclose(out.float().transpose(0, 1), wanted, rtol=2e-2, atol=2e-2)
    right &= torch.allclose(product.float(), q.flatten(1) @ weight.T @ weight, rtol=0.05, atol=1.0)
    return right and torch.allclose(sums, q.flatten(1).T @ k.flatten(1), atol=1e-3)
