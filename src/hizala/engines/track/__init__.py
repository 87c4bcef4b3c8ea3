"""Live metrics: TensorBoard, Weights & Biases, MLflow and trackio, each through its own library."""

from hizala.engines.track import libraries as _libraries  # registers the four
from hizala.engines.track.trackers import Target, Trackers, TrackerSpec, check, scalars, tracker, trackers

__all__ = ["Target", "TrackerSpec", "Trackers", "check", "scalars", "tracker", "trackers"]
del _libraries
