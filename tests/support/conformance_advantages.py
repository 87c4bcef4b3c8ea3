"""Entries of the advantages: on the same rewards, what each installed peer makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import peers_source as source
import torch
from torch import Tensor

from hizala.core import advantages as _registered  # noqa: F401  importing registers every advantage
from hizala.registry import advantages

SIZE = 4  # members of a group, for peers that know only groups of one size


@dataclass(frozen=True)
class Batch:
    """R responses of N tokens in all: rewards, groups, lengths, and per token rewards, values and the critic's."""

    rewards: Tensor
    groups: Tensor
    count: Tensor
    token_rewards: Tensor
    values: Tensor
    greedy: Tensor

    @property
    def segments(self) -> Tensor:
        """(N,) response of each token."""
        return torch.repeat_interleave(torch.arange(len(self.count)), self.count)

    def padded(self, column: Tensor) -> Tensor:
        """(R, longest) values of a column of tokens, 0 behind the end."""
        return torch.nn.utils.rnn.pad_sequence(list(torch.split(column, self.count.tolist())), batch_first=True)

    def mask(self) -> Tensor:
        """(R, longest) 1 where a token was sampled."""
        return self.padded(torch.ones(len(self.segments), dtype=torch.float64))

    def outcome(self) -> Tensor:
        """(R, longest) each response's reward on its last token."""
        column = torch.zeros(len(self.segments), dtype=torch.float64)
        column[self.count.cumsum(0) - 1] = self.rewards
        return self.padded(column)

    def flat(self, table: Tensor) -> Tensor:
        """(N,) the tokens of a padded table."""
        return table[self.mask() > 0]

    def ours(self, name: str, **params: Any) -> Tensor:
        """Our advantages."""
        entry = advantages.get(name)
        found = entry.fn(*(getattr(self, given) for given in entry.inputs), **params)
        values: Tensor = found if entry.unit == "response" else found[0]
        return values


def graded(seed: int = 0) -> Batch:
    """Five groups of four, one of them all alike, every response with tokens."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(1, 7, (5 * SIZE,), generator=generator)
    rewards = torch.randn(5 * SIZE, generator=generator, dtype=torch.float64).round(decimals=2)
    rewards[SIZE : 2 * SIZE] = 0.5
    per_token = torch.randn(2, int(count.sum()), generator=generator, dtype=torch.float64)
    greedy = torch.randn(5, generator=generator, dtype=torch.float64).repeat_interleave(SIZE)
    return Batch(rewards, torch.arange(5).repeat_interleave(SIZE), count, per_token[0], per_token[1], greedy)


def right_or_wrong() -> Batch:
    """The same with rewards of 1 and 0: one winner of four in the first group, none in the second."""
    made = graded(1)
    rewards = (made.rewards > 0.3).double()
    rewards[: 2 * SIZE] = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])
    return Batch(rewards, made.groups, made.count, made.token_rewards, made.values, made.greedy)


def unscored() -> Batch:
    """Rewards of which some are not known; a group with one known is among them."""
    made = graded(2)
    rewards = made.rewards.clone()
    rewards[[1, 12, 13, 14]] = torch.nan
    return Batch(rewards, made.groups, made.count, made.token_rewards, made.values, made.greedy)


def alone() -> Batch:
    """Groups of one."""
    made = graded(3)
    every = torch.arange(len(made.rewards))
    return Batch(made.rewards, every, made.count, made.token_rewards, made.values, made.greedy)


@dataclass(frozen=True)
class AdvantagePeer:
    """One peer's advantage and how it stands to ours; fields as those of `conformance.Peer`."""

    name: str
    package: str
    theirs: Callable[[Batch], Tensor]
    params: Mapping[str, Any] = field(default_factory=dict)
    claim: Callable[[Batch], Tensor] | None = None
    reason: str = ""
    batch: Callable[[], Batch] = graded
    tolerance: float = 1e-7  # TRL corrects deviations in float32; verl has float32 constants and adds 1e-8 to counts


