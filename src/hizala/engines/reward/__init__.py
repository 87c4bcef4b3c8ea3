"""Ring 2: scoring. Reward models of every kind behind one call: groups in tokens in, scores of their responses out."""

from hizala.engines.reward.ensemble import Ensemble
from hizala.engines.reward.gating import Gate, Gated
from hizala.engines.reward.process import Process, stepped
from hizala.engines.reward.scorers import Classifier, Implicit, Outputs, Scorer

__all__ = ["Classifier", "Ensemble", "Gate", "Gated", "Implicit", "Outputs", "Process", "Scorer", "stepped"]
