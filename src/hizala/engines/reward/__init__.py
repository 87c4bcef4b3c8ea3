"""Ring 2: scoring. Reward models of every kind behind one call: groups in tokens in, scores of their responses out."""

from hizala.engines.reward.ensemble import Ensemble
from hizala.engines.reward.process import Process, stepped
from hizala.engines.reward.scorers import Classifier, Implicit, Scorer

__all__ = ["Classifier", "Ensemble", "Implicit", "Process", "Scorer", "stepped"]
