"""Every other causal language model, through transformers: slower than our own decoder, never wrong.

Responses share their prompt only where a mask alone decides who sees whom. Elsewhere every response stands in a row
of its own with a copy of its prompt; `sharing_of` says which and why.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from hizala.core.distribution import Distribution
from hizala.core.logps import SeqLogps
from hizala.core.ops.truncated import logps_of
from hizala.engines.policy import classify, weights
from hizala.engines.policy import heads as head_kinds
from hizala.engines.policy import lora as adapters
from hizala.engines.policy.attention import tree_mask
from hizala.engines.policy.forest import Forest
from hizala.engines.policy.heads import Mute
from hizala.engines.policy.policy import PER_TOKEN, READ, Policy
from hizala.errors import ConfigError, ModelError

# Architectures whose tokens meet in softmax attention alone, with positions given by position_ids: proven by test.
SHARE = (
    "cohere", "gemma", "glm", "gpt2", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo", "olmo2", "olmoe",
    "phi", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "stablelm",
)  # fmt: skip

_STATE = "a recurrent state carries the prompt, and a mask cannot make it branch"
_MIXED = "some of its layers carry a recurrent state, which a mask cannot make branch"
_CONV = "short convolutions run along the row, across the point where responses branch"
_SINK = "attention sinks are outside of what scaled-dot-product attention with a mask computes"
_CAP = "capped attention scores are outside of what scaled-dot-product attention with a mask computes"
_ALIBI = "positions come from places in the row, not from position_ids"
# What cannot share, by model_type, with the reason.
ROWS: dict[str, str] = {
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm"), _STATE),
    **dict.fromkeys(
        ("jamba", "zamba", "zamba2", "bamba", "falcon_h1", "granitemoehybrid", "nemotron_h", "recurrent_gemma",
         "qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "minimax", "kimi_linear", "olmo_hybrid"), _MIXED),
    **dict.fromkeys(("lfm2", "lfm2_moe"), _CONV),
    "gpt_oss": _SINK,
    "gemma2": _CAP,
    **dict.fromkeys(("bloom", "mpt", "falcon"), _ALIBI),
}  # fmt: skip


def sharing_of(config: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether responses can share their prompt under transformers, and if not, why."""
    kind = str(config.get("model_type"))
    if kind in ROWS:
        return False, ROWS[kind]
    layers = set(config.get("layer_types") or ())
    if layers - {"full_attention", "sliding_attention"}:
        return False, _MIXED
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True)
    if "sliding_attention" in layers or windowed:
        return False, "sliding windows count places in the row, and one mask is given to all layers"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type")) in ("dynamic", "longrope"):
        return False, "rotary frequencies change with the longest sequence of a batch"
    if kind not in SHARE:
        return False, "not among the architectures for which sharing was proven equal"
    return True, ""


