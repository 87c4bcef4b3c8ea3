"""Model weights: load, forest forward, heads, adapters."""

from hizala.engines.policy.check import check_directory, reward_head
from hizala.engines.policy.forest import Forest, pack
from hizala.engines.policy.loading import load, random_init
from hizala.engines.policy.policy import Policy

__all__ = ["Forest", "Policy", "check_directory", "load", "pack", "random_init", "reward_head"]
