"""Every format is recognised by itself and becomes the right group; what is ambiguous or unknown is said."""

from __future__ import annotations

from typing import Any

import pytest

from hizala.engines.data import formats
from hizala.engines.data.rows import RowError
from hizala.errors import DataError
from hizala.records import Message, Step

USER, ANSWER = {"role": "user", "content": "Soru?"}, {"role": "assistant", "content": "Yanıt."}
WORSE = {"role": "assistant", "content": "Olmaz."}
SCORED = [{"output": "a", "score": 0.2}, {"output": "b", "score": 0.9}, {"output": "c", "score": 0.2}]
ROWS: dict[str, list[dict[str, Any]]] = {
    "pair": [
        {"prompt": "Soru?", "chosen": "Yanıt.", "rejected": "Olmaz."},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [WORSE]},
        {"prompt": "Soru?", "chosen": [USER, ANSWER], "rejected": [USER, WORSE], "messages": [USER, ANSWER]},
        {"instruction": "Soru?", "input": "", "chosen": "Yanıt.", "rejected": "Olmaz."},
        {"conversations": [{"from": "human", "value": "Soru?"}], "chosen": ANSWER, "rejected": WORSE},
        {"prompt": "\n\nHuman: Soru?\n\nAssistant:", "chosen": "Yanıt.", "rejected": "Olmaz."},
    ],
    "pair-implicit": [{"chosen": [USER, ANSWER], "rejected": [USER, WORSE]}],
    "hh": [{"chosen": "\n\nHuman: Soru?\n\nAssistant: Yanıt.", "rejected": "\n\nHuman: Soru?\n\nAssistant: Olmaz."}],
    "thumb": [
        {"prompt": "Soru?", "completion": "Yanıt.", "label": True},
        {"prompt": [USER], "response": [ANSWER], "label": 1},
        {"prompt": "Soru?", "response": "Yanıt.", "label": "true"},
        {"messages": [USER, ANSWER], "kto_tag": True},
    ],
    "kwise": [
        {"instruction": "Soru?", "candidates": SCORED, "ranking": [1, 0, 2]},
        {"prompt": "Soru?", "responses": ["a", "b", "c"], "scores": [0.2, 0.9, 0.2]},
        {"prompt": "Soru?", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]},
        {
            "context": [USER],
            "completions": [
                {"rank": r, "completion": [{"role": "assistant", "content": t}]}
                for r, t in ((1, "a"), (0, "b"), (1, "c"))
            ],
        },
    ],
    "stepwise": [
        {"prompt": "Soru?", "completions": ["bir", "iki", "üç"], "labels": [True, False, None]},
        {"input": "Soru?", "steps": ["bir", "iki", "üç"], "mistake_index": 1, "answer": "x"},
    ],
    "attributes": [
        {"prompt": "Soru?", "response": "Yanıt.", "helpfulness": 3, "correctness": 4, "verbosity": None},
        {"prompt": [USER], "completion": [ANSWER], "attributes": {"helpfulness": 3.0, "correctness": 4}, "score": 1},
    ],
    "scored": [
        {"prompt": "Soru?", "response": "Yanıt.", "score": 0.5},
        {"instruction": "Soru?", "input": "", "output": "Yanıt.", "rating": 0.5},
    ],
    "messages": [{"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER], "prompt": "Soru?", "prompt_id": "7"}],
    "sharegpt": [{"conversations": [{"from": "human", "value": "Soru?"}, {"from": "gpt", "value": "Yanıt."}]}],
    "prompt-response": [
        {"prompt": "Soru?", "response": "Yanıt."},
        {"prompt": [USER], "completion": [ANSWER], "source": "x"},
        {"input": "Soru?", "output": "Yanıt."},
    ],
    "alpaca": [{"instruction": "Soru?", "input": "", "output": "Yanıt."}],
    "prompts": [
        {"question": "Soru?", "answer": "#### 4"},
        {"prompt": [USER], "reward_model": {"ground_truth": "4"}, "data_source": "gsm8k"},
    ],
}
CASES = [(name, row) for name, rows in ROWS.items() for row in rows]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_each_format_is_recognised_and_converted(name: str, row: dict[str, Any]) -> None:
    assert formats.detect([row]) == name
    group = formats.to_group(row, name, id="d:1")
    assert group.prompt == (Message("user", "Soru?"),)
    texts = [response.text for response in group.responses]
    ranks = [response.rank for response in group.responses]
    if name in ("pair", "pair-implicit", "hh"):
        assert (texts, ranks) == (["Yanıt.", "Olmaz."], [0, 1])
    elif name == "kwise":
        assert (texts, ranks) == (["a", "b", "c"], [1, 0, 1])
    elif name == "stepwise":
        assert texts == ["bir\niki\nüç"]
        assert group.responses[0].steps == (Step("bir", True), Step("iki", False), Step("üç", None))
    elif name == "prompts":
        assert texts == []
    elif name in ("attributes", "scored"):
        (response,) = group.responses
        assert texts == ["Yanıt."]
        graded = {"helpfulness": 3, "correctness": 4} if name == "attributes" else {}
        assert dict(response.attributes) == graded
        assert response.score == row.get("score", row.get("rating"))
    else:
        assert texts == ["Yanıt."]
        assert [response.label for response in group.responses] == [True if name == "thumb" else None]


def test_every_format_has_a_case() -> None:
    assert set(ROWS) == set(formats.FORMATS)


def test_other_columns_stay_in_meta() -> None:
    group = formats.to_group({"question": "2 + 2?", "answer": "#### 4", "id": 7}, "prompts")
    assert dict(group.meta) == {"question": "2 + 2?", "answer": "#### 4", "id": 7}
    group = formats.to_group({"prompt": "a", "chosen": "b", "rejected": "c", "source": "s"}, "pair")
    assert dict(group.meta) == {"source": "s"}


def test_alpaca_puts_input_history_and_system_where_they_belong() -> None:
    row = {"instruction": "Çevir.", "input": "cat", "output": "kedi", "system": "Kısa.", "history": [["dog", "köpek"]]}
    prompt = formats.to_group(row, "alpaca").prompt
    assert [(m.role, m.content) for m in prompt] == [
        ("system", "Kısa."),
        ("user", "dog"),
        ("assistant", "köpek"),
        ("user", "Çevir.\n\ncat"),
    ]


def test_a_conversation_splits_before_the_first_assistant_turn() -> None:
    row = {"messages": [{"role": "system", "content": "s"}, USER, ANSWER, USER, WORSE, USER]}
    group = formats.to_group(row, "messages")
    assert [m.role for m in group.prompt] == ["system", "user"]
    assert [m.role for m in group.responses[0].messages] == ["assistant", "user", "assistant"]


def test_transcripts_split_at_the_last_assistant_turn() -> None:
    start = "\n\nHuman: a\n\nAssistant: b\nNot a turn:\n\nHuman: c\n\nAssistant:"
    group = formats.to_group({"chosen": f"{start} iyi ", "rejected": f"{start} kötü"}, "hh")
    assert [m.content for m in group.prompt] == ["a", "b\nNot a turn:", "c"]
    assert [r.text for r in group.responses] == ["iyi", "kötü"]


def test_implicit_prompts_may_part_before_the_last_turn() -> None:
    row = {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, WORSE]}
    group = formats.to_group(row, "pair-implicit")
    assert [len(response.messages) for response in group.responses] == [3, 1]


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "So"}, {"type": "text", "text": "ru?"}]
    group = formats.to_group({"messages": [{"role": "user", "content": parts}, ANSWER]}, "messages")
    assert group.prompt[0].content == "Soru?"


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("pair", {"prompt": "a", "chosen": "b"}, "'rejected' is missing"),
    ("pair", {"prompt": "", "chosen": "b", "rejected": "c"}, "prompt is missing or empty"),
    ("pair", {"prompt": " ", "chosen": "b", "rejected": "c"}, "prompt is empty"),
    ("pair", {"prompt": [ANSWER], "chosen": "b", "rejected": "c"}, "ends with an assistant turn"),
    ("pair", {"prompt": "a", "chosen": 3, "rejected": "c"}, "'chosen' is not a list of messages"),
    ("hh", {"chosen": "x", "rejected": "\n\nHuman: a\n\nAssistant: b"}, "does not start with"),
    ("hh", {"chosen": "\n\nHuman: a", "rejected": "\n\nHuman: a"}, "does not end with an assistant turn"),
    ("thumb", {"prompt": "a", "completion": "b", "label": "belki"}, "neither true nor false"),
    ("thumb", {"prompt": "a", "completion": "b", "label": None}, "'label' is missing"),
    ("thumb", {"messages": [USER], "label": True}, "response is missing"),
    ("kwise", {"prompt": "a", "responses": ["x"], "scores": [1]}, "fewer than two"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "scores": [1]}, "1 entries for 2 responses"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "scores": [1, "iyi"]}, "not a number"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "scores": [1, float("nan")]}, "not a finite number"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "scores": [1, None]}, "neither a score nor a rank"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "ranking": [0, 0]}, "does not name each response once"),
    ("kwise", {"prompt": "a", "responses": ["x", "y"], "scores": [1, 2], "ranking": [0, 1]}, "contradict"),
    ("kwise", {"prompt": "a", "candidates": [{"score": 1}, {"score": 2}]}, "has no text"),
    ("stepwise", {"prompt": "a", "completions": ["x"], "labels": [True, False]}, "1 steps but 2 labels"),
    ("stepwise", {"prompt": "a", "completions": ["x"], "labels": [5]}, "neither true, false nor null"),
    ("stepwise", {"prompt": "a", "steps": ["x"], "mistake_index": 1}, "does not name one of the 1 steps"),
    ("stepwise", {"prompt": "a", "steps": [], "mistake_index": None}, "not a list of steps"),
    ("messages", {"messages": [{"role": "sysop", "content": "a"}]}, "unknown role 'sysop'"),
    ("messages", {"messages": [ANSWER]}, "no user turn before"),
    ("messages", {"messages": [USER, {"role": "assistant", "content": None}]}, r"messages\[1\].content' is missing"),
    ("messages", {"messages": [USER, {"role": "assistant", "tool_calls": [1]}]}, "calls tools"),
    ("messages", {"messages": [USER, {"role": "system", "content": "s"}, ANSWER]}, "not the first"),
    ("messages", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "something other than text"),
    ("alpaca", {"instruction": " ", "output": "x"}, "'instruction' is missing or empty"),
    ("alpaca", {"instruction": "a", "output": None}, "'output' is missing"),
    ("alpaca", {"instruction": "a", "output": "b", "history": ["x"]}, "not a pair"),
    ("prompt-response", {"prompt": "a"}, "response is missing"),
    ("prompts", {"answer": "a"}, "prompt is missing"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD)
