"""What is sampled from while the policy is trained."""

from __future__ import annotations

import copy

import torch

from hizala.engines.policy import Policy


class Itself:
    """The policy itself: sampling and training take turns.

    Args:
        policy: that is trained.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def take(self) -> Policy:
        """The policy, its weights as they stand."""
        return self.policy


class Behind:
    """A copy of the policy that stands still while the policy is trained.

    Args:
        policy: that is trained.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.copy = copy.deepcopy(policy)
        self.copy.module.requires_grad_(False)
        self.copy.module.eval()

    @torch.no_grad()
    def take(self) -> Policy:
        """The copy, with the policy's weights as they stand; no one may be sampling from it."""
        held = dict(self.copy.module.named_parameters())
        for name, parameter in self.policy.module.named_parameters():
            held[name].copy_(parameter)
        return self.copy
