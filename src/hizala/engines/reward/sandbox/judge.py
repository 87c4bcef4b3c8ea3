"""Programs against tests. What is expected stays out here: the program is only asked, and what it says is compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from hizala.engines.reward.sandbox.cases import Call, Case, Code, Streams
from hizala.engines.reward.sandbox.compare import same, same_text, truth
from hizala.engines.reward.sandbox.inside import encode
from hizala.engines.reward.sandbox.process import Process
from hizala.engines.reward.sandbox.sandbox import Sandbox
from hizala.engines.reward.sandbox.spec import Limits, Outcome, readable
from hizala.errors import DataError

_SERVE = ("-s", "-S", "-B", "{box}/inside", "serve", "{file}")
_SCRIPTS = ("-s", "-S", "-B", "{box}/inside", "scripts", "{file}")
_TEST = ("-s", "-S", "-B", "{box}/inside", "test", "-")
_TALK = 100_000  # messages one test may take


class Broken(Exception):
    """The sandbox itself failed: nothing is known of the program."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one test said of one program: passed or not, and if not, why. None: it could not be judged."""

    passed: bool | None
    why: str = ""


class Judge:
    """Tests programs, several at a time.

    Args:
        sandbox: what programs run in.
        workers: programs that run at one time; more than cores makes time limits shorter than they look.
        tolerance: of numbers, see `compare`.
        stop_early: leave the tests of a program that come after its first failure.
        kills: after this many tests that had to be stopped the rest count as failed.
    """

    def __init__(
        self, sandbox: Sandbox, *, workers: int = 1, tolerance: float = 0.0, stop_early: bool = False, kills: int = 3
    ) -> None:
        self.sandbox, self.tolerance, self.stop_early, self.kills = sandbox, tolerance, stop_early, kills
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sandbox")

    def many(self, work: Sequence[tuple[str, Sequence[Case]]]) -> list[list[Result]]:
        """The results of each program's tests, in order; with `stop_early` those that were run."""
        return list(self._pool.map(lambda pair: self.one(*pair), work))

    def check(self, cases: Sequence[Case]) -> None:
        """Raises DataError where tests call functions in a language whose functions cannot be called."""
        if self.sandbox.language.name != "python" and not all(isinstance(case, Streams) for case in cases):
            language = self.sandbox.language.name
            raise DataError(f"functions of {language} cannot be called: give tests of input and output")

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._pool.shutdown()

    def one(self, source: str, cases: Sequence[Case]) -> list[Result]:
        """The results of one program's tests. Where the sandbox itself fails it is tried once more."""
        found: list[Result] = []
        failures = kills = 0
        while len(found) < len(cases):
            if kills >= self.kills:
                found += [Result(False, f"not run: {kills} tests had to be stopped before it")] * (
                    len(cases) - len(found)
                )
                break
            try:
                for result, lost in self._some(source, cases[len(found) :]):
                    found.append(result)
                    kills += lost
                    if self.stop_early and result.passed is False:
                        return found
                    if lost:
                        break
            except (Broken, OSError) as error:  # OSError: no process or descriptor is left to run it with
                failures += 1
                if failures > 1:
                    found += [Result(None, f"the sandbox failed: {error}")] * (len(cases) - len(found))
        return found

    def _some(self, source: str, cases: Sequence[Case]) -> Iterator[tuple[Result, bool]]:
        """Results with whether their program was lost, which ends them: cases of one kind, from the first on."""
        kind = type(cases[0])
        alike = cases[: next((i for i, case in enumerate(cases) if type(case) is not kind), len(cases))]
        if kind is Streams and (len(alike) == 1 or self.sandbox.language.name != "python"):
            for case in alike:
                assert isinstance(case, Streams)
                yield self._streams(source, case)
            return
        self.check(alike)
        yield from self._served(source, alike)

    def _streams(self, source: str, case: Streams) -> tuple[Result, bool]:
        outcome = self.sandbox.run(source, stdin=case.given.encode(errors="surrogatepass"))
        if outcome.status == "broken":
            raise Broken(outcome.detail)
        if outcome.reason:
            return Result(False, outcome.reason), outcome.status != "exited"
        return self._written(case, outcome.stdout.decode(errors="replace")), False

    def _written(self, case: Streams, text: str) -> Result:
        same_ = same_text(case.expected, text, tolerance=self.tolerance)
        return Result(True) if same_ else Result(False, "wrong output")

    def _script(self, program: Process, case: Streams) -> Result:
        """One run of a program that was compiled once. What it writes is bounded by the file it writes to."""
        program.send(_lines({"stdin": case.given, "most": self.sandbox.limits.output}))
        reply = _message(program)
        status, text = reply.get("status"), reply.get("out")
        if not reply or not isinstance(status, int) or not isinstance(text, str):
            return Result(False, _gone(program) if not reply else "it sent nothing that can be read")
        if status:
            said = reply.get("err")
            stderr = said.encode(errors="replace") if isinstance(said, str) else b""
            return Result(False, Outcome("exited", status if 0 < status < 256 else 255, stderr=stderr).reason)
        if reply.get("over") is not False:
            return Result(False, Outcome("output").reason)
        return self._written(case, text)

    def _served(self, source: str, cases: Sequence[Case]) -> Iterator[tuple[Result, bool]]:
        """Several cases of one program: it is loaded once, and each case gets a fresh copy of it."""
        limits = self.sandbox.limits
        file = {self.sandbox.language.file: source.encode(errors="surrogatepass")}
        with ExitStack() as stack:
            # Each copy is a process, beside the one that loaded it.
            how = _SCRIPTS if isinstance(cases[0], Streams) else _SERVE
            program = stack.enter_context(self.sandbox.open(file, how, limits=_room(limits)))
            tester = None
            if isinstance(cases[0], Code):
                tester = stack.enter_context(self.sandbox.open({}, _TEST, limits=_room(limits)))
            loaded = _message(program)
            if loaded.get("loaded") is not True:
                why = _gone(program) if not loaded else _said(loaded.get("failed"))
                yield from ((Result(False, f"the program did not load: {why}"), False) for _ in cases)
                return
            for case in cases:
                program.renew(limits.seconds)
                if isinstance(case, Streams):
                    result = self._script(program, case)
                elif isinstance(case, Call):
                    result = self._call(program, case)
                else:
                    assert tester is not None
                    tester.renew(limits.seconds)
                    result = self._code(program, tester, case)
                lost = not program.running or (tester is not None and not tester.running)
                yield result, lost
                if lost:
                    return

    def _call(self, program: Process, case: Call) -> Result:
        message = {
            "op": "call",
            "name": case.name,
            "args": [encode(value) for value in case.args],
            "kwargs": {key: encode(value) for key, value in case.kwargs.items()},
        }
        program.send(_lines({}, message, {"stop": True}))
        reply = _message(program)
        left = reply if "left" in reply else _message(program)
        if not reply or ("left" in reply and "value" not in reply):
            return Result(
                False, _gone(program) if not reply else f"it ended in the call (status {_said(left.get('left'))})"
            )
        if "error" in reply:
            return Result(False, _error(reply))
        try:
            return Result(True) if self._holds(case, reply.get("value")) else Result(False, _unlike(reply.get("value")))
        except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
            return Result(False, "it returned nothing that can be read")

    def _holds(self, case: Call, sent: Any) -> bool:
        if case.want == "true":
            return truth(sent)
        if case.want == "false":
            return not truth(sent)
        if case.want == "is":
            return sent is case.expected
        return same(case.expected, sent, loose=case.loose, tolerance=self.tolerance)

    def _code(self, program: Process, tester: Process, case: Code) -> Result:
        """Carry messages between test and program until the test has said what it found."""
        program.send(_lines({}))
        tester.send(_lines({"code": case.source, "entry": case.entry}))
        ended = ""
        for _ in range(_TALK):
            said = _message(tester, program)
            if not said:
                return Result(False, ended or _gone(program, tester))
            if "passed" in said:
                break
            if ended:
                tester.send(_lines({"stop": True}))
                continue
            program.send(_lines(said["to"]))
            reply = _message(program, tester)
            if not reply:
                return Result(False, _gone(program, tester))
            if "left" in reply:
                ended = f"it ended in the test (status {_said(reply['left'])})"
            tester.send(_forwarded(reply))
        else:
            program.stop("output")
            return Result(False, f"the test took more than {_TALK} messages")
        if not ended:
            program.send(_lines({"stop": True}))
            _message(program, tester)
        if ended or said["passed"] is not True:
            return Result(False, ended or _said(said.get("why")))
        return Result(True)


