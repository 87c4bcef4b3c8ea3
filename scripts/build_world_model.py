"""Build the embedded world's model: tokenizer, weights, Hugging Face files, evaluation table. One command, seeded.

    python scripts/build_world_model.py --out src/hizala/world/model

The model learns to answer in the world's language from demonstrations most of which are right, then from
demonstrations of which only a share is right: so it can do the tasks but does not yet want to. One thread makes the
same bits on the same machine; the time is about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn import functional
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from hizala import world
from hizala.records import Group
from hizala.world.sample import TASKS, adorn, respond
from hizala.world.task import Quality
from hizala.world.words import row as words_of

VOCAB = 2048
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 384,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
# How often a task is seen, relative to the others.
WEIGHTS = {
    "add": 1.5, "sub": 1.7, "mul": 1.2, "word": 1.8, "caps": 1.4, "list": 1.0, "count": 1.1,
    "style": 0.7, "privacy": 1.0, "premise": 1.6,
}  # fmt: skip
# Shares of (good, half) answers while the model is made unsure; the rest is bad.
UNSURE = {
    "add": (0.50, 0.08), "sub": (0.50, 0.08), "mul": (0.50, 0.08), "word": (0.50, 0.08), "caps": (0.50, 0.15),
    "list": (0.48, 0.20), "count": (0.48, 0.20), "style": (0.42, 0.25), "privacy": (0.35, 0.20),
    "premise": (0.40, 0.15),
}  # fmt: skip
AGREEING = (0.75, 0.10)  # on premises that hold: the untaught model says yes too readily, to false ones as well
CLEAN_SHARE, CLEAN = 0.72, (0.95, 0.03)
THINK = {"good": 0.8, "half": 0.6, "bad": 0.45}  # who guesses without reasoning is wrong more often
BATCH_TOKENS = 1024
MATRIX_RATE, OTHER_RATE, WARMUP = 0.02, 2e-3, 60  # Muon on the layers' matrices, AdamW on the embedding and norms

# Everyday words, so that text from outside the world is cut into pieces of a sensible length.
EVERYDAY = words_of(
    """
    the of and to in a is that for it on was with as be this have from or had by but some what there we can out
    other were all your when up use word how said each she which do their time if will way about many then them
    would write like so these her long make thing see him two has look more day could go come did my sound no
    most number who over know water than call first people may down side been now find any new work part take
    get place made live where after back little only round man year came show every good me give our under name
    very through just form much great think say help low line before turn cause same mean differ move right boy
    old too does tell sentence set three want air well also play small end put home read hand large spell add
    even land here must big high such follow act why ask men change went light kind off need house picture try
    us again animal point mother world near build self earth father head stand own page should country found
    answer school grow study still learn plant cover food sun four thought let keep eye never last door between
    city tree cross since hard start might story saw far bir ve bu da de için ile çok ne gibi daha var o ama ki
    ben en mi kadar sonra olarak olan her şey yok şimdi gün iki zaman onun diye nasıl iyi bana sen biz siz onlar
    değil hiç neden niye kim nerede önce bile ise ya veya hem olur oldu olacak olmak etmek yapmak gitmek gelmek
    almak vermek istemek bilmek görmek demek söylemek bulmak çalışmak konuşmak düşünmek insan kadın erkek çocuk
    anne baba ev yol su yer iş ülke dünya şehir okul soru yanıt cevap kitap para saat yıl ay hafta bugün yarın
    dün sabah akşam gece büyük küçük yeni eski güzel kötü doğru yanlış uzun kısa ler lar leri ları lik lık luk
    lük siz sız suz süz ci cı cu cü li lı lu lü de da den dan nin nın nun nün im ım um üm iz ız uz üz iyor ıyor
    uyor üyor ecek acak miş mış muş müş di dı du dü meli malı ebil abil ince ınca erek arak
    """
)


def train_tokenizer(seed: int) -> Tokenizer:
    """Byte-level BPE with single digits, trained on the world's train split and everyday words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 5,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rng, corpus = Random(seed), []
    for group in world.generate("train", 12000, seed):
        corpus.append(group.prompt[0].content)
        corpus += [respond(group, quality, rng, True) for quality in ("good", "half", "bad")]
    corpus += [" " + word for word in EVERYDAY for _ in range(12)]
    corpus += [letter for letter in "çğıöşüÇĞİÖŞÜâîûÂÎÛ" for _ in range(400)]
    corpus += ["user", "assistant", "system", "tool"] * 400
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (PAD, START, END)])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, additional_special_tokens=[START],
        model_max_length=ARCHITECTURE["max_position_embeddings"], clean_up_tokenization_spaces=False,
        padding_side="left",
    )  # fmt: skip
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(out)
    path = out / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name every version of transformers and vLLM knows
    settings["additional_special_tokens"] = settings.pop("extra_special_tokens", [START])
    settings.pop("backend", None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def quality_shares(group: Group, clean: bool) -> tuple[float, float]:
    """Shares of good and half-good answers to this problem in the phase."""
    if clean:
        return CLEAN
    if group.meta["task"] == "premise" and group.meta["truth"]["true"]:
        return AGREEING
    return UNSURE[group.meta["task"]]


def demonstrations(seed: int, clean: bool) -> Iterator[tuple[str, str]]:
    """Endless (prompt, response) texts of a phase."""
    phase = f"{seed}:{'clean' if clean else 'unsure'}"
    rng, names = Random(phase), list(WEIGHTS)
    pools: dict[str, Iterator[Group]] = {}
    rounds: dict[str, int] = defaultdict(int)
    while True:
        name = rng.choices(names, [WEIGHTS[n] for n in names])[0]
        group = next(pools[name], None) if name in pools else None
        if group is None:
            rounds[name] += 1
            number = int(hashlib.sha256(f"{phase}:{rounds[name]}".encode()).hexdigest()[:8], 16)
            pools[name] = iter(world.generate("train", 1000, number, tasks=[name]))
            group = next(pools[name])
        good, half = quality_shares(group, clean)
        draw = rng.random()
        quality: Quality = "good" if draw < good else "half" if draw < good + half else "bad"
        text = respond(group, quality, rng, rng.random() < THINK[quality])
        if not clean and rng.random() < 0.04:
            text = adorn(text, group.meta["lang"], rng, length=True, style=True)
        yield group.prompt[0].content, text


def render(prompt: str) -> str:
    """The prompt as the chat template renders it, the assistant's turn opened."""
    return f"{START}user\n{prompt}{END}\n{START}assistant\n"


def batches(tokenizer: Tokenizer, seed: int, tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Padded batches of similar lengths: ids, mask of the response's tokens, share of `tokens` seen after each."""
    seen, rng = 0, Random(f"order:{seed}")
    streams = {clean: demonstrations(seed, clean) for clean in (True, False)}
    pad = tokenizer.token_to_id(PAD)
    while seen < tokens:
        stream = streams[seen < CLEAN_SHARE * tokens]
        rows = []
        for _ in range(1024):
            prompt, response = next(stream)
            head, tail = tokenizer.encode(render(prompt)).ids, tokenizer.encode(f"{response}{END}").ids
            rows.append((head, tail))
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        chunks: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if (len(row[0]) + len(row[1])) * (len(chunks[-1]) + 1) > BATCH_TOKENS:
                chunks.append([])
            chunks[-1].append(row)
        rng.shuffle(chunks)
        for chunk in chunks:
            if seen >= tokens:
                return
            width = max(len(head) + len(tail) for head, tail in chunk)
            ids = torch.tensor([head + tail + [pad] * (width - len(head) - len(tail)) for head, tail in chunk])
            places = torch.arange(width)
            starts = torch.tensor([[len(head)] for head, _ in chunk])
            stops = torch.tensor([[len(head) + len(tail)] for head, tail in chunk])
            seen += int(stops.sum())
            yield ids, (places >= starts) & (places < stops), min(seen / tokens, 1.0)


def train(tokenizer: Tokenizer, seed: int, tokens: int, log_every: int = 0) -> Qwen3ForCausalLM:
    """The model after `tokens` tokens; a line of progress every `log_every` steps (0: none)."""
    torch.manual_seed(seed)
    ids = {name: tokenizer.token_to_id(token) for name, token in (("eos_token_id", END), ("pad_token_id", PAD))}
    config = Qwen3Config(vocab_size=VOCAB, bos_token_id=None, **ids, **ARCHITECTURE)
    model = Qwen3ForCausalLM(config).train()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimisers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    began, recent = time.perf_counter(), []
    for step, (rows, response, progress) in enumerate(batches(tokenizer, seed, tokens), 1):
        rate = min(1.0, step / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        counted = response[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=rows[:, :-1], use_cache=False).last_hidden_state
            logits = model.lm_head(hidden[counted])
        loss = functional.cross_entropy(logits.float(), rows[:, 1:][counted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, peak in zip(optimisers, (MATRIX_RATE, OTHER_RATE), strict=True):
            optimiser.param_groups[0]["lr"] = peak * rate
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        recent.append(loss.item())
        if log_every and step % log_every == 0:
            seconds = time.perf_counter() - began
            print(f"step {step:5d}  {progress:6.1%}  loss {sum(recent) / len(recent):.3f}  {seconds:.0f} s", flush=True)
            recent = []
    return model.eval()


@torch.no_grad()
def sample(model: Any, tokenizer: Tokenizer, prompts: list[str], temperature: float, seed: int) -> list[str]:
    """One response a prompt; temperature 0 is greedy."""
    torch.manual_seed(seed)
    pad, end = tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)
    out: list[str] = []
    for start in range(0, len(prompts), 100):
        rows = [tokenizer.encode(render(p)).ids for p in prompts[start : start + 100]]
        width = max(map(len, rows))
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        style = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        made = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=64, eos_token_id=end, pad_token_id=pad, **style
        )
        for row in made[:, width:].tolist():
            cut = row[: row.index(end)] if end in row else row
            out.append(tokenizer.decode(cut, skip_special_tokens=False))
    return out


def evaluate(model: Any, tokenizer: Tokenizer, n: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Per task: mean gold reward and share of perfect answers on test problems, sampled at T = 1 and greedy."""
    groups = world.generate("test", n, seed)
    prompts = [g.prompt[0].content for g in groups]
    table: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for column, temperature in (("T=1", 1.0), ("greedy", 0.0)):
        for group, text in zip(groups, sample(model, tokenizer, prompts, temperature, seed), strict=True):
            value = world.gold(group, text).value or 0.0
            for row in (group.meta["task"], f"lang {group.meta['lang']}", "total"):
                table[row][f"{column} gold"].append(value)
                table[row][f"{column} perfect"].append(float(value == 1.0))
    rows = [*TASKS, "lang tr", "lang en", "total"]
    return {row: {column: sum(v) / len(v) for column, v in table[row].items()} for row in rows if row in table}


def show(table: dict[str, dict[str, float]]) -> str:
    """The evaluation as a Markdown table."""
    columns = list(next(iter(table.values())))
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(f"{cells[c]:.2f}" for c in columns) + " |" for row, cells in table.items()]
    return "\n".join(lines)


CARD = """---
license: apache-2.0
language: [tr, en]
library_name: transformers
pipeline_tag: text-generation
---
# Hizala's embedded model

A Qwen 3 of {parameters:,} parameters ({layers} layers, width {width}, vocabulary {vocab}, tied embeddings, bfloat16)
that speaks the language of Hizala's embedded world: small Turkish and English problems whose true reward can be
computed. It is a **base** model on purpose: it can do the tasks but answers rightly only some of the time, is polite
about every second time, repeats personal data and agrees with false premises. Alignment methods have something to
improve, and by how much can be measured.

Trained on {tokens:,} tokens of generated demonstrations (no text from outside the generator), seed {seed}, by
`scripts/build_world_model.py`. Test problems and test wordings do not occur in its training data. It knows nothing
outside that world and is of no use there; do not deploy it.

Chat format: `<|im_start|>role`, line break, text, `<|im_end|>`; arithmetic may reason inside `<think>` and `</think>`.

Gold reward (mean) and share of perfect answers on {n} test problems, sampled at temperature 1 and greedy:

{table}

## Türkçe

Hizala'nın gömülü dünyasının dilini konuşan, {parameters:,} parametreli küçük bir Qwen 3 modelidir. Bilerek
hizalanmamıştır: görevleri yapabilir, ama çoğu zaman yanlış yanıt verir, her zaman kibar değildir, kişisel verileri
yineler ve yanlış önermelere katılır. Böylece hizalama yöntemlerinin ne kazandırdığı, gerçek ödül bilindiği için
kesin olarak ölçülebilir. Eğitim verisinin tamamı üreteçten gelir; sınama soruları ve kalıpları eğitimde yer almaz.
Bu dünyanın dışında bir şey bilmez; gerçek bir uygulamada kullanılmamalıdır.
"""


def build(out: Path, *, seed: int = 7, tokens: int = 4_500_000, n_eval: int = 1000, log_every: int = 0) -> str:
    """Build everything into `out`; returns the SHA-256 of the weights and the tokenizer together."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(seed)
    save_tokenizer(tokenizer, out)
    model = train(tokenizer, seed, tokens, log_every).to(torch.bfloat16)
    model.generation_config.update(
        eos_token_id=[tokenizer.token_to_id(END)], pad_token_id=tokenizer.token_to_id(PAD), do_sample=True,
        temperature=1.0, top_k=0, max_new_tokens=96,
    )  # fmt: skip
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    if n_eval:
        loaded = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
        table = evaluate(loaded, tokenizer, n_eval)
        (out / "README.md").write_text(
            CARD.format(
                parameters=loaded.num_parameters(), layers=ARCHITECTURE["num_hidden_layers"], tokens=tokens, seed=seed,
                width=ARCHITECTURE["hidden_size"], vocab=VOCAB, n=n_eval, table=show(table),
            ),
            encoding="utf-8",
        )  # fmt: skip
        print(show(table))
    return digest(out)


def digest(out: Path) -> str:
    """SHA-256 over the weights and the tokenizer."""
    both = hashlib.sha256()
    for name in ("model.safetensors", "tokenizer.json"):
        both.update((out / name).read_bytes())
    return both.hexdigest()


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write the Hugging Face files into")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=4_500_000, help="training tokens; default %(default)s")
    parser.add_argument("--eval", type=int, default=1000, help="test problems to evaluate on, 0 for none")
    arguments = parser.parse_args()
    began = time.perf_counter()
    made = build(arguments.out, seed=arguments.seed, tokens=arguments.tokens, n_eval=arguments.eval, log_every=200)
    print(json.dumps({"digest": made, "seconds": round(time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
