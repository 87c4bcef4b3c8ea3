"""Stages that make their own preferences: the policy answers, something judges, and the pairs train it."""

from hizala.pipelines.generated.settings import (
    OnlineDpoSettings,
    SelfDiscoveredSettings,
    SelfRewardingSettings,
    SpinSettings,
)
from hizala.registry import StageSpec, stages

_RUN = "hizala.pipelines.generated.flows:"
SPECS = (
    StageSpec(
        "online_dpo",
        OnlineDpoSettings,
        _RUN + "online_dpo",
        "online DPO: sample from the policy, let a judge choose, train on its choice, every step",
    ),
    StageSpec(
        "self_rewarding",
        SelfRewardingSettings,
        _RUN + "self_rewarding",
        "self-rewarding: the policy judges its own responses and trains on its verdicts, iteration by iteration",
    ),
    StageSpec(
        "spin", SpinSettings, _RUN + "spin", "SPIN: demonstrations are preferred to what the policy says instead"
    ),
    StageSpec(
        "self_discovered",
        SelfDiscoveredSettings,
        _RUN + "self_discovered",
        "self-discovered preferences: the policy's own vote and implicit reward, under a held-out check",
    ),
)


def register() -> None:
    """Make the stages known to recipes. Harmless when repeated."""
    for spec in SPECS:
        if spec.name not in stages:
            stages.add(spec.name, spec)
