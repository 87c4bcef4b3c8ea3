"""Pairs, tokenizer and models of the preference benchmarks: HH transcripts as ChatML tokens, random Qwen3 weights."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for m in messages %}" + START + "{{ m.role }}\n{{ m.content }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + START + "assistant\n{% endif %}"
)
TURN = {"Human": "user", "Assistant": "assistant"}
MODELS: dict[str, dict[str, int]] = {
    "smoke": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 64,
    },
    "4m": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 768,
    },
    "27m": {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "intermediate_size": 1536,
    },
}


@dataclass(frozen=True)
class TextPair:
    """A preference pair as ChatML text: the prompt ends where the assistant's words begin."""

    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class TokenPair:
    """A preference pair in tokens."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def turns(transcript: str) -> list[tuple[str, str]]:
    """(role, words) of an HH transcript, which marks turns with "\\n\\nHuman:" and "\\n\\nAssistant:"."""
    parts: list[tuple[str, str]] = []
    for block in ("\n\n" + transcript.lstrip()).split("\n\nHuman:")[1:]:
        human, *replies = block.split("\n\nAssistant:")
        parts.append(("Human", human.strip()))
        parts += [("Assistant", reply.strip()) for reply in replies]
    return parts


def chatml(row: dict[str, str]) -> TextPair | None:
    """An HH row as ChatML; None where the two transcripts differ before the last reply or the last turn is no reply."""
    chosen, rejected = turns(row["chosen"]), turns(row["rejected"])
    if not chosen or not rejected or chosen[:-1] != rejected[:-1]:
        return None
    if chosen[-1][0] != "Assistant" or rejected[-1][0] != "Assistant" or len(chosen) < 2:
        return None
    if not chosen[-1][1] or not rejected[-1][1]:
        return None
    prompt = "".join(f"{START}{TURN[role]}\n{words}{END}\n" for role, words in chosen[:-1])
    return TextPair(prompt + f"{START}assistant\n", chosen[-1][1] + END, rejected[-1][1] + END)


def hh_pairs(path: Path) -> list[TextPair]:
    """The usable pairs of an HH file, or of the first HH file in a directory."""
    file = path if path.is_file() else min(path.glob("*.jsonl.gz"))
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        pairs = [chatml(json.loads(line)) for line in lines]
    return [p for p in pairs if p is not None]


def synthetic_pairs(n: int, seed: int = 0) -> list[TextPair]:
    """Pairs of made-up words with HH-like proportions, for a machine without the HH file."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvyz", k=rng.randint(2, 9))) for _ in range(600)]

    def text(mean: int) -> str:
        return " ".join(rng.choices(words, k=max(3, int(rng.expovariate(1 / mean)))))

    return [
        TextPair(f"{START}user\n{text(60)}{END}\n{START}assistant\n", text(20) + END, text(25) + END) for _ in range(n)
    ]


def make_tokenizer(pairs: Sequence[TextPair], path: Path, vocab_size: int = 4096) -> Any:
    """A byte-level BPE tokenizer trained on the pairs, saved to `path`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((p.prompt + p.chosen + p.rejected for p in pairs), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(path)
    return fast


def make_model(
    size: str, tokenizer: Any, path: Path, vocab_size: int = 4096, seed: int = 0, *, classifier: bool = False
) -> int:
    """A randomly initialised Qwen3 with tied embeddings, or a classifier of one output, and the tokenizer, saved to
    `path`; its number of weights."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3ForSequenceClassification

    torch.manual_seed(seed)
    config = Qwen3Config(
        **MODELS[size],
        vocab_size=vocab_size,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
        **({"num_labels": 1} if classifier else {}),
    )
    model = (Qwen3ForSequenceClassification if classifier else Qwen3ForCausalLM)(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return sum(p.numel() for p in model.parameters())


def tokenise(pairs: Sequence[TextPair], tokenizer: Any, max_length: int) -> Iterator[tuple[TextPair, TokenPair]]:
    """Pairs in tokens, cut at the end to `max_length`; pairs with a response wholly cut away are left out.

    A prompt that would not be a prefix of prompt + response is left out too: both sides must see the same ids.
    """
    for pair in pairs:
        prompt = tokenizer(pair.prompt)["input_ids"]
        room = max_length - len(prompt)
        rows = [tokenizer(pair.prompt + text)["input_ids"] for text in (pair.chosen, pair.rejected)]
        if room < 1 or any(row[: len(prompt)] != prompt for row in rows):
            continue
        chosen, rejected = (row[len(prompt) :][:room] for row in rows)
        yield pair, TokenPair(prompt, chosen, rejected)


def whole(rows: Sequence[tuple[TextPair, TokenPair]], tokenizer: Any) -> list[tuple[TextPair, TokenPair]]:
    """The pairs whose responses both end as they were written: not every trainer cuts alike."""
    end = tokenizer.eos_token_id
    return [row for row in rows if row[1].chosen[-1] == row[1].rejected[-1] == end]


def write_pairs(rows: Sequence[tuple[TextPair, TokenPair]], path: Path) -> None:
    """Texts and tokens, one row a line."""
    with path.open("w", encoding="utf-8") as out:
        for text, tokens in rows:
            out.write(json.dumps({"text": vars(text), "tokens": vars(tokens)}) + "\n")


def read_pairs(path: Path) -> list[tuple[TextPair, TokenPair]]:
    """What `write_pairs` wrote."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(TextPair(**row["text"]), TokenPair(**row["tokens"])) for row in rows]


def shape(rows: Sequence[TokenPair], micro: int) -> dict[str, float]:
    """Mean lengths, and tokens a pair costs: padded in micro-batches of `micro`, unpadded, with the prompt shared."""
    n = len(rows)
    prompts, chosen, rejected = (sum(len(getattr(r, k)) for r in rows) for k in ("prompt", "chosen", "rejected"))
    longest = [len(r.prompt) + max(len(r.chosen), len(r.rejected)) for r in rows]
    padded = sum(2 * len(longest[i : i + micro]) * max(longest[i : i + micro]) for i in range(0, n, micro))
    return {
        "prompt": prompts / n,
        "chosen": chosen / n,
        "rejected": rejected / n,
        "padded": padded / n,
        "unshared": (2 * prompts + chosen + rejected) / n,
        "shared": (prompts + chosen + rejected) / n,
    }