def size_of(found: Tensor) -> float:
    """Root mean square over what is known: the number shown of an advantage."""
    known = found[~found.isnan()]
    return float(known.square().mean().sqrt())


def trl_grpo(batch: Batch, scale: str = "group") -> Tensor:
    """The statements of TRL's GRPOTrainer from rewards to advantages; unscored ones are 0."""
    from trl.trainer.utils import nanstd

    trainer = SimpleNamespace(
        multi_objective_aggregation="sum_then_normalize", reward_weights=torch.ones(1), scale_rewards=scale
    )
    names = {"self": trainer, "rewards_per_func": batch.rewards[:, None], "num_generations": SIZE, "nanstd": nanstd}
    return _trl("trainer/grpo_trainer.py", "GRPOTrainer", names)


def trl_rloo(batch: Batch) -> Tensor:
    """The statements of TRL's RLOOTrainer from rewards to advantages; unscored ones are 0."""
    from trl.trainer.utils import nanstd

    trainer = SimpleNamespace(
        reward_weights=torch.ones(1), reward_clip_range=None, beta=0.0, num_generations=SIZE, normalize_advantages=False
    )
    names = {"self": trainer, "rewards_per_func": batch.rewards[:, None], "num_generations": SIZE, "nanstd": nanstd}
    return _trl("trainer/rloo_trainer.py", "RLOOTrainer", names)


def _trl(path: str, trainer: str, names: dict[str, Any]) -> Tensor:
    names |= {"torch": torch, "device": torch.device("cpu")}
    method = f"{trainer}._generate_and_score_completions"
    source.block("trl", path, method, "unscorable_mask = ", "advantages = torch.nan_to_num", names)
    found: Tensor = names["advantages"]
    return found


def verl(name: str, batch: Batch, **settings: Any) -> Tensor:
    """verl's outcome advantage of that name, one a response."""
    function = getattr(source.verl(), f"compute_{name}_outcome_advantage")
    table: Tensor = function(batch.outcome(), batch.mask(), index=batch.groups.numpy(), **settings)[0]
    return table[:, 0]


def verl_remax(batch: Batch) -> Tensor:
    """verl's ReMax, at the first token of each response."""
    table: Tensor = source.verl().compute_remax_outcome_advantage(batch.outcome(), batch.greedy, batch.mask())[0]
    return table[:, 0]


def verl_gae(batch: Batch, gamma: float, lam: float) -> Tensor:
    """verl's whitened advantages of all tokens."""
    columns = (batch.padded(batch.token_rewards), batch.padded(batch.values), batch.mask())
    return batch.flat(source.verl().compute_gae_advantage_return(*columns, gamma, lam)[0])


def verl_to_go(batch: Batch, gamma: float) -> Tensor:
    """verl's REINFORCE++."""
    function, config = source.verl().compute_reinforce_plus_plus_outcome_advantage, SimpleNamespace(gamma=gamma)
    return batch.flat(function(batch.padded(batch.token_rewards), batch.mask(), config=config)[0])


def openrlhf_group(batch: Batch, estimator: str) -> Tensor:
    """OpenRLHF's statements that subtract a group's baseline."""
    algorithm = SimpleNamespace(advantage=SimpleNamespace(estimator=estimator))
    arguments = SimpleNamespace(algo=algorithm, rollout=SimpleNamespace(n_samples_per_prompt=SIZE))
    names: dict[str, Any] = {"args": arguments, "rewards": batch.rewards.reshape(-1, SIZE), "torch": torch}
    begins = "if args.algo.advantage.estimator == 'rloo'"
    _openrlhf(begins, begins, names)
    found: Tensor = names["rewards"]
    return found.reshape(-1)


def openrlhf_to_go(batch: Batch, gamma: float) -> Tensor:
    """OpenRLHF's reward to come of all tokens."""
    returns = source.openrlhf().get_cumulative_returns(None, batch.padded(batch.token_rewards), batch.mask(), gamma)
    return batch.flat(returns)


