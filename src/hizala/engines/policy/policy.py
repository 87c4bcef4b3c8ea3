"""A model whose log-probs can be measured and trained: weights, adapters and heads behind one small surface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hizala.core.distribution import Distribution
from hizala.core.logps import SeqLogps
from hizala.core.ops import kernels
from hizala.core.ops.distributions import Unembedding, divergence, log_collision
from hizala.core.ops.truncated import logps_at
from hizala.engines.policy import classify, weights
from hizala.engines.policy import heads as head_kinds
from hizala.engines.policy import lora as adapters
from hizala.engines.policy.arch import Arch
from hizala.engines.policy.attention import attend_over, checked
from hizala.engines.policy.cache import Generates
from hizala.engines.policy.decoder import Decoder
from hizala.engines.policy.forest import Forest, focus, pack
from hizala.errors import ConfigError, DataError, ModelError
from hizala.records import TokenGroup

# What one forward can give, and the rows of the forest it is read from.
OUTPUTS = {
    "policy": "predictors",
    "entropy": "predictors",
    "outside": "predictors",
    "collision": "predictors",
    "divergence": "predictors",
    "values": "predictors",
    "scores": "last",
    "step_scores": "marks",
}
# Of them, what is read of the distribution at each counted token.
READ = ("policy", "entropy", "outside")
PER_TOKEN = (*READ, "collision", "divergence")
HEADS = {"values": "value", "scores": "score", "step_scores": "step"}

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


class Policy(Generates):
    """A decoder of our own with what is needed to train it.

    Attributes:
        module: the decoder; every trainable parameter is in it.
        config: its `config.json`.
        sharing: whether responses share their prompt.
    """

    def __init__(
        self,
        module: Decoder,
        config: Mapping[str, Any],
        *,
        source: Path | None = None,
        lora: adapters.Lora | None = None,
        attention: str = "auto",
        sharing: bool = True,
    ) -> None:
        self.module: Decoder = module
        self.config = dict(config)
        self.sharing, self.attention = sharing, checked(attention)
        self._source, self._lora = source, lora

    @property
    def arch(self) -> Arch:
        """The decoder's shape."""
        return self.module.arch

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary."""
        return int(self.config["vocab_size"])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    @property
    def has_adapters(self) -> bool:
        """Whether there are adapters, so that the policy can be its own reference."""
        return self._lora is not None

    def pack(self, groups: Sequence[TokenGroup], token_budget: int) -> list[Forest]:
        """Whole groups packed in order into rows of at most `token_budget` tokens (a larger group stands alone).

        Raises:
            DataError: a prompt is empty, or a token is not in the vocabulary.
        """
        trees = pack(groups, token_budget, self.device, sharing=self.sharing)
        for tree in trees:
            low, high = (int(x) for x in tree.ids.aminmax())
            if low < 0 or high >= self.vocab_size:
                message = f"token {high if low >= 0 else low} is not in the model's vocabulary of {self.vocab_size}"
                raise DataError(message, where=tree.groups[0].id, fix="use the tokenizer that belongs to the model")
        return trees

    @property
    def facts(self) -> dict[str, str]:
        """How it computes, for the record of a run: dtype, attention, sharing (or why not), compiled passes."""
        compiled = "yes" if kernels.active(torch.empty(0, dtype=self.module.dtype, device=self.device)) else "no"
        return {
            "dtype": str(self.module.dtype).removeprefix("torch."),
            "attention": self.attention,
            "sharing": "yes" if self.sharing else "no",
            "compiled passes": compiled,
        }

    def logps(self, tree: Forest, *, entropy: bool = False, distribution: Distribution | None = None) -> SeqLogps:
        """Log-probs of the counted response tokens, responses in the order of the tree's groups.

        Args:
            tree: a row from `pack`.
            entropy: measure the entropy at each counted token too.
            distribution: what they are of; None: softmax(logits).
        """

        def readout(hidden: Tensor) -> tuple[Tensor, Tensor | None]:
            weight = self.module.lm_head.weight
            return logps_at(hidden, weight, tree.targets, distribution, entropy=entropy)[:2]

        tokens, entropies = self._forward(tree, tree.predictors, readout)
        return SeqLogps(tokens, tree.segments, tree.count, entropies)

    def outputs(
        self,
        tree: Forest,
        names: Collection[str],
        *,
        reference: Policy | None = None,
        distribution: Distribution | None = None,
    ) -> dict[str, Any]:
        """Several things that one forward can give.

        Args:
            tree: a row from `pack`.
            names: of `OUTPUTS`: policy (log-probs), entropy, outside (1 where the token is one that the distribution
                cuts off), collision, divergence (from `reference`), values, scores, step_scores.
            reference: what `divergence` is measured from; the policy itself is, with its adapters off, where None.
            distribution: what policy and entropy are of; None: softmax(logits).
        Returns:
            name -> `SeqLogps` for policy, collision and divergence, (M,) values and entropies (nats) at each counted
            token, the values before it, (R,) or
            (R, A) scores at each response's last token (its prompt's, where it is empty), (S,) scores at each marked
            step's last token.
        Raises:
            ConfigError: the policy lacks a head, or a reference.
        """
        sources = {name: getattr(tree, rows) for name, rows in OUTPUTS.items() if name in names}
        wanted = {id(rows): rows for rows in sources.values()}
        if not wanted:
            return {}
        other = self._reference_states(tree, reference) if "divergence" in names else None
        heads = {name: self._head(HEADS[name]) for name in sources if name in HEADS}

        def readout(hidden: Tensor) -> dict[str, Tensor]:
            parts = dict(zip(wanted, torch.split(hidden, [len(rows) for rows in wanted.values()]), strict=True))
            # A reward model has no vocabulary: it is looked at only where it is asked for.
            asked = any(name in PER_TOKEN for name in sources)
            weight = self.module.lm_head.weight if asked else hidden.new_empty(0)
            out: dict[str, Tensor] = {}
            for name, rows in sources.items():
                states = parts[id(rows)]
                if name in heads:
                    out[name] = heads[name](states)
                elif name in READ:
                    if name not in out:
                        read = logps_at(states, weight, tree.targets, distribution, entropy="entropy" in sources)
                        out |= {"policy": read.logps, "outside": read.outside.to(read.logps.dtype)}
                        out |= {} if read.entropy is None else {"entropy": read.entropy}
                elif name == "collision":
                    out[name] = log_collision(Unembedding(states.detach(), weight.detach()))
                elif other is not None:
                    out[name] = divergence(Unembedding(states, weight), other)
            return out

        found = self._forward(tree, torch.cat(list(wanted.values())), readout)
        logprobs = ("policy", "collision", "divergence")
        return {
            n: SeqLogps(v, tree.segments, tree.count) if n in logprobs else v for n, v in found.items() if n in sources
        }

    def _reference_states(self, tree: Forest, reference: Policy | None) -> Unembedding:
        """States of the counted tokens under the reference, and its vocabulary."""

        def states(policy: Policy) -> Unembedding:
            return Unembedding(policy._forward(tree, tree.predictors, None), policy.module.lm_head.weight.detach())

        with torch.no_grad():
            if reference is not None:
                return states(reference)
            with self.reference():
                return states(self)

    def scores(self, tree: Forest) -> Tensor:
        """(R,) or (R, A) output of the score head; see `outputs`."""
        scores: Tensor = self.outputs(tree, ("scores",))["scores"]
        return scores

    def values(self, tree: Forest) -> Tensor:
        """(M,) output of the value head before each counted token, in the order of `logps(tree).tokens`."""
        values: Tensor = self.outputs(tree, ("values",))["values"]
        return values

    def hidden(self, tree: Forest) -> Tensor:
        """(N, hidden) final states of every token in the row."""
        hidden: Tensor = self._forward(tree, None, None)
        return hidden

    @contextmanager
    def reference(self) -> Iterator[None]:
        """While open, adapters are off: the policy is its own reference. Raises ConfigError without adapters."""
        if self._lora is None:
            fix = "train with lora, or load the reference model beside the policy"
            raise ConfigError("the policy has no adapters to switch off", fix=fix)
        with adapters.switched_off(self.module):
            yield

    def trainable(self) -> dict[str, nn.Parameter]:
        """Name to parameter, of all that is trained."""
        return {n: p for n, p in self.module.named_parameters() if p.requires_grad}

    def state_dict(self) -> dict[str, Tensor]:
        """Name to tensor of all that is trained (with adapters, the frozen weights are not in it)."""
        return {n: p.detach() for n, p in self.trainable().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `state_dict` gave back in. Raises ModelError where names or shapes differ."""
        own = self.trainable()
        if set(own) != set(state) or any(own[n].shape != state[n].shape for n in own):
            different = sorted(set(own) ^ set(state)) or [n for n in own if own[n].shape != state[n].shape]
            raise ModelError(f"the state is of another model: {different[0]}", fix="use the model it was made with")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

    def tensors(self, dtype: str | None = None) -> dict[str, Tensor]:
        """The language model's weights under the names of a Hugging Face directory, adapters added in, heads left out.

        Args:
            dtype: what to give them in; None: as they are held.
        Returns:
            Name -> tensor, on the policy's device; the policy's own memory where nothing had to be computed. A weight
            that is tied to another is not in it.
        """
        held = {n: t for n, t in self._plain().items() if not n.startswith("heads.")}
        return held if dtype is None else {n: t.to(DTYPES[dtype]) for n, t in held.items()}

    def export(self, path: Path, dtype: str | None = None) -> None:
        """Write `tensors` as a Hugging Face directory that other engines load, with tokenizer and template."""
        tensors = self.tensors(dtype)
        kind = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
        weights.write(Path(path), tensors, {**self.config, "dtype": kind, "torch_dtype": kind}, self._source)

    def _plain(self) -> dict[str, Tensor]:
        return adapters.merged(self.module)

    def save(self, path: Path) -> None:
        """Write a Hugging Face directory (adapters merged or kept, as the policy was loaded)."""
        path = Path(path)
        if self._lora is not None and not self._lora.merge:
            adapters.save(self.module, self._lora, self._source, path, self.reward_head)
        else:
            tensors = adapters.merged(self.module)
            held = {n: t for n, t in tensors.items() if not n.startswith("heads.")}
            dtype = str(next(iter(held.values())).dtype).removeprefix("torch.")
            # Both spellings: `dtype` is today's, `torch_dtype` what older readers look for.
            config = {**self.config, "dtype": dtype, "torch_dtype": dtype}
            if self.reward_head is not None:
                held = {n: t for n, t in held.items() if n != "lm_head.weight"} | classify.tensors(self.reward_head)
                config = classify.described(config, self.reward_head, self._source)
            weights.write(path, held, config, self._source)
            if self.reward_head is not None:
                classify.settle_tokenizer(path, config["pad_token_id"])
        head_kinds.save_value(self.module.heads, path)

    @property
    def reward_head(self) -> head_kinds.Head | None:
        """The head that makes it a reward model, of responses or of steps; None for a language model."""
        for kind in head_kinds.REWARD:
            if kind in self.module.heads:
                return cast("head_kinds.Head", self.module.heads[kind])
        return None

    def _forward(self, tree: Forest, rows: Tensor | None, readout: Callable[[Tensor], Any] | None) -> Any:
        if rows is None:
            attend = attend_over(tree, self.arch.attention_scale, self.attention)
            return self.module(tree.ids, tree.positions, attend, rows, readout)
        row, asked, places = focus(tree, rows)

        def spread(hidden: Tensor) -> Any:
            states = hidden.index_select(0, places)
            return states if readout is None else readout(states)

        attend = attend_over(row, self.arch.attention_scale, self.attention)
        return self.module(row.ids, row.positions, attend, asked, spread)

    def _head(self, kind: str) -> Callable[[Tensor], Tensor]:
        if kind not in self.module.heads:
            raise ConfigError(f"the policy has no {kind} head", fix=f"load it with heads=('{kind}',)")
        return self.module.heads[kind]
