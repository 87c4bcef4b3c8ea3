"""Programs per second through the sandbox, against the same programs run bare.

Small Python programs, each with a function that is called four times, or reading and writing streams once. They are
judged with one worker and with two; bare is `python3` alone with the same input. Variants take turns, the median of
the rounds counts. The last line of the output is one JSON object.

    python benchmarks/sandbox.py --programs 60 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence

from hizala.engines.reward.sandbox import Case, Judge, Limits, Sandbox, read_cases

FUNCTION = "def power(base, n):\n    value = 1\n    for _ in range(n):\n        value *= base\n    return value + {0}\n"
SCRIPT = "n = int(input())\nprint(sum(d for d in range(1, n) if n % d == 0) + {0})\n"


def calls(number: int) -> tuple[str, list[Case]]:
    """A function and four calls of it."""
    return FUNCTION.format(number), read_cases([f"assert power(3, {n}) == {3**n + number}" for n in range(4)])


def streams(number: int) -> tuple[str, list[Case]]:
    """A script and one input."""
    return SCRIPT.format(number), read_cases([{"input": "496\n", "output": f"{496 + number}\n"}])


def judged(judge: Judge, work: Sequence[tuple[str, list[Case]]]) -> float:
    """Programs per second; every one must pass."""
    started = time.perf_counter()
    results = judge.many(work)
    seconds = time.perf_counter() - started
    if not all(result.passed for found in results for result in found):
        raise SystemExit("an honest program was judged wrong")
    return len(work) / seconds


def bare(path: str, programs: int) -> float:
    """Programs per second of scripts without any sandbox, one after the other."""
    started = time.perf_counter()
    for number in range(programs):
        command = [path, "-s", "-S", "-B", "-c", SCRIPT.format(number)]
        done = subprocess.run(command, input="496\n", capture_output=True, text=True, env={}, check=True)
        if done.stdout != f"{496 + number}\n":
            raise SystemExit("a bare program was wrong")
    return programs / (time.perf_counter() - started)


def children() -> float:
    """Processor seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=60, help="in one round of one variant")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with Sandbox(limits=Limits(seconds=20.0, cpu_seconds=10.0)) as sandbox:
        judges = {workers: Judge(sandbox, workers=workers) for workers in (1, 2)}
        variants: dict[str, Callable[[], float]] = {
            "bare_script": lambda: bare(sandbox.interpreter.path, options.programs)
        }
        for name, make in (("script", streams), ("calls", calls)):
            work = [make(number) for number in range(options.programs)]
            for workers, judge in judges.items():
                variants[f"{name}_{workers}"] = lambda judge=judge, work=work: judged(judge, work)  # type: ignore[misc]
        rates: dict[str, list[float]] = {name: [] for name in variants}
        cpu = dict.fromkeys(("bare_script", "script_1"), 0.0)
        for _ in range(options.rounds):
            for name, measure in variants.items():
                before = children()
                rates[name].append(measure())
                if name in cpu:
                    cpu[name] += 1000 * (children() - before) / options.programs / options.rounds
        bounded = sandbox.bounded
        for judge in judges.values():
            judge.close()
    medians = {name: round(statistics.median(values), 2) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:12} {value:8.1f} programs/s   {1000 / value:7.1f} ms each")
    found = {
        "programs_per_second": medians,
        "cores": os.cpu_count(),
        "memory_bounded_by_kernel": bounded,
        "cpu_ms": {name: round(value, 2) for name, value in cpu.items()},
        "overhead_ms": round(1000 / medians["script_1"] - 1000 / medians["bare_script"], 2),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
