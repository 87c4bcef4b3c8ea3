"""A model whose log-probs can be measured and trained: weights, adapters and heads behind one small surface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hizala.core.logps import SeqLogps
from hizala.core.ops.vocab import token_logps
from hizala.engines.policy import heads as head_kinds
from hizala.engines.policy import lora as adapters
from hizala.engines.policy import weights
from hizala.engines.policy.arch import Arch, NotNative, parse, read_config
from hizala.engines.policy.attention import attend_over, checked
from hizala.engines.policy.cache import Generates
from hizala.engines.policy.decoder import Decoder
from hizala.engines.policy.forest import Forest, pack
from hizala.errors import ConfigError, ModelError, nearest
from hizala.records import TokenGroup

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
        return self.arch.vocab_size

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.model.embed_tokens.weight.device

    @property
    def has_adapters(self) -> bool:
        """Whether there are adapters, so that the policy can be its own reference."""
        return self._lora is not None

    def pack(self, groups: Sequence[TokenGroup], token_budget: int) -> list[Forest]:
        """Whole groups packed in order into rows of at most `token_budget` tokens (a larger group stands alone)."""
        return pack(groups, token_budget, self.device, sharing=self.sharing)

    def logps(self, tree: Forest, *, entropy: bool = False, temperature: float = 1.0) -> SeqLogps:
        """Log-probs of the counted response tokens, responses in the order of the tree's groups.

        Args:
            tree: a row from `pack`.
            entropy: measure the entropy at each counted token too.
            temperature: > 0; the distribution is softmax(logits / temperature).
        """

        def readout(hidden: Tensor) -> tuple[Tensor, Tensor | None]:
            weight = self.module.lm_head.weight
            return token_logps(hidden, weight, tree.targets, temperature=temperature, entropy=entropy)

        tokens, entropies = self._forward(tree, tree.predictors, readout)
        return SeqLogps(tokens, tree.segments, tree.count, entropies)

    def scores(self, tree: Forest) -> Tensor:
        """(R,) output of the score head at each response's last token (the prompt's last, where it is empty)."""
        scores: Tensor = self._forward(tree, tree.last, self._head("score"))
        return scores

    def values(self, tree: Forest) -> Tensor:
        """(M,) output of the value head before each counted token, in the order of `logps(tree).tokens`."""
        values: Tensor = self._forward(tree, tree.predictors, self._head("value"))
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

    def save(self, path: Path) -> None:
        """Write a Hugging Face directory (adapters merged or kept, as the policy was loaded)."""
        path = Path(path)
        if self._lora is not None and not self._lora.merge:
            adapters.save(self.module, self._lora, self._source, path)
        else:
            tensors = adapters.merged(self.module)
            held = {n: t for n, t in tensors.items() if not n.startswith("heads.")}
            dtype = str(next(iter(held.values())).dtype).removeprefix("torch.")
            # Both spellings: `dtype` is today's, `torch_dtype` what older readers look for.
            config = {**self.config, "dtype": dtype, "torch_dtype": dtype}
            weights.write(path, held, config, self._source)
        if self.module.heads:
            state = {n: t.detach().cpu().contiguous() for n, t in self.module.heads.state_dict().items()}
            save_file(state, path / head_kinds.FILE, metadata={"format": "pt"})

    def _forward(self, tree: Forest, rows: Tensor | None, readout: Callable[[Tensor], Any] | None) -> Any:
        attend = attend_over(tree, self.arch.attention_scale, self.attention)
        return self.module(tree.ids, tree.positions, attend, rows, readout)

    def _head(self, kind: str) -> Callable[[Tensor], Tensor]:
        if kind not in self.module.heads:
            raise ConfigError(f"the policy has no {kind} head", fix=f"load it with heads=('{kind}',)")
        return self.module.heads[kind]


def load(
    ref: Path,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    lora: Mapping[str, Any] | None = None,
    checkpointing: bool = False,
    attention: str = "auto",
    sharing: bool = True,
    heads: Sequence[str] = (),
) -> Policy:
    """A policy from a model directory.

    Args:
        ref: a Hugging Face directory, or one of adapters written by `Policy.save`.
        dtype: what is computed in: float32, bfloat16 (float32 masters, softmax and norm statistics) or float64.
        device: where.
        lora: rank, alpha, targets, dropout, merge: train adapters instead of the weights.
        checkpointing: recompute layers in the backward pass; slower, less memory.
        attention: auto, sdpa or flex.
        sharing: let responses share their prompt.
        heads: heads to add where the directory has none: score, value.
    Raises:
        ModelError: the directory is missing, damaged or of an unsupported kind.
        ConfigError: a setting is unknown.
    """
    ref = Path(ref)
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype '{dtype}'{nearest(dtype, DTYPES)}", fix=f"known: {', '.join(DTYPES)}")
    if (ref / "adapter_config.json").is_file() and not (ref / "config.json").is_file():
        settings, base = adapters.read_settings(ref)
        if lora is not None:
            raise ConfigError("the directory holds adapters already", where=str(ref), fix="leave lora out")
        policy = load(base, dtype=dtype, device=device, lora=settings_of(settings), sharing=sharing, heads=heads)
        adapters.load_into(policy.module, ref)
        policy.module.checkpointing, policy.attention = checkpointing, checked(attention)
        return policy
    config = read_config(ref)
    try:
        arch = parse(config, where=str(ref / "config.json"))
    except NotNative as reason:
        raise ModelError(f"this architecture is not supported: {reason}", where=str(ref)) from reason
    module = _empty(arch, dtype, device)
    weights.load_into(module, ref, aliases={"lm_head.weight": "model.embed_tokens.weight"} if arch.tied else {})
    return _finish(module, config, ref, lora, heads, checkpointing, attention, sharing)


def random_init(
    config: Mapping[str, Any],
    seed: int,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    lora: Mapping[str, Any] | None = None,
    checkpointing: bool = False,
    attention: str = "auto",
    sharing: bool = True,
    heads: Sequence[str] = (),
) -> Policy:
    """A policy with random weights, normal with the config's `initializer_range`; for tests and benchmarks."""
    module = _empty(parse(config), dtype, device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("norm.weight"):
                parameter.fill_(1.0 - module.arch.norm_offset)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                drawn = torch.randn(parameter.shape, generator=generator) * module.arch.initializer_range
                parameter.copy_(drawn)
    return _finish(module, config, None, lora, heads, checkpointing, attention, sharing)


def settings_of(lora: adapters.Lora) -> dict[str, Any]:
    """Adapter settings as the mapping a recipe holds."""
    return {name: getattr(lora, name) for name in ("rank", "alpha", "targets", "dropout", "merge")}


def _empty(arch: Arch, dtype: str, device: str | torch.device) -> Decoder:
    """A decoder whose weights are not initialised: building it costs no time."""
    with torch.device("meta"):
        module = Decoder(arch, DTYPES[dtype])
    held = torch.float64 if dtype == "float64" else torch.float32
    module.to(held).to_empty(device=device)
    if arch.tied:
        module.lm_head.weight = module.model.embed_tokens.weight
    return module


def _finish(
    module: Decoder,
    config: Mapping[str, Any],
    source: Path | None,
    lora: Mapping[str, Any] | None,
    heads: Sequence[str],
    checkpointing: bool,
    attention: str,
    sharing: bool,
) -> Policy:
    settings = None if lora is None else adapters.Lora.of(lora)
    if settings is not None:
        adapters.attach(module, settings)
    stored = load_file(source / head_kinds.FILE) if source and (source / head_kinds.FILE).is_file() else {}
    wanted = dict.fromkeys([*(name.split(".")[0] for name in stored), *heads])
    reference = module.model.embed_tokens.weight
    for kind in wanted:
        if kind not in head_kinds.KINDS:
            raise ConfigError(f"unknown head '{kind}'{nearest(kind, head_kinds.KINDS)}", fix="known: score, value")
        head = head_kinds.Head(module.arch.hidden).to(device=reference.device, dtype=reference.dtype)
        if f"{kind}.weight" in stored:
            try:
                head.load_state_dict({n: stored[f"{kind}.{n}"] for n in ("weight", "bias")})
            except (KeyError, RuntimeError) as error:
                raise ModelError(f"the {kind} head does not fit", where=str(source), fix=weights.AGAIN) from error
        module.heads[kind] = head
    module.checkpointing = checkpointing
    return Policy(module, config, source=source, lora=settings, attention=attention, sharing=sharing)
