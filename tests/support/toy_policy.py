"""A small language model that fulfils the policy's protocol with plain tensor code: no packing, no attention.

Its next-token logits are a function of the mean embedding of all tokens so far and of the last one, so every token
of the prefix matters, and each response is computed on its own. Used where a test is about the engine and not
about the forest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hizala.core.logps import SeqLogps
from hizala.records import TokenBranch, TokenGroup

VOCAB = 31


@dataclass(frozen=True)
class ToyTree:
    groups: tuple[TokenGroup, ...]

    @property
    def tokens(self) -> int:
        return sum(group.tokens for group in self.groups)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class ToyModel(nn.Module):
    def __init__(self, width: int = 16, layers: int = 2, vocab: int = VOCAB) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """Log-probs over the vocabulary at each position of each sequence."""
        out = []
        for ids in sequences:
            e = self.embed(ids)
            x = e + e.cumsum(0) / torch.arange(1, len(ids) + 1, dtype=e.dtype).unsqueeze(1)
            for layer in self.layers:
                x = layer(x)
            out.append(self.head(self.norm(x)).log_softmax(-1))
        return out


class ToyPolicy:
    def __init__(self, *, seed: int = 0, dtype: torch.dtype = torch.float64, width: int = 16, layers: int = 2) -> None:
        torch.manual_seed(seed)
        self.module: nn.Module = ToyModel(width, layers).to(dtype)

    def pack(self, groups: Sequence[TokenGroup], token_budget: int) -> list[ToyTree]:
        trees: list[list[TokenGroup]] = []
        used = 0
        for group in groups:
            if not trees or used + group.tokens > token_budget:
                trees.append([])
                used = 0
            trees[-1].append(group)
            used += group.tokens
        return [ToyTree(tuple(tree)) for tree in trees]

    def logps(self, tree: ToyTree, *, entropy: bool = False, distribution: object = None) -> SeqLogps:
        responses = [(group.prompt, r) for group in tree.groups for r in group.responses]
        outputs = self.module([torch.tensor([*prompt, *r.ids]) for prompt, r in responses])
        tokens, segments, counts = [], [], []
        for index, ((prompt, r), table) in enumerate(zip(responses, outputs, strict=True)):
            ids, mask = torch.tensor(list(r.ids), dtype=torch.long), torch.tensor(list(r.mask), dtype=torch.bool)
            scored = table[len(prompt) - 1 : len(prompt) - 1 + len(r.ids)].gather(1, ids.unsqueeze(1)).squeeze(1)[mask]
            tokens.append(scored)
            segments.append(torch.full((len(scored),), index))
            counts.append(len(scored))
        return SeqLogps(torch.cat(tokens), torch.cat(segments), torch.tensor(counts))

    @contextmanager
    def reference(self) -> Iterator[None]:
        yield


def make_groups(
    number: int, *, responses: int = 2, seed: int = 0, weights: bool = False, empty: bool = False, vocab: int = VOCAB
) -> list[TokenGroup]:
    """Random groups; with `empty`, some responses have no counted token at all."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    groups = []
    for index in range(number):
        branches = []
        for _ in range(responses):
            ids = [draw(0, vocab) for _ in range(draw(1, 9))]
            mask = [draw(0, 4) > 0 for _ in ids]
            if empty and draw(0, 4) == 0:
                mask = [False] * len(ids)
            branches.append(TokenBranch(ids, mask))
        weight = draw(1, 5) / 2 if weights else 1.0
        groups.append(TokenGroup([draw(0, vocab) for _ in range(draw(1, 12))], tuple(branches), f"g{index}", weight))
    return groups


def gradient(module: nn.Module) -> dict[str, Tensor]:
    """Gradients by name, cloned."""
    return {n: p.grad.detach().clone() for n, p in module.named_parameters() if p.grad is not None}


def relative(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Largest relative difference of two sets of tensors, each measured by its norm."""
    assert a.keys() == b.keys()
    floor = max(float(t.norm()) for t in b.values()) * 1e-6
    return max(float((a[k] - b[k]).norm()) / max(float(b[k].norm()), floor) for k in a)
