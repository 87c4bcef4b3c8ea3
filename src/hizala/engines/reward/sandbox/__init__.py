"""Programs that nobody vouches for: run in confinement, judged outside it."""

from hizala.engines.reward.sandbox.sandbox import Sandbox
from hizala.engines.reward.sandbox.spec import Language, Limits, Outcome, languages

__all__ = ["Language", "Limits", "Outcome", "Sandbox", "languages"]