def openrlhf_outcome(batch: Batch) -> Tensor:
    """OpenRLHF's reward to come at the first token: what its plain REINFORCE weighs a response by."""
    found: Tensor = source.openrlhf().get_cumulative_returns(None, batch.outcome(), batch.mask(), 1.0)
    return found[:, 0]


def openrlhf_gae(batch: Batch, gamma: float, lam: float) -> Tensor:
    """OpenRLHF's advantages of all tokens, before it whitens them."""
    columns = (batch.padded(batch.values), batch.padded(batch.token_rewards), batch.mask())
    return batch.flat(source.openrlhf().get_advantages_and_returns(None, *columns, gamma, lam)[0])


def openrlhf_whitened(batch: Batch, of: Tensor) -> Tensor:
    """OpenRLHF's statements that bring all tokens to mean 0 and deviation 1 (float32)."""
    experience = SimpleNamespace(advantages=batch.padded(of), action_mask=batch.mask())
    advantage = SimpleNamespace(estimator="reinforce", no_std_norm=False)
    names = {"args": SimpleNamespace(algo=SimpleNamespace(advantage=advantage)), "experiences": [experience]}
    _openrlhf("all_advantages = ", "for exp in experiences", names | {"torch": torch})
    return batch.flat(experience.advantages)


def _openrlhf(first: str, last: str, names: dict[str, Any]) -> None:
    method = "RemoteExperienceMaker.compute_advantages_and_returns"
    source.block("openrlhf", "trainer/ppo_utils/experience_maker.py", method, first, last, names)


def zeroed(name: str, **params: Any) -> Callable[[Batch], Tensor]:
    """Ours with 0 where a response was not scored, as TRL has it."""
    return lambda batch: batch.ours(name, **params).nan_to_num()


def population(found: Tensor) -> Tensor:
    """To mean 0 and deviation 1, the deviation with divisor N."""
    values = found.numpy()
    return torch.from_numpy((values - values.mean()) / values.std())


def by_tokens(found: Tensor, batch: Batch) -> Tensor:
    """A response's value at each of its tokens."""
    return found[batch.segments]


def nonzero_only(batch: Batch) -> Tensor:
    """verl's GPG: it makes up for rewards of 0, not for groups that say nothing."""
    values, groups = batch.rewards.numpy(), batch.groups.numpy()
    centred = values - np.array([values[groups == g].mean() for g in groups])
    return torch.from_numpy(len(values) / np.count_nonzero(values) * centred)


def raw(batch: Batch) -> Tensor:
    """The reward itself."""
    return batch.rewards


RAW = "verl leaves a group of one its raw reward; ours is 0, for one response says nothing"

