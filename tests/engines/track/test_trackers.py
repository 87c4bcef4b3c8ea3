"""Live trackers: the four libraries, refusals before the run, and failures that never stop one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hizala.engines.track import Target, Trackers, TrackerSpec, check, scalars, trackers
from hizala.errors import ConfigError


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(tmp_path, "project", "quickstart", {"seed": 7, "stages": {"dpo": {"beta": 0.1}}})


class Failing:
    """A tracker that raises on the steps it is told to, or on closing."""

    def __init__(self, bad: set[int], close_fails: bool = False) -> None:
        self.bad, self.close_fails, self.seen = bad, close_fails, []

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        if step in self.bad:
            raise ConnectionError(f"no route\nat step {step}")
        self.seen.append(step)

    def close(self) -> None:
        if self.close_fails:
            raise OSError("disk full")


@pytest.fixture
def failing(request):
    """Registers a tracker for one test and takes it out again."""

    def put(name: str, one: object) -> None:
        def start(_: Target) -> object:
            if isinstance(one, Exception):
                raise one
            return one

        trackers.add(name, TrackerSpec(name, "for a test", "json", "", start))
        request.addfinalizer(lambda: trackers._entries.pop(name))

    return put


def test_the_four_trackers_are_registered_with_a_summary_and_an_install_command():
    assert set(trackers.names()) >= {"tensorboard", "wandb", "mlflow", "trackio"}
    for spec in trackers:
        assert spec.summary
        assert spec.install.startswith("pip install ")


def test_tensorboard_values_are_on_disk_before_closing_and_read_back_equal(target):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    many = Trackers(["tensorboard"], target)
    for step, value in enumerate([0.5, 0.25, float("nan")]):
        many.log({"train/dpo/loss": value, "train/dpo/margin": -value}, step)
    events = EventAccumulator(str(target.run_dir / "tensorboard"))
    events.Reload()
    rows = events.Tensors("train/dpo/loss")
    assert [r.step for r in rows] == [0, 1, 2]
    values = [float(tensor_util.make_ndarray(r.tensor_proto)) for r in rows]
    assert values[:2] == [0.5, 0.25]
    assert values[2] != values[2]
    many.close()
    assert many.findings == ()


def test_importing_the_trackers_or_writing_tensorboard_files_imports_neither_torch_nor_another_library(tmp_path):
    code = (
        "import sys, pathlib, json; from hizala.engines.track import Target, Trackers;"
        "before = sorted({'tensorboard', 'wandb', 'mlflow', 'trackio', 'torch'} & set(sys.modules));"
        f"t = Trackers(['tensorboard'], Target(pathlib.Path({str(tmp_path)!r}), 'p', 'n')); t.log({{'a': 1.0}}, 1);"
        "t.close(); print(json.dumps([before, sorted({'wandb', 'mlflow', 'trackio', 'torch'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], []]


def test_an_unknown_tracker_is_refused_with_the_nearest_name(target):
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        Trackers(["tensorbord"], target)


def test_a_tracker_named_twice_is_refused():
    with pytest.raises(ConfigError, match="named twice"):
        check(["tensorboard", "tensorboard"])


def test_a_missing_library_is_refused_with_the_command_that_installs_it_and_nothing_is_written(request, target):
    trackers.add("absent", TrackerSpec("absent", "", "no_such_package_at_all", "pip install absent", Failing))
    request.addfinalizer(lambda: trackers._entries.pop("absent"))
    with pytest.raises(ConfigError, match="no_such_package_at_all") as caught:
        Trackers(["tensorboard", "absent"], target)
    assert "pip install absent" in caught.value.fix
    assert list(target.run_dir.iterdir()) == []


def test_a_tracker_that_cannot_start_is_one_finding_and_the_others_go_on(failing, target):
    other = Failing(set())
    failing("dead", RuntimeError("no key"))
    failing("live", other)
    with Trackers(["dead", "live"], target) as many:
        many.log({"a": 1.0}, 5)
    assert other.seen == [5]
    (finding,) = many.findings
    assert finding.severity == "warning"
    assert "dead: could not start: RuntimeError: no key" in finding.message


def test_failures_are_counted_in_one_finding_and_the_tracker_goes_on_when_it_recovers(failing, target):
    one = Failing({2, 3, 5})
    failing("flaky", one)
    many = Trackers(["flaky"], target)
    for step in range(8):
        many.log({"a": 1.0}, step)
    (finding,) = many.findings
    assert one.seen == [0, 1, 4, 6, 7]
    assert finding.count == 3
    assert finding.message == "flaky: step 2: ConnectionError: no route at step 2"
    assert many.active == ("flaky",)


def test_three_failures_running_drop_a_tracker(failing, target):
    one = Failing({1, 2, 3})
    failing("flaky", one)
    many = Trackers(["flaky"], target)
    for step in range(6):
        many.log({"a": 1.0}, step)
    assert one.seen == [0]
    assert many.active == ()
    assert "not written to any more" in many.findings[0].message


def test_a_failure_on_closing_is_a_finding_and_closing_twice_is_safe(failing, target):
    failing("bad", Failing(set(), close_fails=True))
    many = Trackers(["bad"], target)
    many.close()
    many.close()
    assert many.findings[0].message == "bad: on closing: OSError: disk full"


def test_a_metrics_row_gives_prefixed_numbers_with_bounds_and_its_step():
    row = {"step": 4, "split": "eval", "dpo/loss": 0.5, "acc": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 9}}
    row |= {"note": "text", "flag": True, "nothing": None}
    assert scalars(row) == (
        {"eval/dpo/loss": 0.5, "eval/acc": 0.7, "eval/acc_low": 0.6, "eval/acc_high": 0.8},
        4,
    )


def test_wandb_offline_run_is_written_below_the_run_directory_and_steps_may_go_back(target, monkeypatch):
    pytest.importorskip("wandb", reason="optional tracker library")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with Trackers(["wandb"], target) as many:
        many.log({"train/loss": 0.5}, 10)
        many.log({"train/loss": 0.4}, 8)
    assert many.findings == ()
    assert list((target.run_dir / "wandb").glob("offline-run-*/*.wandb"))


def test_mlflow_metrics_and_parameters_read_back_equal(target, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="optional tracker library")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (target.run_dir / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with Trackers(["mlflow"], target) as many:
        many.log({"train/loss": 0.5}, 1)
        many.log({"train/loss": 0.25}, 2)
    assert many.findings == ()
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("project").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.25)]
    assert run.data.params == {"seed": "7", "stages.dpo.beta": "0.1"}
    assert run.info.status == "FINISHED"


def test_trackio_metrics_read_back_equal_and_stdout_stays_clean(tmp_path):
    pytest.importorskip("trackio", reason="optional tracker library")
    code = (
        "import pathlib, sys, json; from hizala.engines.track import Target, Trackers;"
        f"t = Trackers(['trackio'], Target(pathlib.Path({str(tmp_path)!r}), 'project', 'quickstart', {{'seed': 7}}));"
        "t.log({'train/loss': 0.5}, 1); t.log({'train/loss': 0.25}, 2); t.close();"
        "assert not t.findings, t.findings;"
        "from trackio.sqlite_storage import SQLiteStorage as S;"
        "print(json.dumps([[r['step'], r['train/loss']] for r in S.get_logs('project', 'quickstart')]))"
    )
    env = {"TRACKIO_DIR": str(tmp_path / "trackio"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, 0.5], [2, 0.25]]
