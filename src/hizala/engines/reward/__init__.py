"""Ring 2: scoring. Reward models of every kind, rules, code, judges, and what composes them.

The names below are imported when they are first used: rules and their worker processes need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hizala.engines.reward.ensemble import Ensemble
    from hizala.engines.reward.gating import Gate, Gated
    from hizala.engines.reward.process import Process, stepped
    from hizala.engines.reward.scorers import Classifier, Implicit, Outputs, Scorer

__all__ = ["Classifier", "Ensemble", "Gate", "Gated", "Implicit", "Outputs", "Process", "Scorer", "stepped"]

_HOMES = {
    "Ensemble": "ensemble",
    "Gate": "gating",
    "Gated": "gating",
    "Process": "process",
    "stepped": "process",
    "Classifier": "scorers",
    "Implicit": "scorers",
    "Outputs": "scorers",
    "Scorer": "scorers",
}


def __getattr__(name: str) -> Any:
    """One of the names above, from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
