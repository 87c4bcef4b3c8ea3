"""Peak extra memory of token log-probs with gradients: full logits, TRL's chunked function, ours.

Every variant runs in a process of its own on the same seeded numbers; "extra" is the highest resident memory during
forward and backward above what was resident before (inputs, libraries). The gradients all variants must return
(hidden states and vocabulary weights) are part of it; `net` leaves them out.

    python benchmarks/logps_memory.py [--vocab 151936 --tokens 2048 --hidden 512] [--smoke]

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def resident() -> float:
    """Resident memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Peak:
    """The highest resident memory while open, looked at every millisecond."""

    def __enter__(self) -> Peak:
        self.base = self.top = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.001):
            self.top = max(self.top, resident())

    def __exit__(self, *_: object) -> None:
        self.top = max(self.top, resident())
        self._done.set()
        self._thread.join()

    @property
    def extra(self) -> float:
        """MiB above what was resident at the start."""
        return self.top - self.base


def variants() -> dict[str, Callable[[Any, Any, Any], Any]]:
    """name -> function of (hidden, weight, targets) giving (tokens,) log-probs."""
    import torch

    def full(hidden: Any, weight: Any, targets: Any) -> Any:
        logits = (hidden @ weight.to(hidden.dtype).T).float()
        return torch.log_softmax(logits, dim=-1).gather(1, targets[:, None])[:, 0]

    def ours(hidden: Any, weight: Any, targets: Any) -> Any:
        from hizala.core.ops.vocab import token_logps

        return token_logps(hidden, weight, targets)[0]

    def trl(hidden: Any, weight: Any, targets: Any) -> Any:
        from trl.kernels import ChunkedLogProbFunction
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

        return ChunkedLogProbFunction.apply(
            hidden, weight, None, targets, 1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ()
        )[0]

    return {"full": full, "trl_chunked": trl, "ours": ours}


def measure(name: str, tokens: int, vocab: int, hidden: int, dtype: str) -> dict[str, Any]:
    """One variant in this process."""
    import torch

    torch.set_num_threads(1)
    run = variants()[name]
    generator = torch.Generator().manual_seed(0)
    warm = torch.randn(8, 16, requires_grad=True), torch.randn(32, 16, requires_grad=True)
    run(*warm, torch.zeros(8, dtype=torch.long)).sum().backward()  # libraries load before the clock starts
    states = torch.randn(tokens, hidden, generator=generator).to(getattr(torch, dtype)).requires_grad_()
    weight = (torch.randn(vocab, hidden, generator=generator) * 0.1).requires_grad_()
    targets = torch.randint(0, vocab, (tokens,), generator=generator)
    begun = time.process_time()
    with Peak() as peak:
        logps = run(states, weight, targets)
        logps.sum().backward()
    assert states.grad is not None
    assert weight.grad is not None
    gradients = sum(t.grad.numel() * t.grad.element_size() for t in (states, weight) if t.grad is not None) / 2**20
    return {
        "extra": peak.extra,
        "net": peak.extra - gradients,
        "seconds": time.process_time() - begun,
        "mean_logp": logps.mean().item(),
        "grad_norm": weight.grad.norm().item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.smoke:
        args.vocab, args.tokens, args.hidden = 32_000, 512, 64
    if args.worker:
        print(json.dumps(measure(args.worker, args.tokens, args.vocab, args.hidden, args.dtype)))
        return
    sizes = [f"--{k}={getattr(args, k)}" for k in ("vocab", "tokens", "hidden", "dtype")]
    results: dict[str, dict[str, float]] = {}
    print(f"{args.tokens} tokens, vocabulary {args.vocab}, hidden {args.hidden}, {args.dtype}; one thread")
    print(f"{'':14}{'extra MiB':>11}{'net MiB':>11}{'CPU s':>8}")
    for name in ("full", "trl_chunked", "ours"):
        command = [sys.executable, str(Path(__file__).resolve()), f"--worker={name}", *sizes]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            print(f"{name:14} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        results[name] = json.loads(done.stdout.splitlines()[-1])
        r = results[name]
        print(f"{name:14}{r['extra']:11.0f}{r['net']:11.0f}{r['seconds']:8.1f}")
    full, ours = results["full"], results["ours"]
    tolerance = 1e-4 if args.dtype == "float32" else 2e-2
    for name, r in results.items():
        for key in ("mean_logp", "grad_norm"):
            if abs(r[key] / full[key] - 1) > tolerance:
                raise SystemExit(f"{name}: {key} is {r[key]}, full logits give {full[key]}")
    ratios = {
        "extra": ours["extra"] / full["extra"],
        "net": ours["net"] / full["net"],
        "seconds": ours["seconds"] / full["seconds"],
    }
    if "trl_chunked" in results:
        ratios["extra_to_trl"] = ours["extra"] / results["trl_chunked"]["extra"]
        ratios["seconds_to_trl"] = ours["seconds"] / results["trl_chunked"]["seconds"]
    shape = {k: getattr(args, k) for k in ("vocab", "tokens", "hidden", "dtype")}
    print(json.dumps({"benchmark": "logps_memory", "ratios": ratios, "results": results, "shape": shape}))


if __name__ == "__main__":
    main()
