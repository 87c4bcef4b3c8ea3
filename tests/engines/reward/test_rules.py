"""Rules of form, language, length, repetition, patterns and the world's truth; all of them under hostile input."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hizala import world
from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.compose import Composed, build
from hizala.errors import ConfigError
from hizala.records import Group, Message, Response
from hizala.registry import rewards


def group(*texts: str, prompt: str = "?", tokens: int | None = None, **meta: Any) -> Group:
    """A prompt with these responses, of that many tokens each."""
    logps = None if tokens is None else (0.0,) * tokens
    said = tuple(Response((Message("assistant", text),), logps=logps) for text in texts)
    return Group((Message("user", prompt),), said, "g", meta)


def score(spec: dict[str, Any], asked: Group) -> list[float | None]:
    """Values of one group's responses."""
    composed = build(spec, RewardContext(workers=1, time_limit=2.0))
    found = [verdict.value for verdict in composed.score([asked])[0]]
    composed.close()
    return found


WHOLE = "<think>two and two</think>\n<answer>4</answer>"
FORMS: dict[str, dict[str, float]] = {
    "think_answer": {
        WHOLE: 1.0,
        " \n" + WHOLE + " \n": 1.0,
        "<think>two</think> so <answer>4</answer>": 0.0,
        "<think>two</think><answer>4</answer> Done.": 0.0,
        "<think></think><answer>4</answer>": 0.0,
        "<think>two</think><answer> </answer>": 0.0,
        "<answer>4</answer><think>two</think>": 0.0,
        WHOLE + WHOLE: 0.0,
        "<think>two</think><answer>4": 0.0,
        "<think><think>two</think></think><answer>4</answer>": 0.0,
        "<THINK>two</THINK><ANSWER>4</ANSWER>": 0.0,
        "": 0.0,
    },
    "think": {
        "<think>two</think>4": 1.0,
        "<think>two</think> ": 0.0,
        "4": 0.0,
        WHOLE: 0.0,
        "so <think>a</think>4": 0.0,
    },
    "boxed": {
        "<think>\\boxed{3}</think> \\boxed{4}": 1.0,
        "\\boxed{\\frac{1}{2}}": 1.0,
        "\\boxed{4} \\boxed{4}": 0.0,
        "\\boxed{4": 0.0,
        "\\boxed{ }": 0.0,
        "4": 0.0,
    },
    "answer": {
        "Answer: 4": 1.0,
        "<think>2+2=4</think>\nAnswer: 4": 1.0,
        "Answer: -1,234.5.": 1.0,
        "Cevap: 4": 0.0,
        "4": 0.0,
        "Answer: 4 apples": 0.0,
        "Answer: 4\nAnswer: 4": 0.0,
        "<think>2+2=4\nAnswer: 4": 0.0,
    },
}


@pytest.mark.parametrize(("style", "text"), [(style, text) for style, row in FORMS.items() for text in row])
def test_a_form_is_whole_or_it_is_not(style: str, text: str) -> None:
    assert score({"format": {"style": style}}, group(text, lang="en")) == [FORMS[style][text]]


def test_the_labelled_answer_is_in_the_language_of_the_prompt() -> None:
    assert score({"format": {"style": "answer"}}, group("Cevap: 4", "Answer: 4", lang="tr")) == [1.0, 0.0]


def test_a_lenient_form_earns_its_parts_and_only_the_whole_earns_all() -> None:
    parts = ["", "<think>a", "<think>a</think>", "<think>a</think><answer>4", WHOLE, WHOLE + " so"]
    found = score({"format": {"strict": False}}, group(*parts))
    assert found == pytest.approx([0.0, 1 / 7, 2 / 7, 3 / 7, 1.0, 6 / 7])


def test_a_block_that_the_template_opens_need_not_be_opened_again() -> None:
    asked = group("two</think><answer>4</answer>", WHOLE)
    assert score({"format": {"opened": True}}, asked) == [1.0, 0.0]


