"""The four trackers, each a thin cover of its own library, imported only when a run asks for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from hizala.engines.track.trackers import Target, tracker


@tracker("tensorboard", module="tensorboard", install="pip install tensorboard")
class TensorBoard:
    """TensorBoard event files under RUN/tensorboard, written without importing torch or TensorFlow."""

    def __init__(self, target: Target) -> None:
        from tensorboard.summary import Writer

        self._writer = Writer(str(target.run_dir / "tensorboard"))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One row; flushed, so that the curves stand on disk when the process is killed."""
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


@tracker("wandb", module="wandb", install="pip install wandb")
class WandB:
    """Weights & Biases; login, entity and offline mode come from its own environment variables."""

    def __init__(self, target: Target) -> None:
        import wandb

        self._run = wandb.init(
            project=target.project,
            name=target.name,
            config=dict(target.config),
            dir=str(target.run_dir),
            reinit="create_new",
        )
        # A continued run repeats the steps since its checkpoint; W&B's own counter refuses to go back, an axis may.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One row, with the step as its own column."""
        self._run.log({**metrics, "step": step})

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


@tracker("mlflow", module="mlflow", install="pip install mlflow")
class MLflow:
    """MLflow; where it writes comes from MLFLOW_TRACKING_URI or MLflow's own default."""

    def __init__(self, target: Target) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(target.project)
        identifier = experiment.experiment_id if experiment else self._client.create_experiment(target.project)
        self._run = self._client.create_run(identifier, run_name=target.name).info.run_id
        for key, value in _flat(target.config):
            self._client.log_param(self._run, key, str(value)[:500])

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One row in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])

    def close(self) -> None:
        """Mark the MLflow run finished."""
        self._client.set_terminated(self._run)


@tracker("trackio", module="trackio", install="pip install trackio")
class Trackio:
    """trackio; local by default, a Hugging Face Space when TRACKIO_SPACE_ID is set."""

    def __init__(self, target: Target) -> None:
        import trackio

        self._library = trackio
        with _quiet_stdout():
            self._run = trackio.init(
                project=target.project,
                name=target.name,
                config=dict(target.config),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One row."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Flush and finish the trackio run."""
        with _quiet_stdout():
            self._library.finish()  # the library's own: finishing the run alone leaves its exit hook to do it again


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """What a library prints goes to stderr: stdout belongs to the verb, which may be writing JSON."""
    with redirect_stdout(sys.stderr):
        yield


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value
