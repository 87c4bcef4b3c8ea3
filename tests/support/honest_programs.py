"""Five hundred honest programs with what they are worth: several ways to solve each problem, and some ways to fail.

The programs stand in `honest_programs.txt`. What is expected comes from another computation than any of them. They are
tested in four forms.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

Numbers = list[int]


@dataclass(frozen=True, slots=True)
class Problem:
    """A function to write: its name, what it gives, arguments to try."""

    name: str
    truth: Callable[..., Any]
    draw: Callable[[random.Random], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Program:
    """A program, tests in one of the forms, and whether it passes all of them."""

    label: str
    source: str
    tests: Any
    right: bool


def _numbers(rng: random.Random, low: int = -20, high: int = 20, most: int = 12) -> Numbers:
    return [rng.randint(low, high) for _ in range(rng.randint(2, most))]


def _word(rng: random.Random, letters: str = "abcde", most: int = 9) -> str:
    return "".join(rng.choice(letters) for _ in range(rng.randint(2, most)))


def _distance(a: str, b: str) -> int:
    @lru_cache(None)
    def d(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        return min(d(i - 1, j) + 1, d(i, j - 1) + 1, d(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return d(len(a), len(b))


def _rising(values: Numbers) -> int:
    sizes = range(len(values), 0, -1)
    return next(
        n for n in sizes if any(all(a < b for a, b in itertools.pairwise(c)) for c in itertools.combinations(values, n))
    )


def _balanced(text: str) -> bool:
    while any(pair in text for pair in ("()", "[]", "{}")):
        for pair in ("()", "[]", "{}"):
            text = text.replace(pair, "")
    return not text


PROBLEMS = (
    Problem(
        "gcd",
        math.gcd,
        lambda rng: (rng.randint(1, 60) * 12, rng.randint(1, 60) * 18),
    ),
    Problem(
        "fact",
        math.factorial,
        lambda rng: (rng.randint(20, 400),),
    ),
    Problem(
        "primes",
        lambda n: [p for p in range(2, n) if all(p % d for d in range(2, p))],
        lambda rng: (rng.randint(10, 200),),
    ),
    Problem(
        "order",
        sorted,
        lambda rng: (_numbers(rng),),
    ),
    Problem(
        "distance",
        _distance,
        lambda rng: (_word(rng), _word(rng)),
    ),
    Problem(
        "count",
        lambda text: dict(Counter(text)),
        lambda rng: (_word(rng, "abc", 20),),
    ),
    Problem(
        "rising",
        _rising,
        lambda rng: (_numbers(rng, 0, 30, 10),),
    ),
    Problem(
        "balanced",
        _balanced,
        lambda rng: (
            "".join(rng.choice(("()", "[]", "{}", "([])", "{()}")) for _ in range(4))
            + rng.choice(("", "(", "]", ")(")),
        ),
    ),
    Problem(
        "transpose",
        lambda m: [[row[j] for row in m] for j in range(len(m[0]))],
        lambda rng: ([[rng.randint(0, 9) for _ in range(3)] for _ in range(rng.randint(1, 4))],),
    ),
    Problem(
        "common",
        lambda a, b: set(a) & set(b),
        lambda rng: (_numbers(rng, 0, 9), _numbers(rng, 0, 9)),
    ),
    Problem(
        "encode",
        lambda t: [(c, len(list(g))) for c, g in itertools.groupby(t)],
        lambda rng: (_word(rng, "ab", 16),),
    ),
    Problem(
        "ways",
        lambda n, coins: sum(
            1
            for picks in itertools.product(*(range(n // c + 1) for c in coins))
            if sum(p * c for p, c in zip(picks, coins, strict=True)) == n
        ),
        lambda rng: (rng.randint(5, 30), sorted(rng.sample([2, 3, 5, 7, 10], 3))),
    ),
    Problem(
        "steps",
        lambda n: next(k for k, x in enumerate(_collatz(n)) if x == 1),
        lambda rng: (rng.randint(2, 300),),
    ),
    Problem(
        "mean",
        lambda v: math.fsum(v) / len(v),
        lambda rng: ([rng.randint(1, 64) / 4 for _ in range(8)],),
    ),
    Problem(
        "roman",
        lambda n: (
            "M" * (n // 1000)
            + "".join(
                ("", a, a * 2, a * 3, a + b, b, b + a, b + a * 2, b + a * 3, a + c)[n // d % 10]
                for d, (a, b, c) in ((100, "CDM"), (10, "XLC"), (1, "IVX"))
            )
        ),
        lambda rng: (rng.randint(1, 3000),),
    ),
    Problem(
        "queens",
        lambda n: {4: 2, 5: 10, 6: 4}[n],
        lambda rng: (rng.choice((4, 5, 6)),),
    ),
    Problem(
        "path",
        lambda grid: _shortest(grid),
        lambda rng: (
            [[int(rng.random() < 0.25 and (i, j) not in ((0, 0), (3, 3))) for j in range(4)] for i in range(4)],
        ),
    ),
    Problem(
        "shift",
        lambda t, k: t.translate({97 + i: 97 + (i + k) % 26 for i in range(26)}),
        lambda rng: (_word(rng, "abcxyzçğş"), rng.randint(1, 25)),
    ),
    Problem(
        "halves",
        lambda v: (sum(v[: len(v) // 2]), sum(v[len(v) // 2 :])),
        lambda rng: (_numbers(rng),),
    ),
    Problem(
        "subsets",
        lambda v: sorted(sorted(c) for n in range(len(v) + 1) for c in itertools.combinations(v, n)),
        lambda rng: (rng.sample(range(9), 3),),
    ),
)


def _collatz(n: int) -> Iterator[int]:
    while True:
        yield n
        n = n // 2 if n % 2 == 0 else 3 * n + 1


def _shortest(grid: list[Numbers]) -> int | None:
    size, reached = len(grid), {(0, 0)}
    for steps in range(size * size):
        if (size - 1, size - 1) in reached:
            return steps
        near = {(i + a, j + b) for i, j in reached for a, b in ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))}
        reached = {(i, j) for i, j in near if 0 <= i < size and 0 <= j < size and not grid[i][j]}
    return None


FORMS = ("asserts", "calls", "check", "streams")
TRIES = 4  # inputs a program is tested with


def _plain(value: Any) -> bool:
    """Whether JSON can say it as it is."""
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(held) for key, held in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _tests(problem: Problem, form: str, rng: random.Random) -> Any:
    drawn = [tuple(problem.draw(rng)) for _ in range(TRIES)]
    cases = [(args, problem.truth(*args)) for args in drawn]
    call = problem.name
    if form == "calls" and all(_plain(value) for _, value in cases):
        return [{"call": call, "args": list(args), "expected": value} for args, value in cases]
    if form == "check":
        lines = [f"    assert candidate(*{args!r}) == {value!r}" for args, value in cases]
        return {"code": "\n".join(["def check(candidate):", *lines]), "entry_point": call}
    if form == "streams":
        return {"inputs": [f"{args!r}\n" for args, _ in cases], "outputs": [f"{_shown(value)}\n" for _, value in cases]}
    return [f"assert {call}({', '.join(map(repr, args))}) == {value!r}" for args, value in cases]


def _shown(value: Any) -> str:
    return repr(
        sorted(value.items()) if isinstance(value, dict) else sorted(value) if isinstance(value, set) else value
    )


_SCRIPT = """

