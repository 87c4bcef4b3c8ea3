"""Law 7: the training mask is proven on the tokenizer at hand, or the template is refused by the rule it breaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_models import CHATML, byte_level
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from hizala.engines.data import proof
from hizala.engines.data.templates import ChatTemplate, Span
from hizala.errors import TemplateError
from hizala.records import Group, Message, Response, TokenBranch, TokenGroup


@pytest.mark.parametrize(
    ("name", "end", "multi_turn", "system"),
    [
        ("llama3", "<|eot_id|>", True, True),
        ("qwen3", "<|im_end|>", False, True),
        ("gemma3", "<end_of_turn>", True, True),
        ("mistral3", "</s>", False, True),
        ("mistral7", "</s>", True, True),
    ],
)
def test_the_templates_of_known_families_are_proven(
    family: Callable[[str], Path], name: str, end: str, multi_turn: bool, system: bool
) -> None:
    found = ChatTemplate.load(family(name)).prove()
    assert (found.end, found.multi_turn, found.system) == (end, multi_turn, system)
    assert ("history" in found.rules) == multi_turn
    assert set(found.rules) | {"history"} == set(proof.RULES)
    assert found.conversations >= 15


def test_the_proof_says_what_a_user_should_know(family: Callable[[str], Path]) -> None:
    notes = " ".join(ChatTemplate.load(family("qwen3")).prove().notes)
    assert "turn by turn" in notes
    assert "'<think>\\n\\n</think>\\n\\n' before each response" in notes
    assert "pinned" in " ".join(ChatTemplate.load(family("llama3")).prove().notes)
    assert "trims" in " ".join(ChatTemplate.load(family("gemma3")).prove().notes)


HEADER = "{{ '<|im_start|>' + m.role + '\\n' }}"
LOOP = "{% for m in messages %}" + HEADER + "{{ m.content }}{{ '<|im_end|>\\n' }}{% endfor %}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
BROKEN: dict[str, tuple[str, str]] = {
    "not valid jinja": ("render", "{% for m in messages %}"),
    "refuses everything": ("render", "{{ raise_exception('no') }}"),
    "reaches for python": ("render", "{{ messages.__class__.__mro__ }}{{ cycler.__init__.__globals__ }}"),
    "draws lots": ("deterministic", "{{ range(1000) | random }}" + LOOP + OPEN),
    "opens a thought the finished turn lacks": (
        "prefix",
        LOOP + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
    ),
    "ignores the generation prompt, special header": ("opening", LOOP),
    "ignores the generation prompt, plain header": (
        "opening",
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}",
    ),
    "lower-cases the user": ("content", LOOP.replace("{{ m.content }}", "{{ m.content | lower }}") + OPEN),
    "cuts the response": (
        "content",
        LOOP.replace("m.content", "(m.content[:3] if m.role == 'assistant' else m.content)") + OPEN,
    ),
    "writes no end": ("end", "{% for m in messages %}" + HEADER + "{{ m.content }}{% endfor %}" + OPEN),
    "ends with a token generation does not stop at": ("end", (LOOP + OPEN).replace("<|im_end|>", "<|endoftext|>")),
    "lets the border melt": (
        "boundary",
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_template_that_breaks_a_rule_is_refused_by_its_name(chatml: Callable[..., Path], case: str) -> None:
    rule, template = BROKEN[case]
    with pytest.raises(TemplateError, match=f"rule '{rule}'"):
        ChatTemplate.load(chatml(template)).prove()


def test_reasoning_that_a_template_drops_is_refused_row_by_row(chatml: Callable[..., Path]) -> None:
    chat = ChatTemplate.load(chatml(LOOP.replace("m.content", "m.content.split('</think>')[-1]") + OPEN))
    found = chat.prove()
    assert not found.reasoning
    assert any("break rule 'content'" in note for note in found.notes)
    reasoned, plain = (
        Group((Message("user", "2 + 2?"),), (Response((Message("assistant", text),)),), id=text)
        for text in (proof.REASONED, "Four.")
    )
    out = chat.encode_all([reasoned, plain])
    assert (out.sources, out.counts["dropped:template"]) == ([1], 1)


def test_an_opened_thought_belongs_to_the_prompt(chatml: Callable[..., Path]) -> None:
    opens = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    turn = "{{ ('<think>\n\n</think>\n\n' if m.role == 'assistant' and '</think>' not in m.content else '') }}"
    chat = ChatTemplate.load(chatml(LOOP.replace("{{ m.content }}", turn + "{{ m.content }}") + opens))
    assert chat.prove().reasoning
    tokens = chat.encode_group(Group((Message("user", "a"),), (Response((Message("assistant", proof.REASONED),)),)))
    assert chat.visible(tokens.prompt).endswith("<think>\n")
    assert chat.visible(tokens.responses[0].ids) == "Two and two.\n</think>\n\nFour.<|im_end|>"


def test_every_rule_has_a_case_that_breaks_it() -> None:
    elsewhere = {"history", "forgery", "round-trip", "mask"}
    assert {rule for rule, _ in BROKEN.values()} | elsewhere == set(proof.RULES)


def test_a_control_token_that_can_be_typed_is_refused(chatml: Callable[..., Path]) -> None:
    model = chatml(special=["<|endoftext|>"], plain=["<|im_start|>", "<|im_end|>"])
    with pytest.raises(TemplateError, match="rule 'forgery'"):
        ChatTemplate.load(model).prove()


@pytest.mark.parametrize(
    "normalizer",
    [normalizers.Lowercase(), normalizers.Sequence([normalizers.NFKD(), normalizers.Replace(Regex(r"\p{Mn}"), "")])],
    ids=["lower-cases", "strips-accents"],
)
def test_a_tokenizer_that_loses_text_is_refused(chatml: Callable[..., Path], normalizer: Any) -> None:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizer
    with pytest.raises(TemplateError, match="rule 'round-trip'"):
        ChatTemplate.load(chatml(tokenizer=tokenizer)).prove()


def test_a_tokenizer_without_a_letter_is_refused(chatml: Callable[..., Path]) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "Merhaba": 1, ".": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(TemplateError, match="rule 'round-trip'"):
        ChatTemplate.load(chatml(tokenizer=tokenizer)).prove()


def test_a_template_that_rewrites_earlier_turns_cannot_train_them_in_one_piece(family: Callable[[str], Path]) -> None:
    chat = ChatTemplate.load(family("qwen3"))
    turns = (Message("assistant", "Bir."), Message("user", "Peki?"), Message("assistant", "İki."))
    with pytest.raises(TemplateError, match="rule 'history'"):
        chat.encode_group(Group((Message("user", "Say."),), (Response(turns),)))


def test_a_wrong_mask_does_not_pass(chatml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right = ChatTemplate.encode_group

    def wrong(chat: ChatTemplate, group: Group, *, max_length: int | None = None) -> TokenGroup:
        tokens = right(chat, group, max_length=max_length)
        branches = tuple(TokenBranch(b.ids, (False, *b.mask[1:])) for b in tokens.responses)
        return TokenGroup(tokens.prompt, branches)

    monkeypatch.setattr(ChatTemplate, "encode_group", wrong)
    with pytest.raises(TemplateError, match="rule 'mask'"):
        ChatTemplate.load(chatml()).prove()


def test_a_mask_over_the_users_turn_does_not_pass(chatml: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right = ChatTemplate.spans

    def wrong(chat: ChatTemplate, *args: Any) -> list[Span]:
        return [Span(span.text, True, span.end) for span in right(chat, *args)]

    monkeypatch.setattr(ChatTemplate, "spans", wrong)
    with pytest.raises(TemplateError, match="rule 'mask'"):
        ChatTemplate.load(chatml()).prove()


def test_an_end_token_may_be_named(chatml: Callable[..., Path]) -> None:
    model = chatml(names={"eos_token": "<|endoftext|>"})
    with pytest.raises(TemplateError, match="rule 'end'"):
        ChatTemplate.load(model).prove()
    assert ChatTemplate.load(model, end=["<|im_end|>"]).prove().end == "<|im_end|>"


def test_generation_settings_that_miss_the_end_are_noted(chatml: Callable[..., Path]) -> None:
    found = ChatTemplate.load(chatml(stops=["<|endoftext|>"])).prove()
    assert any("generation_config.json does not list <|im_end|>" in note for note in found.notes)


def test_raw_text_is_proven_without_a_template(chatml: Callable[..., Path]) -> None:
    found = ChatTemplate.load(chatml(template=None), template="raw").prove()
    assert found.end == "<|im_end|>"
    with pytest.raises(TemplateError, match="no chat template"):
        ChatTemplate.load(chatml(template=None))


def test_the_proof_is_plain_values(chatml: Callable[..., Path]) -> None:
    plain = ChatTemplate.load(chatml(CHATML)).prove().to_json()
    assert plain["end"] == "<|im_end|>"
    assert set(plain["rules"]) == set(proof.RULES)