def test_a_row_that_does_not_hold_what_it_should_says_why(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        formats.to_group(row, name)


@pytest.mark.parametrize(
    "sides",
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: z\n\nAssistant: c"),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "\n\nHuman: a\n\nAssistant: d"),
    ],
)
def test_transcripts_with_different_prompts_are_told_apart(sides: tuple[str, str]) -> None:
    with pytest.raises(RowError, match="different prompts") as error:
        formats.to_group({"chosen": sides[0], "rejected": sides[1]}, "hh")
    assert error.value.kind == "prompt-differs"


def test_an_ambiguous_file_names_the_formats_and_how_to_choose() -> None:
    row = {"prompt": "a", "response": "b", "chosen": "c", "rejected": "d"}
    with pytest.raises(DataError, match="ambiguous: pair and prompt-response") as error:
        formats.detect([row], where="d.jsonl")
    assert "--format pair" in error.value.fix


def test_an_unknown_file_says_what_was_seen_and_what_is_near() -> None:
    with pytest.raises(DataError, match=r"columns: prompt \(text\), iyi \(text\), kotu \(text\)") as error:
        formats.detect([{"prompt": "a", "iyi": "b", "kotu": "c", "chosen": None, "label": None}])
    assert "--columns" in error.value.fix
    with pytest.raises(DataError, match="no usable row"):
        formats.detect([])


def test_a_mixed_file_is_counted() -> None:
    rows = [ROWS["pair"][0]] * 5 + [ROWS["messages"][0]] * 5
    with pytest.raises(DataError, match="5 like pair, 5 like messages"):
        formats.detect(rows)
    assert formats.detect([ROWS["pair"][0]] * 19 + [{"x": 1}]) == "pair"


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean 'sharegpt'"):
        formats.get("share-gpt")
