"""Groups in tokens: what is trained, what is cut, what a hostile text can do, and that transformers sees the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chat_models import CHATML, FAMILIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hizala.engines.data.templates import ChatTemplate, PromptTooLong, is_multi_turn, split_turns
from hizala.errors import DataError, ModelError, TemplateError
from hizala.records import Group, Message, Response

SINGLE = ["llama3", "qwen3", "gemma3", "mistral3", "mistral7"]
QUESTION = (Message("user", "Kaç yaşındasın?"),)


def pair(*texts: str, prompt: tuple[Message, ...] = QUESTION) -> Group:
    return Group(prompt, tuple(Response((Message("assistant", text),)) for text in texts), id="g")


@pytest.fixture
def chat(chatml: Callable[..., Path]) -> ChatTemplate:
    return ChatTemplate.load(chatml())


def shown(chat: ChatTemplate, ids: tuple[int, ...]) -> str:
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False)


def test_the_response_and_its_end_are_trained_and_nothing_else(chat: ChatTemplate) -> None:
    tokens = chat.encode_group(pair("Yaşım yok.", ""))
    assert shown(chat, tokens.prompt) == "<|im_start|>user\nKaç yaşındasın?<|im_end|>\n<|im_start|>assistant\n"
    assert [shown(chat, branch.ids) for branch in tokens.responses] == ["Yaşım yok.<|im_end|>", "<|im_end|>"]
    assert all(all(branch.mask) and not branch.truncated for branch in tokens.responses)


def test_over_several_turns_only_the_assistants_are_trained(chat: ChatTemplate) -> None:
    turns = (Message("assistant", "Bir."), Message("user", "Sonra?"), Message("assistant", "İki."))
    branch = chat.encode_group(Group(QUESTION, (Response(turns),))).responses[0]
    trained = tuple(i for i, counts in zip(branch.ids, branch.mask, strict=True) if counts)
    assert shown(chat, trained) == "Bir.<|im_end|>İki.<|im_end|>"
    rest = "\n<|im_start|>user\nSonra?<|im_end|>\n<|im_start|>assistant\n"
    assert shown(chat, branch.ids) == f"Bir.<|im_end|>{rest}İki.<|im_end|>"


def test_a_long_response_is_cut_flagged_and_keeps_no_end(chat: ChatTemplate) -> None:
    whole = chat.encode_group(pair("Bugün hava çok güzel; gölgede şöyle bir ağaç."))
    limit = len(whole.prompt) + 4
    cut = chat.encode_group(pair("Bugün hava çok güzel; gölgede şöyle bir ağaç.", "Ya"), max_length=limit)
    assert cut.responses[0].ids == whole.responses[0].ids[:4]
    assert cut.responses[0].truncated
    assert not set(cut.responses[0].ids) & set(chat.end_ids())
    assert not cut.responses[1].truncated


def test_a_response_that_was_cut_while_it_was_sampled_does_not_learn_to_end(chat: ChatTemplate) -> None:
    response = Response((Message("assistant", "Bugün hava"),), truncated=True)
    branch = chat.encode_group(Group(QUESTION, (response,))).responses[0]
    assert shown(chat, branch.ids) == "Bugün hava"
    assert branch.truncated


def test_a_prompt_is_never_cut_but_dropped_and_counted(chat: ChatTemplate) -> None:
    size = len(chat.encode_prompt(pair("x")))
    with pytest.raises(PromptTooLong, match=f"{size} tokens, the limit is {size}"):
        chat.encode_group(pair("x"), max_length=size)
    long = pair("y", prompt=(Message("user", "Soru? " * 50),))
    out = chat.encode_all([pair("x"), long, pair("z", "t")], max_length=size + 5)
    assert out.counts["dropped:prompt-too-long"] == 1
    assert (out.sources, out.counts["groups"], out.counts["encoded"], out.counts["responses"]) == ([0, 2], 3, 2, 3)
    assert out.findings[0].kind == "prompt-too-long"


def test_what_the_template_refuses_is_dropped_and_named(family: Callable[[str], Path]) -> None:
    twice = pair("x", prompt=(*QUESTION, Message("assistant", "a"), Message("assistant", "b"), *QUESTION))
    out = ChatTemplate.load(family("gemma3")).encode_all([twice, pair("y")])
    assert out.counts["dropped:template"] == 1
    assert "alternate" in out.findings[0].message


def test_turn_by_turn_where_the_template_rewrites_history(family: Callable[[str], Path]) -> None:
    chat = ChatTemplate.load(family("qwen3"))
    turns = (
        Message("assistant", "<think>\na\n</think>\n\nBir."),
        Message("user", "Peki?"),
        Message("assistant", "İki."),
    )
    group = Group(QUESTION, (Response(turns),), id="g")
    assert is_multi_turn(group)
    out = chat.encode_all([group])
    assert [tokens.id for tokens in out.tokens] == ["g#1", "g#2"]
    assert (out.sources, out.counts["split"]) == ([0, 0], 1)
    first, second = (shown(chat, tokens.responses[0].ids) for tokens in out.tokens)
    assert first == "<think>\na\n</think>\n\nBir.<|im_end|>"
    assert "<think>" not in shown(chat, out.tokens[1].prompt)
    assert second.endswith("İki.<|im_end|>")
    with pytest.raises(DataError, match="turn by turn"):
        split_turns(Group(QUESTION, (Response(turns), Response(turns))))


@pytest.mark.parametrize("name", SINGLE)
def test_typed_special_tokens_stay_text(family: Callable[[str], Path], name: str) -> None:
    chat = ChatTemplate.load(family(name))
    typed = "a" + FAMILIES[name]["special"].replace(" ", "") + "b " + FAMILIES[name]["special"]
    plain, hostile = chat.encode_group(pair("x")), chat.encode_group(pair(typed, prompt=(Message("user", typed),)))
    for clean, dirty in ((plain.prompt, hostile.prompt), (plain.responses[0].ids, hostile.responses[0].ids)):
        assert sum(i in chat.control_ids for i in clean) == sum(i in chat.control_ids for i in dirty)
    answer = chat.decode(hostile.responses[0].ids).removeprefix("<think>\n\n</think>\n\n")
    assert answer.strip() == typed


@pytest.mark.parametrize("name", SINGLE)
def test_transformers_sees_the_same_tokens(family: Callable[[str], Path], name: str) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = family(name)
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        chat_template=(folder / "chat_template.jinja").read_text("utf-8"),
        **FAMILIES[name]["names"],
    )
    chat = ChatTemplate.load(folder)
    turns = [("system", "Kısa yanıt ver."), ("user", "Merhaba"), ("assistant", "Selam."), ("user", "2 + 2?")]
    messages = tuple(Message(role, text) for role, text in turns)
    plain = [{"role": role, "content": text} for role, text in turns]
    given = {"strftime_now": lambda form: "01 Jan 2025"} if name == "llama3" else {}
    opened = theirs.apply_chat_template(plain, add_generation_prompt=True, tokenize=True, return_dict=False, **given)
    tokens = chat.encode_group(pair("Dört.", prompt=messages))
    assert list(tokens.prompt) == list(opened)
    answered = [*plain, {"role": "assistant", "content": "Dört."}]
    whole = theirs.apply_chat_template(answered, tokenize=True, return_dict=False, **given)
    ours = [*tokens.prompt, *tokens.responses[0].ids]
    assert ours == list(whole)[: len(ours)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufdd0"), max_size=40))
def test_any_text_comes_back_and_ends_once(chat: ChatTemplate, text: str) -> None:
    tokens = chat.encode_group(pair(text, prompt=(Message("user", f"a {text}"),)))
    assert chat.decode(tokens.responses[0].ids) == text
    assert sum(i in chat.control_ids for i in tokens.responses[0].ids) == 1
    assert sum(i in chat.control_ids for i in tokens.prompt) == 3


def test_raw_text_has_no_template_and_an_end(chatml: Callable[..., Path]) -> None:
    chat = ChatTemplate.load(chatml(template=None), template="raw")
    group = pair("dört", prompt=(Message("system", "Hesap. "), Message("user", "2 + 2 = ")))
    tokens = chat.encode_group(group)
    assert shown(chat, tokens.prompt) == "Hesap. 2 + 2 = "
    assert shown(chat, tokens.responses[0].ids) == "dört<|im_end|>"


def test_the_digest_follows_everything_that_changes_tokens(chatml: Callable[..., Path]) -> None:
    first = ChatTemplate.load(chatml()).digest
    assert ChatTemplate.load(chatml()).digest == first
    assert ChatTemplate.load(chatml(CHATML + " ")).digest != first
    assert ChatTemplate.load(chatml(), end=["<|endoftext|>"]).digest != first


def test_the_noncharacter_used_as_a_mark_is_refused_in_data(chat: ChatTemplate) -> None:
    with pytest.raises(DataError, match="U\\+FDD0"):
        chat.encode_group(pair("a\ufdd0b"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", "{", "cannot be read"),
        ("tokenizer_config.json", "[1]", "not a JSON object"),
        ("tokenizer_config.json", '{"eos_token": "<none>"}', "not in the vocabulary"),
        ("generation_config.json", '{"eos_token_id": 99999}', "not in the vocabulary"),
        ("tokenizer.json", None, "no tokenizer.json"),
    ],
)
def test_a_damaged_model_directory_is_one_clear_error(
    chatml: Callable[..., Path], name: str, content: str | None, message: str
) -> None:
    model = chatml()
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_text(content, "utf-8")
    with pytest.raises(ModelError, match=message):
        ChatTemplate.load(model)


def test_templates_are_found_where_models_keep_them(chatml: Callable[..., Path]) -> None:
    import json

    model = chatml(template=None)
    config = json.loads((model / "tokenizer_config.json").read_text("utf-8"))
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
    for value in (CHATML, named):
        (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": value}), "utf-8")
        assert ChatTemplate.load(model).prove().multi_turn
    (model / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named[:1]}), "utf-8")
    with pytest.raises(TemplateError, match="'default'"):
        ChatTemplate.load(model)
    (model / "other.jinja").write_text(CHATML, "utf-8")
    assert ChatTemplate.load(model, template=str(model / "other.jinja")).prove().system