class HfPolicy(Policy):
    """A transformers model behind the same surface.

    Attributes:
        sharing: whether responses share their prompt.
        reason: why they do not, or "".
    """

    module: Any

    def __init__(
        self,
        module: Any,
        config: Mapping[str, Any],
        *,
        dtype: str,
        source: Path | None,
        lora: adapters.Lora | None,
        sharing: bool,
    ) -> None:
        can, reason = sharing_of(config)
        super().__init__(module, config, source=source, lora=lora, sharing=sharing and can)
        self.reason = reason if sharing else "sharing was switched off"
        self.dtype = dtype
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        # Padding would make a sequence longer, and these frequencies depend on the length.
        self._alone = rope.get("rope_type", rope.get("type")) in ("dynamic", "longrope")

    @property
    def vocab_size(self) -> int:
        """Rows of the vocabulary."""
        return int(self.module.get_input_embeddings().weight.shape[0])

    @property
    def facts(self) -> dict[str, str]:
        """How it computes, for the record of a run."""
        sharing = "yes" if self.sharing else f"no: {self.reason}"
        return {"dtype": self.dtype, "attention": "transformers", "sharing": sharing, "compiled passes": "no"}

    def logps(self, tree: Forest, *, entropy: bool = False, distribution: Distribution | None = None) -> SeqLogps:
        """Log-probs of the counted response tokens; see `Policy.logps`."""
        read = logps_of(self._logits(tree), tree.targets, distribution, entropy=entropy)
        return SeqLogps(read.logps, tree.segments, tree.count, read.entropy)

    def outputs(
        self,
        tree: Forest,
        names: Collection[str],
        *,
        reference: Policy | None = None,
        distribution: Distribution | None = None,
    ) -> dict[str, Any]:
        """See `Policy.outputs`; what needs logits asks the model for them, since its head may do more than multiply."""
        found = super().outputs(tree, [name for name in names if name not in PER_TOKEN])
        if any(name in names for name in READ):
            read = logps_of(self._logits(tree), tree.targets, distribution, entropy="entropy" in names)
            logps = SeqLogps(read.logps, tree.segments, tree.count)
            every = {"policy": logps, "entropy": read.entropy, "outside": read.outside.to(read.logps.dtype)}
            found |= {name: value for name, value in every.items() if name in names}
        if "collision" in names:
            with torch.no_grad():
                logits = self._logits(tree)
            collision = torch.logsumexp(2 * logits, -1) - 2 * torch.logsumexp(logits, -1)
            found["collision"] = SeqLogps(collision, tree.segments, tree.count)
        if "divergence" in names:
            with torch.no_grad(), nullcontext() if reference is not None else self.reference():
                other = (reference if isinstance(reference, HfPolicy) else self)._logits(tree).log_softmax(-1)
            away = (other.exp() * (other - self._logits(tree).log_softmax(-1))).sum(-1)
            found["divergence"] = SeqLogps(away, tree.segments, tree.count)
        return found

    def _logits(self, tree: Forest) -> Tensor:
        """(M, V) logits that predict the counted tokens, float32 or better."""
        logits = self._run(tree, tree.predictors, lambda inputs: self.module(**inputs).logits)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _plain(self) -> dict[str, Tensor]:
        from transformers.core_model_loading import revert_weight_conversion

        # Where transformers holds weights in another shape than files do (experts in one tensor), back to the files'.
        found: dict[str, Tensor] = revert_weight_conversion(self.module, super()._plain())
        return found

    def save(self, path: Path) -> None:
        """Write a Hugging Face directory (adapters merged or kept, as the policy was loaded)."""
        path = Path(path)
        if self._lora is not None and not self._lora.merge:
            adapters.save(self.module, self._lora, self._source, path, self.reward_head)
        else:
            module = self.module
            if self._lora is not None:
                module = copy.deepcopy(module)
                for name, child in list(adapters.layers(module)):
                    child.merge()
                    module.set_submodule(name, child.base_layer)
            state = {n: t for n, t in module.state_dict().items() if not n.startswith("heads.")}
            if self.reward_head is None:
                module.save_pretrained(path, state_dict=state)
                weights.copy_companions(self._source, path)
            else:
                self._save_classifier(path, state, self.reward_head)
        head_kinds.save_value(self.module.heads, path)

    def _save_classifier(self, path: Path, state: dict[str, Tensor], head: head_kinds.Head) -> None:
        """Write a classifier's directory: the language model without its output layer, and the head."""
        out = self.module.get_output_embeddings()
        mute = [n for n, child in self.module.named_modules() if child is out]
        kept = {n: t for n, t in state.items() if n.rpartition(".")[0] not in mute} | classify.tensors(head)
        config = classify.described({**self.module.config.to_dict(), **self.config}, head, self._source)
        weights.write(path, kept, config, self._source)
        classify.settle_tokenizer(path, config["pad_token_id"])

    def _forward(self, tree: Forest, rows: Tensor | None, readout: Callable[[Tensor], Any] | None) -> Any:
        wanted = torch.arange(tree.tokens, device=self.device) if rows is None else rows
        hidden = self._run(tree, wanted, lambda inputs: self.module.base_model(**inputs).last_hidden_state)
        return hidden if readout is None else readout(hidden)

    def _run(self, tree: Forest, rows: Tensor, call: Callable[[dict[str, Any]], Tensor]) -> Tensor:
        """What `call` gives for each wanted row of the tree, (M, ...)."""
        with self._precision():
            if self.sharing:
                return call(self._tree_inputs(tree))[0].index_select(0, rows)
            batches = [[span] for span in tree.spans] if self._alone else [list(tree.spans)]
            flat = []
            for spans in batches:
                ids = [tree.ids[s.start : s.start + s.tokens] for s in spans]
                mask = pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
                inputs = {"input_ids": pad_sequence(ids, batch_first=True), "attention_mask": mask, "use_cache": False}
                out = call(inputs)
                # Right padding: neither a causal mask nor a recurrence looks ahead, so it changes nothing.
                flat += [out[b, : len(i)] for b, i in enumerate(ids)]
            return torch.cat(flat).index_select(0, rows)

    def _tree_inputs(self, tree: Forest) -> dict[str, Any]:
        seen = torch.zeros(tree.tokens, tree.tokens, dtype=torch.bool)
        for span in tree.spans:
            rows = slice(span.start, span.start + span.tokens)
            seen[rows, rows] = tree_mask(span, None)
        return {
            "input_ids": tree.ids[None],
            "position_ids": tree.positions[None],
            "attention_mask": seen[None, None].to(self.device),
            "use_cache": False,
        }

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.dtype == "bfloat16" else nullcontext()


def load_module(
    ref: Path, config: Mapping[str, Any], dtype: str, device: str | torch.device
) -> tuple[Any, dict[str, Tensor]]:
    """The transformers model of a directory, dropout off, and its `score.*` tensors where it is a classifier.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    weights.files(ref)  # refuses pickled and absent weights with our own words
    shares = sharing_of(config)[0]
    try:
        with _quiet():
            module, info = AutoModelForCausalLM.from_pretrained(
                ref,
                dtype=torch.float64 if dtype == "float64" else torch.float32,
                attn_implementation="sdpa" if shares else None,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:
        # Whatever transformers raises for this directory (it has no error class of its own) is about the directory.
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"transformers cannot load the model: {first}", where=str(ref), fix=weights.AGAIN) from error
    stored: dict[str, Tensor] = {}
    missing = set(info["missing_keys"])
    if classify.kind_of(config) is not None:
        stored = {n: t for n, t in weights.read(ref) if n.startswith("score.")}
        out = module.get_output_embeddings()
        # What was drawn for the output layer, which a classifier lacks, is never read: it is taken away.
        for name in [n for n, child in module.named_modules() if child is out]:
            missing -= {f"{name}.weight", f"{name}.bias"}
            module.set_submodule(name, Mute())
    wrong = sorted(missing) + sorted(str(m) for m in info["mismatched_keys"])
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors lack or do not fit, first '{wrong[0]}'", where=str(ref), fix=weights.AGAIN
        )
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    module.config.attention_dropout = 0.0
    module.heads = nn.ModuleDict()
    return module.to(device), stored


@contextmanager
def _quiet() -> Iterator[None]:
    """While open, transformers reports nothing: what a classifier lacks beside a language model is no news."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)


def enable_checkpointing(module: Any) -> None:
    """Recompute layers in the backward pass. Raises ConfigError where the model cannot."""
    try:
        module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"checkpointing: {error}", fix="switch checkpointing off for this model") from error
    # transformers checkpoints in training mode only.
    module.train()
