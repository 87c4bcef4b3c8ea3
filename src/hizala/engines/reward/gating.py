"""A gate over attributes: which qualities count for this prompt, learned from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from hizala.engines.reward.scorers import Outputs, by_group
from hizala.errors import DataError, ModelError
from hizala.protocols import Policy
from hizala.records import TokenBranch, TokenGroup

Array = NDArray[np.float64]
FILE = "gate.safetensors"


@dataclass(frozen=True, slots=True)
class Gate:
    """From a prompt's last hidden state to shares of A attributes that add up to one.

    g(x) = softmax(W z + b),  z = (h(x) - state_mean) / state_std
    r(x, y) = scale * sum_a g_a(x) * (s_a(x, y) - score_mean_a) / score_std_a

    Attributes:
        weight, bias: W (A, H) and b (A,).
        state_mean, state_std: (H,) of the prompts it was fitted on.
        score_mean, score_std: (A,) of the attributes' scores there.
        scale: () log-odds of a preference for one unit of the mixed score.
    """

    weight: Tensor
    bias: Tensor
    state_mean: Tensor
    state_std: Tensor
    score_mean: Tensor
    score_std: Tensor
    scale: Tensor

    def shares(self, states: Array) -> Array:
        """(G, A) shares of the attributes for (G, H) states, each row adding up to 1."""
        z = (torch.from_numpy(states) - self.state_mean) / self.state_std
        shares: Array = torch.softmax(z @ self.weight.T + self.bias, dim=-1).numpy()
        return shares

    def mixed(self, shares: Array, scores: Array) -> Array:
        """(R,) scores of (R, A) attribute scores under one prompt's (A,) shares."""
        units = (scores - self.score_mean.numpy()) / self.score_std.numpy()
        mixed: Array = float(self.scale) * (units @ shares)
        return mixed

    def save(self, directory: Path) -> None:
        """Write it beside the reward model whose attributes it mixes."""
        save_file({f.name: getattr(self, f.name).contiguous() for f in fields(self)}, directory / FILE)

    @classmethod
    def load(cls, directory: Path) -> Gate:
        """Read it back. Raises ModelError when it lacks or is damaged."""
        try:
            return cls(**load_file(directory / FILE))
        except (SafetensorError, OSError, TypeError) as error:
            raise ModelError(f"the gate cannot be read: {error}", where=str(directory / FILE)) from error


def fit(states: Array, scores: Array, *, decay: float = 0.01, iterations: int = 200) -> Gate:
    """The gate under which pairs are likeliest; the attributes and the model beneath stay as they are.

    loss = mean_p -log sigmoid(r(x, chosen) - r(x, rejected)) + decay * |W|^2

    Args:
        states: (P, H) last hidden state of each pair's prompt.
        scores: (P, 2, A) attribute scores, chosen first.
        decay: >= 0, pulls the gate towards shares that are the same for every prompt.
        iterations: at most this many of L-BFGS, from equal shares: nothing is drawn.
    Raises:
        DataError: no pair, or values that are not finite.
    Source: Wang et al. 2024, arXiv:2406.12845 (ArmoRM), sec. 3, stage two.
    Differs: ArmoRM's gate has three hidden layers and its attributes are first made independent of length; here it is
        linear and takes standardised attributes as they are.
    """
    if not len(scores) or not (np.isfinite(states).all() and np.isfinite(scores).all()):
        raise DataError("a gate is fitted on scored pairs, and there are none, or some without a score")
    z, s = torch.from_numpy(states), torch.from_numpy(scores)
    moments = {
        "state_mean": z.mean(0),
        "state_std": _spread(z),
        "score_mean": s.flatten(0, 1).mean(0),
        "score_std": _spread(s.flatten(0, 1)),
    }
    z = (z - moments["state_mean"]) / moments["state_std"]
    gap = (s[:, 0] - s[:, 1]) / moments["score_std"]
    weight = torch.zeros(gap.shape[1], z.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(gap.shape[1], dtype=torch.float64, requires_grad=True)
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias, log_scale], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        shares = torch.softmax(z @ weight.T + bias, dim=-1)
        loss = -logsigmoid(log_scale.exp() * (shares * gap).sum(-1)).mean() + decay * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return Gate(weight.detach(), bias.detach(), scale=log_scale.detach().exp(), **moments)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation of each column; 1 where it is constant, which then says nothing."""
    std = values.std(0, correction=0)
    return torch.where(std > 0, std, torch.ones_like(std))


def prompt_states(policy: Policy, groups: Sequence[TokenGroup], token_budget: int = 8192) -> Array:
    """(G, H) final hidden state of each prompt's last token."""

    def of(tree: Any) -> list[Array]:
        states = policy.hidden(tree).double().cpu().numpy()
        return [states[int(row)] for row in tree.last]

    # An empty response is read at its prompt's last token.
    prompts = [TokenGroup(group.prompt, (TokenBranch((), ()),), group.id) for group in groups]
    return np.stack([rows[0] for rows in by_group(policy, prompts, token_budget, of)])


class Gated:
    """A reward model of several attributes whose weights a gate chooses for each prompt.

    Args:
        attributes: the score head whose outputs are mixed.
        gate: fitted on this model.
    Raises:
        ModelError: the gate mixes another number of attributes.
    """

    def __init__(self, attributes: Outputs, gate: Gate) -> None:
        if len(gate.bias) != len(attributes.labels):
            raise ModelError(f"the gate mixes {len(gate.bias)} attributes, the model has {len(attributes.labels)}")
        self.attributes, self.gate = attributes, gate

    def shares(self, groups: Sequence[TokenGroup]) -> Array:
        """(G, A) what each attribute counts for each prompt."""
        return self.gate.shares(prompt_states(self.attributes.policy, groups, self.attributes.token_budget))

    def score(self, groups: Sequence[TokenGroup]) -> list[Array]:
        """One (R,) array a group; see `Scorer`."""
        tables = self.attributes.outputs(groups)
        if not tables:
            return []
        return [self.gate.mixed(shares, table) for shares, table in zip(self.shares(groups), tables, strict=True)]


def fit_on(attributes: Outputs, pairs: Sequence[TokenGroup], *, decay: float = 0.01) -> Gate:
    """The gate of a reward model of attributes, fitted on pairs that stand chosen first; see `fit`."""
    states = prompt_states(attributes.policy, pairs, attributes.token_budget)
    return fit(states, np.stack(attributes.outputs(pairs)), decay=decay)
