"""What is known of responses reaches their tokens: labels as they are, step marks at the step's last token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from chat_models import FAMILIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hizala import world
from hizala.engines.data.known import step_sizes
from hizala.engines.data.templates import ChatTemplate
from hizala.errors import DataError
from hizala.records import Group, Message, Response, Step

QUESTION = (Message("user", "Kaç eder?"),)


def group(text: str, *steps: tuple[str, bool | None], **known: object) -> Group:
    marked = tuple(Step(part, correct) for part, correct in steps)
    return Group(QUESTION, (Response((Message("assistant", text),), steps=marked),), id="g")


def squeezed(text: str) -> str:
    return "".join(text.split())


def assert_marks_end_their_steps(chat: ChatTemplate, one: Group) -> None:
    """Up to its mark the tokens hold the whole step, and one token less they do not."""
    (response,), (branch,) = one.responses, chat.encode_group(one).responses
    marked = [i for i, step in enumerate(response.steps) if step.correct is not None]
    assert [correct for _, correct in branch.marks] == [response.steps[i].correct for i in marked]
    start = squeezed(chat.visible(chat.encode_prompt(one)))
    whole = start + squeezed(chat.visible(branch.ids[:-1]))  # the end token aside
    lead = whole.rfind(squeezed("".join(step.text for step in response.steps)))
    assert lead >= 0
    for (token, _), i in zip(branch.marks, marked, strict=True):
        wanted = squeezed("".join(step.text for step in response.steps[: i + 1]))
        upto, before = ((start + squeezed(chat.visible(branch.ids[: token + more])))[lead:] for more in (1, 0))
        assert upto.startswith(wanted)
        assert not before.startswith(wanted)


@pytest.fixture
def chat(chatml: Callable[..., Path]) -> ChatTemplate:
    return ChatTemplate.load(chatml())


def test_labels_ranks_scores_and_attributes_go_with_the_tokens(chat: ChatTemplate) -> None:
    said = (Message("assistant", "a"),)
    responses = (
        Response(said, rank=0, score=2.5, attributes={"verbosity": 1.0}),
        Response(said, rank=1, label=False, score=1.0),
    )
    tokens = chat.encode_group(Group(QUESTION, responses))
    assert [(r.rank, r.label, r.score, dict(r.attributes)) for r in tokens.responses] == [
        (0, None, 2.5, {"verbosity": 1.0}),
        (1, False, 1.0, {}),
    ]
    assert tokens.margin == 1.5


def test_the_margin_is_the_rows_own_else_the_difference_of_scores(chat: ChatTemplate) -> None:
    said = (Message("assistant", "a"),)
    pair = Group(QUESTION, (Response(said, rank=0, score=3.0), Response(said, rank=1, score=1.0)))
    assert chat.encode_group(replace(pair, meta={"margin": 0.5})).margin == 0.5
    assert chat.encode_group(replace(pair, responses=pair.responses[:1])).margin is None
    unknown = (pair.responses[0], replace(pair.responses[1], score=None))
    assert chat.encode_group(replace(pair, responses=unknown)).margin is None
    for wrong in ("much", float("nan"), True):
        with pytest.raises(DataError, match="not a finite number"):
            chat.encode_group(replace(pair, meta={"margin": wrong}))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_marks_stand_at_the_last_token_of_each_step(family: Callable[[str], Path], name: str) -> None:
    chat = ChatTemplate.load(family(name))
    steps = (("Önce 2 + 2 = 4.", True), ("Sonra  4 × 3 = 12 😀", False), ("Yanıt: 12", None), ("Son.", True))
    for gap in ("\n", " ", "\n\n", ""):
        assert_marks_end_their_steps(chat, group(gap.join(text for text, _ in steps), *steps))


def test_a_step_that_ends_within_a_token_is_marked_there() -> None:
    chat = ChatTemplate.load(world.model_dir())
    whole = chat.encode_group(group("Answer: 12")).responses[0]
    at = next(i for i, token in enumerate(whole.ids) if len(chat.visible([token])) > 3)
    text = chat.visible(whole.ids[: at + 1])
    branch = chat.encode_group(
        group("Answer: 12", (text[:-1], True), ("Answer: 12"[len(text) - 1 :], False))
    ).responses[0]
    assert branch.marks[0] == (at, True)
    assert branch.marks[1] == (len(whole.ids) - 2, False)  # the end token follows


@given(st.lists(st.tuples(st.text(alphabet="ab ğ😀<|im_end|>\n9", min_size=1), st.booleans()), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_steps_are_located_too(chat: ChatTemplate, parts: list[tuple[str, bool]]) -> None:
    parts = [part for part in parts if part[0].strip()]
    if parts:
        assert_marks_end_their_steps(chat, group("\n".join(text for text, _ in parts), *parts))


def test_steps_that_were_cut_have_no_mark_and_are_counted(chat: ChatTemplate) -> None:
    one = group("bir\niki\nüç", ("bir", True), ("iki", False), ("üç", True))
    whole = chat.encode_group(one)
    room = whole.responses[0].marks[1][0] + 1
    out = chat.encode_all([one], max_length=len(whole.prompt) + room)
    assert out.tokens[0].responses[0].marks == whole.responses[0].marks[:2]
    assert (out.counts["steps"], out.counts["steps-truncated"]) == (3, 1)


@pytest.mark.parametrize(
    ("text", "steps", "message"),
    [
        ("bir iki", ["bir"], "3 of its characters are in no step"),
        ("bir iki", ["bir", "üç"], "step 2 of 2 is not what follows"),
        ("bir iki", ["iki", "bir"], "step 1 of 2 is not what follows"),
        ("bir", ["bir", " "], "step 2 of 2 is empty"),
        ("bir", ["bir", "iki"], "step 2 of 2 is not what follows"),
    ],
)
def test_steps_that_do_not_partition_the_response_are_refused(
    chat: ChatTemplate, text: str, steps: list[str], message: str
) -> None:
    one = group(text, *((step, True) for step in steps))
    with pytest.raises(DataError, match=message):
        step_sizes(one.responses[0].steps, text)
    out = chat.encode_all([one, group("bir", ("bir", True))])
    assert (out.counts["dropped:data"], out.counts["encoded"]) == (1, 1)
    assert out.findings[0].where == "g"


def test_steps_belong_to_one_turn(chat: ChatTemplate) -> None:
    turns = (Message("assistant", "a"), Message("user", "b"), Message("assistant", "c"))
    with pytest.raises(DataError, match="one turn"):
        chat.encode_group(Group(QUESTION, (Response(turns, steps=(Step("a", True),)),)))


def test_every_mark_of_the_world_is_found() -> None:
    chat = ChatTemplate.load(world.model_dir())
    for one in world.resolve("world:steps?n=60"):
        assert len(chat.encode_group(one).responses[0].marks) == len(one.responses[0].steps)
        assert_marks_end_their_steps(chat, one)
