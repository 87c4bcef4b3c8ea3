"""What the parts of Hizala ask of each other. Typing only: nothing here runs and nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hizala.core.distribution import Distribution
    from hizala.core.logps import SeqLogps
    from hizala.records import Estimate, Finding, Group, Sample, TokenGroup, Verdict


class Tree(Protocol):
    """Groups packed into one row of tokens: what one forward of a policy takes."""

    groups: tuple[TokenGroup, ...]

    @property
    def tokens(self) -> int:
        """Tokens in the row."""


class Policy(Protocol):
    """A model whose log-probs can be measured and trained."""

    @property
    def module(self) -> nn.Module:
        """What holds the parameters."""

    def pack(self, groups: Sequence[TokenGroup], token_budget: int) -> Sequence[Any]:
        """`Tree`s of whole groups in order, of at most `token_budget` tokens each (a larger group stands alone)."""

    def logps(self, tree: Any, *, entropy: bool = False, distribution: Distribution | None = None) -> SeqLogps:
        """Log-probs of the counted response tokens, responses in the order of the tree's groups."""

    def outputs(
        self,
        tree: Any,
        names: Collection[str],
        *,
        reference: Any = None,
        distribution: Distribution | None = None,
    ) -> dict[str, Any]:
        """Several things one forward can give: policy, entropy, collision, divergence, values, scores, step_scores."""

    def hidden(self, tree: Any) -> Tensor:
        """(N, H) final hidden states of every token of the tree."""

    def reference(self) -> AbstractContextManager[None]:
        """While open, adapters are off: the policy is its own reference."""

    def save(self, path: Path) -> None:
        """Write a Hugging Face directory (adapters merged or kept, as the policy was loaded)."""


class Sampler(Protocol):
    """Something that generates."""

    @property
    def version(self) -> int:
        """Number of the weights it samples from, as `sync` was told."""

    def sample(self, prompts: Sequence[Sequence[int]], *, n: int, max_tokens: int, seed: int) -> list[list[Sample]]:
        """n samples for each prompt, in order."""

    def sync(self, policy: Any, version: int) -> None:
        """Sample from this policy's weights as they stand, and call them `version`."""

    def close(self) -> None:
        """Free what it holds; harmless when repeated."""


class Environment(Protocol):
    """What a policy talks to between its turns: a tool, a game, a simulated user.

    Pure: what it says follows from its arguments alone. States are plain values that JSON can hold.
    """

    def reset(self, group: Group, seed: int) -> Any:
        """The state before the first turn of one conversation; `seed` is of whatever is drawn."""

    def step(self, state: Any, text: str) -> tuple[str | None, Any]:
        """What is said to a turn of the policy, None where the conversation is over; and the state after it."""


class Tokenizer(Protocol):
    """What turns groups into tokens: a tokenizer with a proven chat template."""

    def encode_group(self, group: Group, *, max_length: int | None = None) -> TokenGroup:
        """The group in tokens with the training mask."""

    def encode_prompt(self, group: Group) -> list[int]:
        """Token ids of the prompt as generation sees it."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out."""


class Reward(Protocol):
    """Something that scores the responses of a group."""

    name: str

    def score(self, group: Group) -> Sequence[Verdict]:
        """One verdict a response, in order."""


class Tracker(Protocol):
    """Where live metrics go (TensorBoard, W&B, MLflow, trackio)."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One row of metrics."""

    def close(self) -> None:
        """Flush and close."""


class Suite(Protocol):
    """An evaluation."""

    name: str

    def run(self, context: Any) -> Mapping[str, Estimate]:
        """Figures by name, each with its interval."""


class Monitor(Protocol):
    """Something that watches a run."""

    name: str

    def look(self, metrics: Mapping[str, float], step: int) -> Iterable[Finding]:
        """What was noticed at this step."""


class Exporter(Protocol):
    """A reader that writes a run for another framework."""

    name: str

    def write(self, run: Path, target: Path) -> Sequence[Finding]:
        """Write, and say where the meaning differs."""
