"""Stages that make their own preferences: the policy answers, something judges, and the pairs train it."""

from hizala.pipelines.generated.settings import OnlineDpoSettings
from hizala.registry import StageSpec, stages

SPECS = (
    StageSpec(
        "online_dpo",
        OnlineDpoSettings,
        "hizala.pipelines.generated.stages:online_dpo",
        "online DPO: sample from the policy, let a judge choose, train on its choice, every step",
    ),
)


def register() -> None:
    """Make the stages known to recipes. Harmless when repeated."""
    for spec in SPECS:
        if spec.name not in stages:
            stages.add(spec.name, spec)
