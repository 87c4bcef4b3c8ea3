"""Model directories with the chat formats of four families and small tokenizers of the same kinds, trained here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

FIXTURES = Path(__file__).parents[1] / "engines" / "data" / "fixtures"
CORPUS = [
    "Merhaba, nasılsın? Bugün hava çok güzel; İstanbul'da ışıl ışıl bir öğle. Şöyle bir ağaç, gölgede üzüm.",
    "Kaç yaşındasın? Yaşım yok. Soru: 2 + 2? Selam. İyiyim. Kısa yanıt ver.",
    "The answer is 42. First line\nsecond line\n\n- a list\n\t- with a tab. Two and two. Four.",
    "system user assistant model Cutting Knowledge Date: December 2023\nToday Date: 01 Jan 2025\n\nassistant\n\n",
    "def add(a, b):\n    return a + b\n\n\nfor i in range(10):\n    print(i)\n",
] * 8
# The way GPT-4's successors split text: digits apart or in threes, runs of newlines kept in one piece.
MODERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(vocab_size: int = 500) -> Tokenizer:
    """As Llama 3, Qwen 3 and Mistral's later tokenizers: byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(MODERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_fallback(*, prepend: bool) -> Tokenizer:
    """As Gemma 3, and Mistral's earlier tokenizers (`prepend`): spaces written ▁, unknown characters as bytes."""
    draft = Tokenizer(models.BPE())
    draft.normalizer = normalizers.Replace(" ", "▁")
    draft.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Split(Regex(r"\n+"), "isolated")]
    )
    draft.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    state = json.loads(draft.to_str())["model"]
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n", *sorted(state["vocab"])]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if prepend:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prepend else steps)
    return tokenizer


FAMILIES: dict[str, dict[str, Any]] = {
    "llama3": {
        "make": byte_level,
        "special": "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>",
        "names": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        "stops": ["<|end_of_text|>", "<|eot_id|>"],
    },
    "qwen3": {
        "make": byte_level,
        "special": "<|endoftext|> <|im_start|> <|im_end|>",
        "plain": "<think> </think>",
        "names": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "stops": ["<|im_end|>", "<|endoftext|>"],
    },
    "gemma3": {
        "make": lambda: byte_fallback(prepend=False),
        "special": "<pad> <eos> <bos> <start_of_turn> <end_of_turn>",
        "names": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
        "stops": ["<eos>", "<end_of_turn>"],
    },
    "mistral3": {
        "make": lambda: byte_fallback(prepend=True),
        "special": "<s> </s> [INST] [/INST]",
        "names": {"bos_token": "<s>", "eos_token": "</s>"},
        "stops": ["</s>"],
    },
    "mistral7": {
        "make": byte_level,
        "special": "<s> </s> [INST] [/INST] [SYSTEM_PROMPT] [/SYSTEM_PROMPT]",
        "names": {"bos_token": "<s>", "eos_token": "</s>"},
        "stops": ["</s>"],
    },
}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_model(
    folder: Path,
    tokenizer: Tokenizer,
    template: str | None,
    *,
    special: Sequence[str] = (),
    plain: Sequence[str] = (),
    names: dict[str, str] | None = None,
    stops: Sequence[str] = (),
) -> Path:
    """A model directory without weights: tokenizer, template and generation settings."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **(names or {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    if stops:
        ids = [tokenizer.token_to_id(text) for text in stops]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids}), "utf-8")
    return folder
