"""Prompts and rewards of the reinforcement-learning benchmarks: GSM8K questions as ChatML, a reward of text alone."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_pairs import END, START, TextPair

# End tokens beside the tokenizer's own: with 4,096 of vocabulary and random weights a response ends with a chance of
# 1 % a token, and is 72 tokens long on average when at most 128 are allowed.
MORE_ENDS = 40


@dataclass(frozen=True)
class Question:
    """A question as ChatML text, up to where the answer begins, and the number that answers it."""

    prompt: str
    answer: str


def questions(path: Path) -> tuple[list[Question], list[str]]:
    """The questions of a GSM8K file, or of the training file in a directory, and the worked answers."""
    file = path if path.is_file() else min(path.glob("train*.jsonl.gz"))
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Question(chat(r["question"]), number_of(r["answer"])) for r in rows], [r["answer"] for r in rows]


def synthetic_questions(n: int, seed: int = 0) -> tuple[list[Question], list[str]]:
    """Made-up sums, for a machine without the GSM8K file."""
    rng = random.Random(seed)
    sums = [(rng.randint(2, 99), rng.randint(2, 99)) for _ in range(n)]
    asked = [Question(chat(f"What is {a} plus {b}?" + " Think." * rng.randint(0, 9)), str(a + b)) for a, b in sums]
    return asked, [f"{a} + {b} = {a + b}\n#### {a + b}" for a, b in sums]


def chat(question: str) -> str:
    """A user's turn and the assistant's opening."""
    return f"{START}user\n{question}{END}\n{START}assistant\n"


def number_of(answer: str) -> str:
    """What stands after the four hashes."""
    return answer.rsplit("####", 1)[-1].strip().replace(",", "")


def reward(text: str, answer: str) -> float:
    """1 for the right last number, and up to 0.2 for words: random weights then differ in their rewards."""
    numbers = re.findall(r"-?\d[\d,]*\.?\d*", text)
    right = bool(numbers) and numbers[-1].replace(",", "").rstrip(".") == answer
    words = sum(c.isalpha() or c == " " for c in text) / max(1, len(text))
    return float(right) + 0.2 * words


def texts_for_tokenizer(asked: Sequence[Question], worked: Sequence[str]) -> list[TextPair]:
    """Questions and answers in the shape the tokenizer is trained on."""
    return [TextPair(q.prompt, w + END, "") for q, w in zip(asked, worked, strict=True)]


def set_ends(model: Path, tokenizer: Any, more: int, vocab_size: int) -> list[int]:
    """Let `more` ordinary tokens end a response, beside the tokenizer's own; all of them, as the model's files say."""
    file = model / "generation_config.json"
    config = json.loads(file.read_text())
    step = max(1, (vocab_size - 300) // max(1, more))
    config["eos_token_id"] = [tokenizer.eos_token_id, *range(300, vocab_size, step)][: more + 1]
    file.write_text(json.dumps(config))
    ends: list[int] = config["eos_token_id"]
    return ends
