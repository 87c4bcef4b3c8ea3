"""Ring 2: devices. One step that measures, calls the losses, reduces once and steps; and its checkpoints."""

from hizala.engines.train.measuring import measure, measure_all
from hizala.engines.train.metrics_log import MetricsLog
from hizala.engines.train.objective import Objective
from hizala.engines.train.settings import Settings
from hizala.engines.train.step import Engine, StepReport
from hizala.engines.train.world import World, join, leave

__all__ = [
    "Engine",
    "MetricsLog",
    "Objective",
    "Settings",
    "StepReport",
    "World",
    "join",
    "leave",
    "measure",
    "measure_all",
]
