"""Worker processes: none outlives its owner, none that is lost takes a verdict with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import hostile_rewards  # noqa: F401 (registers the rewards)
import psutil  # type: ignore[import-untyped]
import pytest

from hizala.engines.reward.pool import Pool
from hizala.engines.reward.worker import Job
from hizala.errors import RewardError
from hizala.records import Group, Message, Response

MODULES, NAMES = ("hostile_rewards",), ("test_hostile",)


def job(*texts: str, limit: float = 5.0) -> Job:
    """One prompt's responses."""
    responses = tuple(Response((Message("assistant", text),)) for text in texts)
    return Job("test_hostile", {}, Group((Message("user", "?"),)), responses, limit)


def values(pool: Pool, *jobs: Job) -> list[list[float | None]]:
    """Verdicts' values."""
    return [[outcome.verdict.value for outcome in outcomes] for outcomes in pool.run(jobs)]


def nurseries() -> list[psutil.Process]:
    """Nurseries that this process has started."""
    return [child for child in psutil.Process().children() if "nursery" in " ".join(child.cmdline())]


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them end within seconds."""
    return not psutil.wait_procs(processes, timeout=10)[1]


def test_closing_ends_every_process_and_the_next_run_starts_new_ones() -> None:
    before = set(nurseries())
    pool = Pool(MODULES, 2, NAMES)
    assert values(pool, job("a"), job("b"), job("c")) == [[0.5]] * 3
    (mine,) = set(nurseries()) - before
    every = [mine, *mine.children()]
    assert len(every) == 3
    pool.close()
    assert gone(every)
    assert values(pool, job("a")) == [[0.5]]
    pool.close()


def test_a_pool_that_is_forgotten_ends_its_processes() -> None:
    before = set(nurseries())
    pool = Pool(MODULES, 1, NAMES)
    values(pool, job("a"))
    (mine,) = set(nurseries()) - before
    every = [mine, *mine.children()]
    del pool
    assert gone(every)


def test_losing_the_nursery_or_an_idle_worker_loses_no_verdict() -> None:
    before = set(nurseries())
    pool = Pool(MODULES, 2, NAMES)
    assert values(pool, job("a", "b"), job("c")) == [[0.5, 0.5], [0.5]]
    (mine,) = set(nurseries()) - before
    for child in mine.children():
        child.kill()
    assert values(pool, job("a", "b"), job("c")) == [[0.5, 0.5], [0.5]]
    mine.kill()
    assert values(pool, job("a", "b"), job("c"), job("raise", "d")) == [[0.5, 0.5], [0.5], [None, 0.5]]
    pool.close()


def test_losing_the_nursery_at_work_loses_no_verdict() -> None:
    before = set(nurseries())
    pool = Pool(MODULES, 1, NAMES)
    values(pool, job("a"))
    (mine,) = set(nurseries()) - before
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({mine.pid}, 9)"])
    found = pool.run([job("a", "sleep", "b", limit=0.4)])
    killer.wait()
    assert [outcome.verdict.value for outcome in found[0]] == [0.5, None, 0.5]
    assert found[0][1].verdict.reason.startswith("time limit")
    pool.close()


OWNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have it ignored
sys.path[:0] = {path!r}
from hizala.engines.reward.pool import Pool
from test_pool import job, MODULES, NAMES
pool = Pool(MODULES, 2, NAMES)
pool.run([job("a"), job("b")])
print("ready", flush=True)
pool.run([job("spin", limit=600.0), job("sleep", limit=600.0)])
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_owner_however_it_ends(how: signal.Signals) -> None:
    path = [str(Path(__file__).parent), *sys.path]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(path=path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    every = psutil.Process(owner.pid).children(recursive=True)
    assert len(every) == 3
    os.kill(owner.pid, how)
    owner.wait(20)
    owner.stdout.close()
    assert gone(every)


def test_modules_that_cannot_be_imported_are_said_at_once() -> None:
    with pytest.raises(RewardError, match="No module named 'no_such_module'"):
        Pool(["no_such_module"], 1).run([job("a")])
    with pytest.raises(RewardError, match="unknown reward 'test_hostil', did you mean 'test_hostile'"):
        Pool(MODULES, 1, ["test_hostil"]).run([job("a")])


def test_workers_hold_no_torch() -> None:
    code = "import hizala.engines.reward.known, hizala.engines.reward.worker, sys; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
