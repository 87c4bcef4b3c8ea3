"""Rejection sampling: the policy answers, the best answers are kept, and a model learns from them."""

from hizala.pipelines.rejection.settings import RejectionSettings
from hizala.registry import StageSpec, stages

NAME = "rejection_sampling"
SUMMARY = "rejection sampling: keep the best of K responses to each prompt and fine-tune on them"


def register() -> None:
    """Make the stage known to recipes. Harmless when repeated."""
    if NAME not in stages:
        stages.add(NAME, StageSpec(NAME, RejectionSettings, "hizala.pipelines.rejection.flow:train", SUMMARY))
