"""Programs in responses, judged by running them against tests in a sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from hizala.engines.reward.answers import shown
from hizala.engines.reward.base import RewardContext, last_turn
from hizala.engines.reward.sandbox.cases import Case, read_cases
from hizala.engines.reward.sandbox.judge import Judge, Result
from hizala.engines.reward.sandbox.sandbox import Isolation, Sandbox
from hizala.engines.reward.sandbox.spec import MIB, Language, Limits
from hizala.errors import DataError
from hizala.records import Finding, Group, Response, Verdict
from hizala.registry import Bound, reward


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the word behind its fence in lower case, what stands in it, and whether the fence was closed."""

    tag: str
    text: str
    closed: bool


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a text in order; a fence is closed by one of its own kind that is at least as long."""
    fence, tag, held = "", "", list[str]()
    for line in text.replace("\r\n", "\n").split("\n"):
        if not fence and (found := _opening(line)):
            (fence, tag), held = found, []
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            yield Block(tag, "\n".join(held) + "\n", closed=True)
            fence = ""
        elif fence:
            held.append(line)
    if fence:
        yield Block(tag, "\n".join(held) + "\n", closed=False)


def _opening(line: str) -> tuple[str, str] | None:
    """The fence that a line opens a block with, and the word behind it; None where it opens none."""
    bare = line.strip()
    words = bare.lstrip(bare[:1])
    fence = bare[: len(bare) - len(words)]
    if len(fence) < 3 or fence[0] not in "`~" or (fence[0] == "`" and "`" in words):
        return None
    return fence, words.split(maxsplit=1)[0].lower() if words.strip() else ""


def program_of(response: Response, language: Language) -> tuple[str, str]:
    """The program a response answers with, or "" and why there is none.

    Read is what stands outside `<think>`; of that the last `<answer>` where there is one. There the last block of the
    language counts, or where none names the language, the last that names none. An `<answer>` without a block is the
    program itself. A last block that is never closed was cut, and is no program.
    """
    text = shown(last_turn(response))
    tagged = "</answer>" in text
    if tagged:
        text = text.rpartition("</answer>")[0].rpartition("<answer>")[2]
    found = list(blocks(text))
    fitting = [b for b in found if b.tag in language.tags] or [b for b in found if not b.tag]
    if not fitting:
        if tagged and not found and text.strip():
            return text.strip("\n") + "\n", ""
        return "", f"no code block in {language.name}" if found else "no code block"
    if not fitting[-1].closed:
        return "", "the last code block is not closed"
    if not fitting[-1].text.strip():
        return "", "the code block is empty"
    return fitting[-1].text, ""


@reward("code", needs=("tests",), summary="the response's program, run against tests in a sandbox")
class Code:
    """What share of its tests the response's program passes, or whether it passes all.

    value = passed / tests  (credit: fraction),  1 if passed = tests else 0  (credit: all)

    Scored 0: no code block, a program that fails, or that a limit stops. Not scored: tests that cannot be read, a
    sandbox that fails. See `program_of` for which block counts and `sandbox.cases.FORMS` for `meta.tests`.

    Args:
        context: what rewards are made with; not used.
        credit: `all` or nothing, or the `fraction` of tests passed.
        language: of the programs, a registered one.
        seconds: wall time of one test.
        memory_mb: memory of one program with everything it starts.
        processes: processes and threads of one program.
        tolerance: of numbers, absolute or relative; 0: exactly.
        kills: after this many tests that had to be stopped the rest of a program's tests count as failed.
        workers: programs that run at one time; 0: one a core.
        sandbox: `bubblewrap`, or `none_i_trust_the_code`: programs run as you.
    Raises:
        ConfigError: unknown language.
        SandboxError: the sandbox cannot be had on this machine.
    """

    pointwise = True

    def __init__(
        self,
        context: RewardContext,
        *,
        credit: Literal["all", "fraction"] = "all",
        language: str = "python",
        seconds: Annotated[float, Bound(gt=0)] = 5.0,
        memory_mb: Annotated[int, Bound(ge=16)] = 512,
        processes: Annotated[int, Bound(ge=1)] = 16,
        tolerance: Annotated[float, Bound(ge=0)] = 0.0,
        kills: Annotated[int, Bound(ge=1)] = 2,
        workers: Annotated[int, Bound(ge=0)] = 0,
        sandbox: Isolation = "bubblewrap",
    ) -> None:
        limits = Limits(seconds=seconds, cpu_seconds=seconds, memory=memory_mb * MIB, processes=processes)
        self.credit = credit
        self.sandbox = Sandbox(language, limits=limits, isolation=sandbox)
        cores = len(os.sched_getaffinity(0))
        stop_early = credit == "all"
        self.judge = Judge(
            self.sandbox, workers=workers or cores, tolerance=tolerance, stop_early=stop_early, kills=kills
        )

    def score(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """One list a group, one verdict a response; `parts` gives the tests, and those passed where all were run."""
        table: dict[tuple[int, int], Verdict] = {}
        work: list[tuple[str, Sequence[Case]]] = []
        places: list[tuple[int, int]] = []
        for g, group in enumerate(groups):
            try:
                cases = read_cases(group.meta.get("tests"))
                self.judge.check(cases)
            except DataError as error:
                table.update({(g, i): Verdict(None, f"tests: {error.message}") for i in range(len(group.responses))})
                continue
            for i, response in enumerate(group.responses):
                program, why = program_of(response, self.sandbox.language)
                if program:
                    work.append((program, cases))
                    places.append((g, i))
                else:
                    table[g, i] = Verdict(0.0, why, {"tests": float(len(cases))})
        for place, (_, run), results in zip(places, work, self.judge.many(work), strict=True):
            table[place] = self._verdict(results, len(run))
        return [[table[g, i] for i in range(len(group.responses))] for g, group in enumerate(groups)]

    def _verdict(self, results: Sequence[Result], tests: int) -> Verdict:
        unknown = next((result for result in results if result.passed is None), None)
        passed = sum(result.passed is True for result in results)
        failure = next((result for result in results if result.passed is False), None)
        parts = {"tests": float(tests), "passed": float(passed)}
        if unknown is not None and (failure is None or self.credit == "fraction"):
            return Verdict(None, f"sandbox: {unknown.why}")
        if self.credit == "all":
            return Verdict(float(passed == tests), failure.why if failure else "", {"tests": float(tests)})
        return Verdict(passed / tests, failure.why if failure else "", parts)

    def findings(self) -> list[Finding]:
        """What a user should know of the sandbox."""
        return self.sandbox.findings()

    def close(self) -> None:
        """Wait for programs that run, and remove what they left."""
        self.judge.close()
        self.sandbox.close()
