"""What a decoder's `config.json` says, read without transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hizala.errors import ModelError

NATIVE = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")
ACTIVATIONS = ("silu", "gelu_pytorch_tanh")
ROPE_TYPES = ("default", "linear", "llama3")


class NotNative(Exception):
    """The config is well formed but our own decoder does not cover it; the message says what is in the way."""


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding of one kind of layer: base, and the scaling of its frequencies."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True, slots=True)
class Arch:
    """The shape of a decoder.

    Attributes:
        windows: per layer, how many positions back a token sees (itself included), or None for all.
        ropes: per layer, its rotary embedding.
        norm_offset: 1.0 where a norm multiplies by (1 + weight), else 0.
        sandwich: norms stand also after attention and after the MLP (Gemma 3).
    """

    model_type: str
    vocab_size: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    activation: str
    tied: bool
    windows: tuple[int | None, ...]
    ropes: tuple[Rope, ...]
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    sandwich: bool = False
    norm_offset: float = 0.0
    embed_scale: float = 1.0
    attention_scale: float = 1.0
    initializer_range: float = 0.02

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return len(self.windows)


def read_config(directory: Path) -> dict[str, Any]:
    """The `config.json` of a model directory. Raises ModelError when it is missing or broken."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        fix = "give a directory written by save_pretrained, or a hub id"
        raise ModelError("the model directory has no config.json", where=str(directory), fix=fix)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"config.json cannot be read: {error}", where=str(path), fix="copy the model again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError("config.json names no model_type", where=str(path), fix="copy the model again")
    return config


def parse(config: Mapping[str, Any], where: str = "config.json") -> Arch:
    """The `Arch` of a config.

    Raises:
        NotNative: another architecture or variant; `hf.py` may still run it.
        ModelError: a field is missing or makes no sense.
    """
    kind = str(config.get("model_type"))
    if kind not in NATIVE:
        raise NotNative(f"model_type '{kind}' is not one of {', '.join(NATIVE)}")
    gemma = kind == "gemma3_text"
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        intermediate, vocab = int(config["intermediate_size"]), int(config["vocab_size"])
        layers = int(config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"config.json lacks a usable {error}", where=where, fix="copy the model again") from error
    kv_heads = int(config.get("num_key_value_heads") or (4 if gemma else heads))
    default_dim = {"qwen3": 128, "gemma3_text": 256}.get(kind, hidden // heads if heads else 0)
    head_dim = int(config.get("head_dim") or default_dim)
    if min(hidden, heads, intermediate, vocab, layers, kv_heads, head_dim) < 1 or heads % kv_heads or head_dim % 2:
        raise ModelError(
            f"config.json is inconsistent: hidden {hidden}, heads {heads}/{kv_heads} of {head_dim}, layers {layers}",
            where=where,
            fix="copy the model again",
        )
    activation = str(config.get("hidden_activation" if gemma else "hidden_act") or ACTIVATIONS[gemma])
    if activation not in ACTIVATIONS:
        raise NotNative(f"activation '{activation}'")
    for name in ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention"):
        if config.get(name):
            raise NotNative(f"{name} is set")
    biased = bool(config.get("attention_bias", False)) and kind != "mistral"
    windows = _windows(config, kind, layers)
    return Arch(
        model_type=kind,
        vocab_size=vocab,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        eps=float(config.get("rms_norm_eps") or 1e-6),
        activation=activation,
        tied=bool(config.get("tie_word_embeddings", gemma)),
        windows=windows,
        ropes=_ropes(config, gemma, windows),
        qkv_bias=kind == "qwen2" or biased,
        o_bias=biased and kind != "qwen2",
        mlp_bias=bool(config.get("mlp_bias", False)) and kind == "llama",
        qk_norm=kind in ("qwen3", "gemma3_text"),
        sandwich=gemma,
        norm_offset=1.0 if gemma else 0.0,
        embed_scale=math.sqrt(hidden) if gemma else 1.0,
        attention_scale=float((config.get("query_pre_attn_scalar") or 256) if gemma else head_dim) ** -0.5,
        initializer_range=float(config.get("initializer_range") or 0.02),
    )


def _windows(config: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, ...]:
    default = None if kind == "llama" else 4096
    window = config.get("sliding_window", default)
    window = int(window) if window else None
    if kind in ("llama",):
        return (None,) * layers
    if kind == "mistral":
        return (window,) * layers
    types = config.get("layer_types")
    if types is None and kind == "gemma3_text":
        pattern = int(config.get("sliding_window_pattern") or 6)
        types = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]
    if kind != "gemma3_text" and not config.get("use_sliding_window", False):
        window = None
    if types is None:
        first = int(config.get("max_window_layers") or 28)
        types = ["sliding_attention" if window and i >= first else "full_attention" for i in range(layers)]
    unknown = set(types) - {"sliding_attention", "full_attention"}
    if unknown or len(types) != layers:
        raise NotNative(f"layer_types {sorted(unknown) or len(types)} for {layers} layers")
    return tuple(window if t == "sliding_attention" else None for t in types)


def _ropes(config: Mapping[str, Any], gemma: bool, windows: tuple[int | None, ...]) -> tuple[Rope, ...]:
    given = config.get("rope_parameters")
    scaling = dict(config.get("rope_scaling") or {})
    if not gemma:
        fields = dict(given) if given else {"rope_theta": config.get("rope_theta"), **scaling}
        return (_rope(fields, 10_000.0, config),) * len(windows)
    given = dict(given or {})
    full = dict(given.get("full_attention") or {"rope_theta": config.get("rope_theta"), **scaling})
    local = dict(given.get("sliding_attention") or {"rope_theta": config.get("rope_local_base_freq")})
    wide, near = _rope(full, 1_000_000.0, config), _rope(local, 10_000.0, config)
    types = config.get("layer_types")
    pattern = int(config.get("sliding_window_pattern") or 6)
    sliding = (
        [t == "sliding_attention" for t in types] if types else [bool((i + 1) % pattern) for i in range(len(windows))]
    )
    return tuple(near if s else wide for s in sliding)


def _rope(fields: Mapping[str, Any], theta: float, config: Mapping[str, Any]) -> Rope:
    kind = str(fields.get("rope_type") or fields.get("type") or "default")
    if kind not in ROPE_TYPES:
        raise NotNative(f"rope_type '{kind}'")
    if float(fields.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0) != 1.0:
        raise NotNative("partial_rotary_factor is not 1")
    context = fields.get("original_max_position_embeddings") or config.get("max_position_embeddings") or 8192
    return Rope(
        theta=float(fields.get("rope_theta") or theta),
        kind=kind,
        factor=float(fields.get("factor") or 1.0),
        low_freq_factor=float(fields.get("low_freq_factor") or 1.0),
        high_freq_factor=float(fields.get("high_freq_factor") or 4.0),
        original_context=int(context),
    )
