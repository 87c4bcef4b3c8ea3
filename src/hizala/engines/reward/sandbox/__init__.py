"""Programs that nobody vouches for: run in confinement, judged outside it."""

from hizala.engines.reward.sandbox.cases import Call, Case, Code, Streams, read_cases
from hizala.engines.reward.sandbox.judge import Judge, Result
from hizala.engines.reward.sandbox.sandbox import Sandbox
from hizala.engines.reward.sandbox.spec import Language, Limits, Outcome, languages

__all__ = [
    "Call",
    "Case",
    "Code",
    "Judge",
    "Language",
    "Limits",
    "Outcome",
    "Result",
    "Sandbox",
    "Streams",
    "languages",
    "read_cases",
]