def _room(limits: Limits) -> Limits:
    """Limits for a process that starts one copy of itself at a time, and tells of it in JSON."""
    return replace(limits, processes=limits.processes + 1, output=8 * limits.output)


def _lines(*messages: dict[str, Any]) -> bytes:
    return "".join(json.dumps(message) + "\n" for message in messages).encode()


def _message(process: Process, *others: Process) -> dict[str, Any]:
    """The next message, {} where none comes or none can be read. Raises Broken when the sandbox failed."""
    line = process.line(*others)
    if line is None:
        for one in (process, *others):
            if one.broken:
                raise Broken(one.broken)
        return {}
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        process.stop("output", "what it sent cannot be read")
        return {}
    return message if isinstance(message, dict) else {}


def _gone(*processes: Process) -> str:
    """Why a process says nothing more."""
    for process in processes:
        if process.stopped:
            return process.why
    return "it ended"


def _forwarded(reply: dict[str, Any]) -> bytes:
    """What a program answers or asks, for the test; anything else ends the test."""
    allowed = {"value"}, {"error"}, {"op", "target", "args", "kwargs"}, {"op", "target", "name"}
    if set(reply) in (*allowed, {"op", "target", "name", "value"}):
        with suppress(RecursionError):  # nested so deep that it could be read and cannot be written
            return _lines(reply)
    return _lines({"stop": True})


def _said(value: object) -> str:
    """Words that a program or a test sent, fit to be shown; whatever is no text or small number says nothing."""
    if isinstance(value, int) and abs(value) < 1 << 32:
        return str(int(value))
    return readable(value)[:300] if isinstance(value, str) else "nothing sensible"


def _error(reply: dict[str, Any]) -> str:
    error = reply["error"]
    if isinstance(error, list) and len(error) == 2 and isinstance(error[0], list) and error[0]:
        return f"{_said(error[0][0])}: {_said(error[1])}"[:300]
    return "it raised an error"


def _unlike(sent: Any) -> str:
    if isinstance(sent, dict) and sent.get("t") == "mine":
        return "it returned an object that is no plain data"
    return "wrong value"