import ast
_value = {name}(*ast.literal_eval(input()))
if isinstance(_value, dict):
    _value = sorted(_value.items())
elif isinstance(_value, (set, frozenset)):
    _value = sorted(_value)
print(repr(tuple(_value) if isinstance(_value, tuple) else _value))
"""


def _written() -> list[tuple[Problem, str, bool]]:
    """The programs of the text file: a line `=== problem right` or `=== problem wrong` stands before each."""
    by_name = {problem.name: problem for problem in PROBLEMS}
    found = []
    for part in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split("=== ")[1:]:
        head, _, source = part.partition("\n")
        name, kind = head.split()
        found.append((by_name[name], source.strip("\n") + "\n", {"right": True, "wrong": False}[kind]))
    return found


def programs(number: int = 500, seed: int = 5) -> list[Program]:
    """That many programs, the forms and the programs of each problem in turn."""
    rng = random.Random(seed)
    ways = _written()
    found: list[Program] = []
    for turn in itertools.count():
        for place, (problem, source, right) in enumerate(ways):
            form = FORMS[(turn + place) % len(FORMS)]
            text = source + (_SCRIPT.format(name=problem.name) if form == "streams" else "")
            label = f"{problem.name} {form} {'right' if right else 'wrong'}"
            found.append(Program(label, text, _tests(problem, form, rng), right))
            if len(found) == number:
                return found
    raise AssertionError
