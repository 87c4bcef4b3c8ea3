"""The reward `code`: which block of a response is its program, what is scored 0, and what is not scored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sandboxes import NEEDS

from hizala.engines.reward.base import RewardContext
from hizala.engines.reward.code import Code, program_of
from hizala.engines.reward.compose import build
from hizala.engines.reward.sandbox import languages
from hizala.errors import ConfigError
from hizala.records import Group, Message, Response, Verdict

PYTHON = languages.get("python")
ADD = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
TESTS = ["assert add(1, 2) == 3", "assert add(5, 0) == 5"]


def response(text: str, **known: Any) -> Response:
    """An assistant's turn."""
    return Response((Message("assistant", text),), **known)


def fenced(code: str, tag: str = "python", fence: str = "```") -> str:
    """A block of code."""
    return f"{fence}{tag}\n{code}{fence}\n"


TAKEN = {
    "the only block": fenced(ADD),
    "no tag": fenced(ADD, ""),
    "another name for the language": fenced(ADD, "Py3"),
    "the last of several": fenced(WRONG) + "Better:\n" + fenced(ADD),
    "the last in the language": fenced(ADD) + "Output:\n" + fenced("3\n", "text") + fenced("ls\n", "bash"),
    "tagged before untagged": fenced(ADD) + "prints\n" + fenced("3\n", ""),
    "outside the reasoning": "<think>" + fenced(WRONG) + "</think>" + fenced(ADD),
    "not after reasoning starts again": fenced(ADD) + "<think>\nor\n" + fenced(WRONG),
    "in the answer": fenced(WRONG) + "<answer>\n" + fenced(ADD) + "</answer>\n" + fenced(WRONG),
    "the answer itself": f"<answer>\n{ADD}</answer>",
    "a longer fence around a shorter one": fenced(f"'''\n{fenced('x', '')}'''\n{ADD}", fence="````"),
    "tildes": fenced(ADD, fence="~~~"),
    "words behind the tag": fenced(ADD, "python title=add.py"),
    "carriage returns": fenced(ADD).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_program_is_the_last_block_of_the_language(name: str) -> None:
    program, why = program_of(response(TAKEN[name]), PYTHON)
    assert program.endswith(ADD)
    assert "a - b" not in program
    assert why == ""


NONE = {
    "": "no code block",
    "The answer is 7.": "no code block",
    ADD: "no code block",
    fenced(ADD, "java"): "no code block in python",
    "<think>" + fenced(ADD): "no code block",
    "<think>" + fenced(ADD) + "</think> done": "no code block",
    fenced(WRONG) + "```python\n" + ADD: "the last code block is not closed",
    fenced("\n"): "the code block is empty",
    "<answer>  </answer>" + fenced(ADD): "no code block",
    "<answer>" + fenced(ADD, "java") + "</answer>": "no code block in python",
}


@pytest.mark.parametrize("text", NONE)
def test_without_a_program_there_is_a_reason(text: str) -> None:
    assert program_of(response(text), PYTHON) == ("", NONE[text])


def test_what_stands_in_a_block_is_not_changed() -> None:
    code = "text = '\x0c \x1c \u2028 \u0085'\n\n\tprint(text)  \n"
    assert program_of(response(f"Here:\n{fenced(code)}and so on"), PYTHON) == (code, "")


SLOW = (
    "```" + " " * 40_000 + "`",
    "```" + "a" * 40_000 + "`",
    "`" * 40_000,
    "```\n" * 20_000,
    "<answer>" * 20_000 + "</answer>" * 20_000,
    "<think>" * 20_000 + "</think>" * 20_000,
    " " * 100_000 + "```",
)


@pytest.mark.parametrize("text", SLOW, ids=lambda text: text[:10])
def test_no_text_takes_long_to_read(text: str) -> None:
    began = time.perf_counter()
    program_of(response(text), PYTHON)
    assert time.perf_counter() - began < 1.0


def test_only_the_last_turn_is_read() -> None:
    turns = (Message("assistant", fenced(ADD)), Message("tool", fenced(WRONG)), Message("assistant", "done"))
    assert program_of(Response(turns), PYTHON)[1] == "no code block"


@pytest.fixture(scope="module")
def each() -> Iterator[Code]:
    """Credit for every test."""
    made = Code(RewardContext(), credit="fraction", seconds=2.0, workers=2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole() -> Iterator[Code]:
    """Credit for all tests together."""
    made = Code(RewardContext(), seconds=2.0, workers=1)
    yield made
    made.close()


def scores(code: Code, tests: object, *texts: str) -> list[Verdict]:
    """Verdicts on one group."""
    group = Group((Message("user", "add"),), tuple(response(text) for text in texts), "g", {"tests": tests})
    return code.score([group])[0]


@NEEDS
def test_credit_is_a_share_or_all(each: Code, whole: Code) -> None:
    texts = [fenced(ADD), fenced(WRONG), fenced("def add(a, b):\n    return 99\n"), "I cannot"]
    shares = scores(each, TESTS, *texts)
    assert [verdict.value for verdict in shares] == [1.0, 0.5, 0.0, 0.0]
    assert shares[1].parts == {"tests": 2.0, "passed": 1.0}
    alls = scores(whole, TESTS, *texts)
    assert [verdict.value for verdict in alls] == [1.0, 0.0, 0.0, 0.0]
    assert [verdict.reason for verdict in alls] == ["", "wrong value", "wrong value", "no code block"]


@NEEDS
def test_groups_keep_their_order_and_their_own_tests(each: Code) -> None:
    texts = [fenced(f"print(int(input()) * {n})\n") for n in range(6)]
    groups = [
        Group(
            (Message("user", "?"),),
            tuple(map(response, texts)),
            str(n),
            {"tests": [{"input": "7", "output": f"{7 * n}"}]},
        )
        for n in range(6)
    ]
    found = each.score(groups)
    assert [[verdict.value for verdict in row] for row in found] == [
        [float(n == m) for m in range(6)] for n in range(6)
    ]


UNREADABLE = [None, [], {}, "", "def f(:", "x = 1", 3, [{"input": "1"}], {"inputs": ["1"], "outputs": []}, [["a"]]]


@NEEDS
@pytest.mark.parametrize("tests", UNREADABLE)
def test_without_tests_nothing_is_scored(whole: Code, tests: object) -> None:
    (verdict,) = scores(whole, tests, fenced(ADD))
    assert verdict.value is None
    assert verdict.reason.startswith("tests: ")


@NEEDS
def test_a_sandbox_that_fails_scores_nothing(whole: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount point that vanishes stands for everything that can go wrong with the sandbox itself."""
    monkeypatch.setattr("hizala.engines.reward.sandbox.launch._VISIBLE", ("/usr/bin", "/usr/lib", "/usr/lib64"))
    monkeypatch.setattr("hizala.engines.reward.sandbox.launch.NOBODY", -5)
    for tests in (TESTS, [{"input": "1", "output": "1"}], ["assert abs(add(1, 2)) == 3"]):
        (verdict,) = scores(whole, tests, fenced(ADD))
        assert verdict.value is None
        assert verdict.reason.startswith("sandbox: the sandbox failed")
    monkeypatch.undo()
    assert scores(whole, TESTS, fenced(ADD))[0].value == 1.0


@NEEDS
def test_a_recipe_names_it_with_its_settings() -> None:
    spec = {"code": {"credit": "fraction", "seconds": 2, "workers": 1}}
    composed = build(spec)
    group = Group((Message("user", "add"),), (response(fenced(ADD)), response("no")), "g", {"tests": TESTS})
    assert [verdict.value for verdict in composed.score([group, group])[1]] == [1.0, 0.0]
    assert composed.report()["code"].cached == 2
    assert composed.check([group]) == []
    composed.close()
    for key, wrong in (("credit", "half"), ("seconds", 0), ("sandbox", "none"), ("memory_mb", 1), ("second", 3)):
        with pytest.raises(ConfigError, match=f"{key}"):
            build({"code": {key: wrong}})


@NEEDS
def test_trust_is_said_aloud() -> None:
    code = Code(RewardContext(), sandbox="none_i_trust_the_code")
    texts = [fenced(ADD), fenced(WRONG), fenced("while True: pass\n")]
    assert [verdict.value for verdict in scores(code, TESTS, *texts)] == [1.0, 0.0, 0.0]
    code.close()
    composed = build({"code": {"sandbox": "none_i_trust_the_code"}})
    group = Group((Message("user", "add"),), (), "g", {"tests": TESTS})
    assert [(finding.kind, finding.severity) for finding in composed.check([group])] == [
        ("code_without_sandbox", "warning")
    ]
    composed.close()