TURKISH = "Önce elmaları sayalım, sonra armutları ekleyelim. Böylece toplam on iki meyve olur ve bu doğru yanıttır."
ENGLISH = "First we count the apples, then we add the pears. So there are twelve fruits and that is the right answer."
GERMAN = "Zuerst zählen wir die Äpfel, dann fügen wir die Birnen hinzu. Das größte Stück gehört natürlich dem König."


def test_turkish_is_asked_and_turkish_is_answered() -> None:
    texts = (
        TURKISH,
        ENGLISH,
        GERMAN,
        "42",
        "Cevap: 42",
        "Answer: 42",
        "`x = the + 1` $a + b$",
        f"{TURKISH}\n{ENGLISH}",
    )
    found = score({"language": 1.0}, group(*texts, lang="tr"))
    assert found[:7] == [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert found[7] == pytest.approx(0.5, abs=0.15)
    turned = score({"language": 1.0}, group(*texts[:2], prompt=ENGLISH))
    assert turned == [0.0, 1.0]


def test_reasoning_and_answer_are_looked_at_apart() -> None:
    text = f"<think>{ENGLISH}</think>\n{TURKISH}"
    for part, value in (("answer", 1.0), ("reasoning", 0.0)):
        assert score({"language": {"part": part}}, group(text, lang="tr")) == [value]
    assert score({"language": {"least": 0.9}}, group(text, TURKISH, lang="tr")) == [0.0, 1.0]


def test_a_prompt_without_a_language_leaves_its_responses_unscored() -> None:
    assert score({"language": 1.0}, group(TURKISH, prompt="2 + 2")) == [None]
    assert score({"language": {"expected": "tr"}}, group(TURKISH, prompt="2 + 2")) == [1.0]


@pytest.mark.parametrize(("tokens", "value"), [(0, 0.0), (80, 0.0), (90, -0.5), (100, -1.0), (500, -1.0)])
def test_the_soft_limit_is_the_papers(tokens: int, value: float) -> None:
    spec = {"overlong": {"limit": 100, "buffer": 20}}
    assert score(spec, group("a", tokens=tokens)) == [value]


def test_length_is_counted_in_what_is_asked_and_tokens_must_be_known() -> None:
    spec = {"overlong": {"limit": 10, "buffer": 10, "unit": "words"}}
    assert score(spec, group("one two three")) == [pytest.approx(-0.3)]
    assert score({"overlong": {"limit": 10, "buffer": 10, "unit": "characters"}}, group("12345")) == [-0.5]
    assert score({"overlong": {"limit": 10, "buffer": 10}}, group("a")) == [None]
    with pytest.raises(ConfigError, match="larger than its limit"):
        build({"overlong": {"limit": 10, "buffer": 11}})


def test_by_the_cosine_right_answers_are_better_short_and_wrong_ones_long() -> None:
    spec = {"cosine": {"limit": 100}}
    right = [score(spec, group("Answer: 4", tokens=n, answer=4))[0] for n in (0, 50, 99, 100)]
    wrong = [score(spec, group("Answer: 5", tokens=n, answer=4))[0] for n in (0, 50, 99, 100)]
    assert right == pytest.approx([2.0, 1.5, 1.0, -10.0], abs=1e-3)
    assert wrong == pytest.approx([-10.0, -5.0, 0.0, -10.0], abs=1e-2)
    assert score(spec, group("Answer: 4", answer=4)) == [None]


def test_rewards_by_length_are_the_shaping_of_the_core() -> None:
    from hizala.core.shaping import cosine_length, soft_overlong

    for tokens in range(0, 120, 7):
        (overlong,) = score({"overlong": {"limit": 100, "buffer": 30}}, group("a", tokens=tokens))
        assert overlong == pytest.approx(float(soft_overlong(tokens, limit=100, buffer=30)))
    several = [group(f"Answer: {answer}", tokens=tokens, answer=4) for tokens in range(0, 120, 7) for answer in (4, 5)]
    composed = build({"cosine": {"limit": 100}}, RewardContext(workers=1))
    found = [verdict.value for (verdict,) in composed.score(several)]
    composed.close()
    lengths = [tokens for tokens in range(0, 120, 7) for _ in (4, 5)]
    assert found == pytest.approx(cosine_length(lengths, [True, False] * (len(lengths) // 2), limit=100).tolist())


def test_repetition_costs_by_its_share() -> None:
    spec = {"repetition": {"n": 2}}
    varied = "one two three four five six seven"
    assert score(spec, group(varied, "", "one", "a b a b a b")) == [0.0, 0.0, 0.0, pytest.approx(-3 / 5)]
    endless = score({"repetition": {"n": 3}}, group("a" * 10_000, "!" * 10_000, "ha " * 5000, "ab" * 5000))
    assert all(value is not None and value < -0.99 for value in endless)
    assert score({"repetition": {"n": 2, "free": 0.8}}, group("a b a b a b")) == [0.0]


def test_a_pattern_matches_where_it_is_looked_for() -> None:
    asked = group("abc 123", "123", "<think>123</think>x")
    assert score({"regex": {"pattern": "[0-9]+"}}, asked) == [1.0, 1.0, 1.0]
    assert score({"regex": {"pattern": "[0-9]+", "where": "start"}}, asked) == [0.0, 1.0, 0.0]
    assert score({"regex": {"pattern": "[0-9]+", "where": "whole"}}, asked) == [0.0, 1.0, 0.0]
    assert score({"regex": {"pattern": "[0-9]+", "part": "answer"}}, asked) == [1.0, 1.0, 0.0]
    assert score({"regex": {"pattern": "[0-9]+", "absent": True, "part": "answer"}}, asked) == [0.0, 0.0, 1.0]
    with pytest.raises(ConfigError, match="no regular expression: unterminated"):
        build({"regex": {"pattern": "[0-9"}})


def test_a_pattern_that_backtracks_for_ever_costs_its_own_sample() -> None:
    composed = build({"regex": {"pattern": r"^(\w+\s?)*$"}}, RewardContext(workers=1, time_limit=0.3))
    (row,) = composed.score([group("good text", "a" * 60 + "!", "fine")])
    composed.close()
    assert [verdict.value for verdict in row] == [1.0, None, 1.0]
    assert "more than 0.3 s of computing" in row[1].reason


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
JSON: dict[str, float] = {
    '{"name": "Ayşe", "age": 3}': 1.0,
    ' {"name": "Ayşe"}\n': 1.0,
    '{"name": "Ayşe", "age": -1}': 0.0,
    '{"name": "Ayşe", "age": 3.5}': 0.0,
    '{"age": 3}': 0.0,
    '{"name": "a", "extra": 1}': 0.0,
    '{"name": "a"} done': 0.0,
    'Here: {"name": "a"}': 0.0,
    '{"name": "a", "name": "b"}': 0.0,
    '{"name": "a", "age": NaN}': 0.0,
    "{'name': 'a'}": 0.0,
    '<think>{"name": 1}</think>{"name": "a"}': 1.0,
    "[" * 100_000: 0.0,
    '{"name": "a", "age": ' + "9" * 100_000 + "}": 0.0,
    "": 0.0,
    "null": 0.0,
}


def test_json_is_strict_and_of_its_schema() -> None:
    assert score({"json_schema": {"shape": SCHEMA}}, group(*JSON)) == list(JSON.values())
    half = score({"json_schema": {"shape": SCHEMA, "partial": True}}, group('{"age": 3}', '{"age": 3'))
    assert half == [0.5, 0.0]


def test_the_one_fenced_block_is_found() -> None:
    block = '```json\n{"name": "a"}\n```'
    asked = group(
        f"Here:\n{block}\nDone.", f"{block}\n{block}", '{"name": "a"}', '```json\n{"name": "a"}', "```\n" * 200_001
    )
    assert score({"json_schema": {"shape": SCHEMA, "find": "fenced"}}, asked) == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_a_schema_must_be_one_and_fetches_nothing() -> None:
    with pytest.raises(ConfigError, match="the schema of reward 'json_schema' is none"):
        build({"json_schema": {"shape": {"type": "strnig"}}})
    remote = {"$ref": "http://127.0.0.1:9/schema.json"}
    composed = build({"json_schema": {"shape": remote}}, RewardContext(workers=1))
    (row,) = composed.score([group("{}")])
    composed.close()
    assert row[0].value is None
    assert "Unresolvable" in row[0].reason


def test_the_worlds_truth_is_a_reward() -> None:
    from random import Random

    asked = world.prompts(40, seed=9)
    composed = build({"gold": 1.0})
    for one in asked:
        texts = [world.respond(one, quality, Random(1), False) for quality in ("good", "bad")]
        whole = Group(one.prompt, tuple(Response((Message("assistant", t),)) for t in texts), one.id, one.meta)
        expected = [world.gold(one, text).value for text in texts]
        assert [verdict.value for verdict in composed.score([whole])[0]] == expected
    assert composed.score([group("a")])[0][0].reason == "gold: no `task` in the data"
    composed.close()


MILLION = 1_000_000
HOSTILE = {
    "nothing": "",
    "a million letters": "a" * MILLION,
    "a million lines": "\n" * MILLION,
    "short lines": "a\n" * (MILLION // 2),
    "a million blanks": " " * MILLION,
    "a million signs": "!" * MILLION,
    "a million brackets": "{[(" * (MILLION // 3),
    "a million dollars": "$" * MILLION,
    "tags": "<think></think>" * (MILLION // 15),
    "opened tags": "<think><answer>" * (MILLION // 15),
    "fences": "```\n" * (MILLION // 4),
    "null bytes": "\0" * 1000,
    "right to left": "\u202e" + "עברית وعربي " * 1000,
    "lone surrogates": "\ud800\udfff" * 1000,
    "combining marks": "a" + "\u0301" * 100_000,
    "a flag": "🏴󠁧󠁢󠁥󠁮󠁧󠁿" * 1000,
}
RULES: dict[str, dict[str, Any]] = {
    "format": {"style": "think_answer"},
    "format_answer": {"kind": "format", "style": "answer"},
    "format_boxed": {"kind": "format", "style": "boxed", "strict": False},
    "language": {},
    "overlong": {"limit": 100, "buffer": 10, "unit": "words"},
    "cosine": {"limit": 100, "unit": "words"},
    "repetition": {},
    "regex": {"pattern": "(?s)^.*yes.*$"},
    "json_schema": {"shape": SCHEMA},
    "math": {"fallback": "last_number"},
    "gold": {},
}


@pytest.fixture(scope="module")
def every() -> Any:
    """Every rule at once."""
    composed = build(RULES, RewardContext(workers=2, time_limit=10.0))
    yield composed
    composed.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_gets_a_finite_value_from_every_rule_in_time(every: Composed, name: str) -> None:
    one = world.prompts(1, seed=2, tasks=["add"], lang="tr")[0]
    response = Response((Message("assistant", HOSTILE[name]),))
    start = time.process_time()
    ((verdict,),) = every.score([Group(one.prompt, (response,), one.id, one.meta)])
    assert time.process_time() - start < 5.0
    assert verdict.value is not None, verdict.reason
    assert set(verdict.parts) == set(RULES)


def test_a_scored_response_says_what_it_lost_points_for() -> None:
    composed = build({"math": 1.0, "format": {"weight": 0.5, "style": "answer"}}, RewardContext(workers=1))
    ((right, wrong),) = composed.score([group("Answer: 4", "5", answer=4, lang="en")])
    composed.close()
    assert (right.value, right.reason) == (1.5, "")
    assert wrong.value == 0.0
    assert wrong.reason.startswith("math: wrong answer: 5; format: the answer does not begin with 'Answer:'")


def test_every_rule_says_what_it_is_and_what_it_needs() -> None:
    for spec in rewards:
        assert spec.summary
        assert (spec.fn.__doc__ or "").strip()