ADVANTAGES: dict[str, tuple[AdvantagePeer, ...]] = {
    "grpo": (
        AdvantagePeer("TRL GRPO, scale_rewards group", "trl", trl_grpo),
        AdvantagePeer("TRL GRPO, scale_rewards batch", "trl", partial(trl_grpo, scale="batch"), {"deviation": "batch"}),
        AdvantagePeer("TRL GRPO, one winner of four", "trl", trl_grpo, batch=right_or_wrong),
        AdvantagePeer(
            "TRL GRPO, some not scored",
            "trl",
            trl_grpo,
            {},
            zeroed("grpo"),
            "TRL trains on the unscored with advantage 0, so they count in the mean over tokens; ours is not a number, "
            "and the response is left out",
            unscored,
        ),
        AdvantagePeer("verl grpo", "verl", partial(verl, "grpo"), {"epsilon": 1e-6}),
        AdvantagePeer(
            "verl grpo, groups of one", "verl", partial(verl, "grpo"), {}, lambda b: b.rewards / (1 + 1e-6), RAW, alone
        ),
        AdvantagePeer(
            "OpenRLHF group_norm", "openrlhf", partial(openrlhf_group, estimator="group_norm"), {"epsilon": 1e-9}
        ),
    ),
    "dr_grpo": (
        AdvantagePeer("TRL GRPO, scale_rewards none", "trl", partial(trl_grpo, scale="none")),
        AdvantagePeer("verl grpo without deviation", "verl", partial(verl, "grpo", norm_adv_by_std_in_grpo=False)),
        AdvantagePeer(
            "verl grpo without deviation, groups of one",
            "verl",
            partial(verl, "grpo", norm_adv_by_std_in_grpo=False),
            {},
            raw,
            RAW,
            alone,
        ),
        AdvantagePeer("OpenRLHF dr_grpo", "openrlhf", partial(openrlhf_group, estimator="dr_grpo")),
    ),
    "rloo": (
        AdvantagePeer("TRL RLOO", "trl", trl_rloo),
        AdvantagePeer("verl rloo", "verl", partial(verl, "rloo")),
        AdvantagePeer("verl rloo, groups of one", "verl", partial(verl, "rloo"), {}, raw, RAW, alone),
        AdvantagePeer("OpenRLHF rloo", "openrlhf", partial(openrlhf_group, estimator="rloo")),
    ),
    "remax": (AdvantagePeer("verl remax", "verl", verl_remax),),
    "reinforce": (AdvantagePeer("OpenRLHF cumulative returns", "openrlhf", openrlhf_outcome, tolerance=1e-6),),
    "gpg": (
        AdvantagePeer(
            "verl gpg",
            "verl",
            partial(verl, "gpg"),
            {},
            nonzero_only,
            "verl makes up for rewards of 0; the paper, and ours, for groups whose rewards are all the same",
            right_or_wrong,
        ),
    ),
    "maxrl": (
        AdvantagePeer(
            "TRL GRPO, scale_rewards none",
            "trl",
            partial(trl_grpo, scale="none"),
            {},
            lambda b: b.ours("dr_grpo"),
            "TRL does not divide by the mean",
            right_or_wrong,
        ),
    ),
    "reinforce_pp": (
        AdvantagePeer("verl reinforce_plus_plus", "verl", partial(verl_to_go, gamma=1.0)),
        AdvantagePeer("verl reinforce_plus_plus, gamma 0.9", "verl", partial(verl_to_go, gamma=0.9), {"gamma": 0.9}),
        AdvantagePeer(
            "OpenRLHF reinforce (float32)",
            "openrlhf",
            lambda b: openrlhf_whitened(b, openrlhf_to_go(b, 1.0)),
            {},
            lambda b: population(openrlhf_to_go(b, 1.0)),
            "OpenRLHF's deviation has divisor N, ours N - 1",
            tolerance=1e-5,
        ),
    ),
    "reinforce_pp_baseline": (
        AdvantagePeer("verl reinforce_plus_plus_baseline", "verl", partial(verl, "reinforce_plus_plus_baseline")),
        AdvantagePeer(
            "OpenRLHF reinforce_baseline (float32)",
            "openrlhf",
            lambda b: openrlhf_whitened(b, by_tokens(openrlhf_group(b, "reinforce_baseline"), b))[
                b.count.cumsum(0) - 1
            ],
            {},
            lambda b: population(by_tokens(b.ours("dr_grpo"), b))[b.count.cumsum(0) - 1],
            "OpenRLHF's deviation has divisor N, ours N - 1",
            tolerance=1e-5,
        ),
    ),
    "gae": (
        AdvantagePeer("verl gae", "verl", partial(verl_gae, gamma=1.0, lam=0.95)),
        AdvantagePeer(
            "verl gae, gamma 0.9, lam 0.5", "verl", partial(verl_gae, gamma=0.9, lam=0.5), {"gamma": 0.9, "lam": 0.5}
        ),
        AdvantagePeer(
            "OpenRLHF gae before whitening", "openrlhf", partial(openrlhf_gae, gamma=1.0, lam=0.95), {"whiten": False}
        ),
    ),
}


def far(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference; infinite where one is not a number and the other is."""
    if not ours.isnan().equal(theirs.isnan()):
        return math.inf
    return float((ours - theirs).nan_to_num().abs().max())
