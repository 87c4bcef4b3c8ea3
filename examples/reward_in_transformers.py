"""Train a reward model here, score with transformers' own pipeline there: the same numbers."""

import sys

import torch
from transformers import AutoTokenizer, pipeline

import hizala
from hizala.engines.data.templates import ChatTemplate
from hizala.pipelines.scorers import TextScorer, load_scorer
from hizala.records import Group, Message, Response

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
QUESTION = "Kibarca yanıt ver: 12 + 30 kaç eder?"
ANSWERS = ("42 eder. Yardımcı olabildiysem ne mutlu.", "42. Bunu da mı bilmiyorsun?", "44 eder.")

result = hizala.run(
    hizala.recipe(
        name="reward-in-transformers",
        stages=[{"reward": {"data": "world:preferences?n=2000", "steps": STEPS}}],
    )
)
path = result.models["reward"]

# Here: a scorer of prompts and responses.
responses = tuple(Response((Message("assistant", answer),)) for answer in ANSWERS)
scorer = TextScorer(load_scorer(path), ChatTemplate.load(path))
ours = scorer.score([Group((Message("user", QUESTION),), responses)])[0]

# There: a text classifier. It reads its score at the last token, so the text ends with the response's end token.
tokenizer = AutoTokenizer.from_pretrained(path)
texts = [
    tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": answer}], tokenize=False
    ).rstrip("\n")
    for answer in ANSWERS
]
classify = pipeline("text-classification", model=str(path), dtype=torch.float32, device="cpu")
theirs = [row["score"] for row in classify(texts, function_to_apply="none", batch_size=3)]

for answer, one, other in zip(ANSWERS, ours, theirs, strict=True):
    print(f"{one:+.6f} {other:+.6f}  {answer}")
assert max(abs(one - other) for one, other in zip(ours, theirs, strict=True)) < 1e-5
