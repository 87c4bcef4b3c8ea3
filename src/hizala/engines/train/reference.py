"""A live reference: a second policy that stands still, or follows the one that is trained."""

from __future__ import annotations

import torch

from hizala.engines.train.settings import Settings
from hizala.engines.train.sharded import is_sharded_tensor
from hizala.errors import TrainError
from hizala.protocols import Policy


class Reference:
    """The reference policy of a training run, held in memory beside it.

    ref <- mix * policy + (1 - mix) * ref, every `sync_every` steps

    Args:
        policy: whole on every process; its parameters are frozen here.
        settings: `sync_every` (None: it stands still) and `sync_mix`.
    Source: Gorbatovski et al. 2024, arXiv:2404.09656, eq. 4 (soft update, mix < 1) and eq. 5 (hard update, mix = 1).
    """

    def __init__(self, policy: Policy, settings: Settings) -> None:
        self.policy = policy
        self._every, self._mix = settings.sync_every, settings.sync_mix
        policy.module.requires_grad_(False)
        policy.module.eval()

    @property
    def moves(self) -> bool:
        """Whether it follows the policy."""
        return self._every is not None

    @torch.no_grad()
    def follow(self, policy: Policy, steps: int) -> None:
        """Move towards the policy, where a synchronisation is due after `steps` steps.

        Raises:
            TrainError: the two have different parameters (adapters).
        """
        if self._every is None or steps % self._every:
            return
        mine, other = dict(self.policy.module.named_parameters()), dict(policy.module.named_parameters())
        if mine.keys() != other.keys():
            raise TrainError("a reference cannot follow a policy with other parameters", fix="train without lora")
        for name, parameter in mine.items():
            value = other[name]
            parameter.lerp_(value.full_tensor() if is_sharded_tensor(value) else value, self._mix)
