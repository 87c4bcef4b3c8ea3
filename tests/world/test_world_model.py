"""The shipped model: its files, its template, and that it can do the tasks but is not yet aligned."""

from __future__ import annotations

import json
from statistics import mean

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hizala import world
from hizala.records import Group
from hizala.world.text import LANGUAGES

FILES = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
PROMPTS = 400


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return AutoTokenizer.from_pretrained(world.model_dir())


@pytest.fixture(scope="module")
def model() -> object:
    return AutoModelForCausalLM.from_pretrained(world.model_dir(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def scored(model: object, tokenizer: object) -> list[tuple[Group, str, float]]:
    """Test problems with one sampled response each and its gold reward."""
    torch.manual_seed(0)
    groups = world.generate("test", PROMPTS, 3)
    out = []
    for start in range(0, PROMPTS, 100):
        batch = groups[start : start + 100]
        turns = [[{"role": "user", "content": g.prompt[0].content}] for g in batch]
        inputs = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        made = model.generate(**inputs, max_new_tokens=64, do_sample=True, temperature=1.0, top_k=0)
        for group, row in zip(batch, made[:, inputs["input_ids"].shape[1] :], strict=True):
            text = tokenizer.decode(row, skip_special_tokens=True)
            out.append((group, text, world.gold(group, text).value))
    return out


def test_the_directory_holds_the_standard_files_and_weighs_at_most_eight_megabytes() -> None:
    present = {path.name for path in world.model_dir().iterdir()}
    assert present == FILES
    assert sum(path.stat().st_size for path in world.model_dir().iterdir()) <= 8_000_000
    card = (world.model_dir() / "README.md").read_text(encoding="utf-8")
    assert "## Türkçe" in card
    assert "| total |" in card


def test_it_is_a_small_tied_qwen3_with_its_own_padding_token(model: object) -> None:
    config = json.loads((world.model_dir() / "config.json").read_text())
    assert config["model_type"] == "qwen3"
    assert config["tie_word_embeddings"] is True
    assert config["pad_token_id"] != config["eos_token_id"]
    assert 500_000 <= model.num_parameters() <= 8_000_000


def test_turkish_letters_are_single_tokens_and_digits_stand_alone(tokenizer: object) -> None:
    for letter in "çğıöşüÇĞİÖŞÜ":
        assert len(tokenizer.encode(letter)) == 1, letter
    assert tokenizer.tokenize("1234567890") == list("1234567890")
    assert tokenizer.tokenize("<think>7</think>") == ["<think>", "7", "</think>"]


@pytest.mark.parametrize("text", ["Işıl'ın İğnesi, ÇĞÜ!", "a  b\n\tc", "日本 🙂 \x00", "e\u0301 İ i\u0307", "", " "])
def test_any_text_survives_encoding(tokenizer: object, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_turkish_is_cut_about_as_finely_as_english(tokenizer: object) -> None:
    rate = {}
    for lang in ("tr", "en"):
        texts = [g.prompt[0].content for g in world.generate("test", 300, 1, lang=lang)]
        rate[lang] = sum(len(tokenizer.encode(t)) for t in texts) / sum(len(t.split()) for t in texts)
    assert rate["tr"] < 1.8 * rate["en"]


def test_a_generation_prompt_is_a_prefix_of_the_whole_and_history_is_unchanged(tokenizer: object) -> None:
    turns = [
        {"role": r, "content": c}
        for r, c in (("system", "s"), ("user", "<think>u"), ("assistant", "<think>x</think>\na"))
    ]
    turns += [{"role": "user", "content": "v"}, {"role": "assistant", "content": "w"}]
    for stop in (3, 5):
        whole = tokenizer.apply_chat_template(turns[:stop], tokenize=False)
        opened = tokenizer.apply_chat_template(turns[: stop - 1], tokenize=False, add_generation_prompt=True)
        assert whole.startswith(opened)
        assert whole[len(opened) :] == turns[stop - 1]["content"] + "<|im_end|>\n"
        assert tokenizer.apply_chat_template(turns, tokenize=False).startswith(whole)


def test_sampled_skill_leaves_work_to_do(scored: list[tuple[object, str, float]]) -> None:
    assert 0.20 <= mean(value for _, _, value in scored) <= 0.60
    for lang in LANGUAGES:
        assert mean(value for g, _, value in scored if g.meta["lang"] == lang) >= 0.15
    families = {f: mean(v for g, _, v in scored if g.meta["family"] == f) for f in world.FAMILIES}
    assert all(0.10 <= value <= 0.75 for value in families.values()), families


def test_it_speaks_the_language_and_ends_its_turns(scored: list[tuple[object, str, float]]) -> None:
    labelled = [text.strip().split("\n")[-1] for g, text, _ in scored if g.meta["family"] == "arithmetic"]
    spoken = [t.removeprefix("Cevap: ").removeprefix("Answer: ").isdigit() for t in labelled]
    assert mean(spoken) >= 0.85
    assert mean(text.count("<think>") == text.count("</think>") for _, text, _ in scored) >= 0.97


def test_it_is_polite_about_half_the_time(scored: list[tuple[object, str, float]]) -> None:
    polite = [value == 1.0 for group, _, value in scored if group.meta["task"] == "style"]
    assert 0.2 <= mean(polite) <= 0.75
