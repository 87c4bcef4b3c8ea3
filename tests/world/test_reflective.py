"""Demonstrations that look again: always right, reflecting as often as asked, in their own language."""

from __future__ import annotations

import pytest

from hizala import world
from hizala.core.detect.reflection import reflects
from hizala.errors import ConfigError
from hizala.world.reflective import CHECKS, TURNS


def texts(**options: float) -> list[tuple[str, str]]:
    return [(g.meta["lang"], g.responses[0].text) for g in world.reasoning(300, 3, **options)]  # type: ignore[arg-type]


def test_every_demonstration_reasons_and_is_right() -> None:
    for group in world.reasoning(300, 3):
        text = group.responses[0].text
        assert text.startswith("<think>")
        assert world.gold(group, text).value == 1.0


def test_the_share_that_looks_again_is_the_one_asked_for_and_is_what_the_detector_sees() -> None:
    assert not any(reflects(text) for _, text in texts(reflect=0.0))
    assert all(reflects(text) for _, text in texts(reflect=1.0))
    half = [reflects(text) for _, text in texts(reflect=0.5)]
    assert sum(half) / 300 == pytest.approx(0.5, abs=0.09)


def test_a_slip_is_written_noticed_and_put_right() -> None:
    for lang, text in texts(reflect=1.0, slips=1.0):
        lines = text.removeprefix("<think>").partition("</think>")[0].split("\n")
        (at,) = [i for i, line in enumerate(lines) if line.startswith(TURNS[lang])]
        left, wrong = lines[at - 1].split("=")
        again, right = lines[at].partition(": ")[2].split("=")
        assert left == again
        assert wrong != right
    for lang, text in texts(reflect=1.0, slips=0.0):
        assert any(mark in text for mark in CHECKS[lang])
        assert not any(mark in text for mark in TURNS[lang])


def test_recipes_reach_them_and_wrong_options_are_refused() -> None:
    assert world.resolve("world:reasoning?n=5&reflect=1&lang=en") == world.reasoning(5, reflect=1.0, lang="en")
    with pytest.raises(ConfigError, match="not a share"):
        world.reasoning(3, reflect=1.5)
    with pytest.raises(ConfigError, match="not reasoned about"):
        world.reasoning(3, tasks=("caps",))
