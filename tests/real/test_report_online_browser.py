"""Samples of online RL in the report in real headless Chromium: browsed by step and by reward, hostile text inert."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import CONTRAST, MARKS, browsing, choose, click, console, forget, requested, show, text

from hizala.readers.report import write

pytestmark = MARKS
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=http://127.0.0.1:9/x onerror=window.hacked=1>",
    '"><svg/onload=window.hacked=1>',
    "<iframe srcdoc='<script>parent.hacked=1</script>'>",
    "<!--<script>",
    "line\u2028end \u202egnp.exe \ud800 \x00",
    "constructor",
    "x" * 60_000,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of a run whose samples are hostile in step 2."""
    made = runpy.run_path(str(Path(__file__).parents[1] / "readers" / "synthetic_online.py"))
    run = made["write_online_run"](tmp_path_factory.mktemp("runs") / "counting", steps=20)
    samples = run / made["STAGE"] / "samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    hostile = iter(HOSTILE)
    for row in rows:
        if row["step"] == 2:
            for answer in row["responses"][:2]:
                found = next(hostile)
                answer |= {"text": found, "reason": found}
                row |= {"prompt": found, "task": found, "lang": found}
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return write(run).as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(driver: Any, page: str) -> Any:
    show(driver, 1280, 900)
    driver.get("about:blank")
    forget(driver)
    driver.get(page)
    driver.execute_script("localStorage.clear()")
    driver.refresh()
    return driver


def rows(driver: Any) -> list[list[str]]:
    """Step, prompt, response, reward and tokens of every row as it is seen."""
    return list(
        driver.execute_script(
            "return [...document.querySelectorAll('.rolls tbody tr')].map(tr => "
            "['.step', '.prompt', '.said', '.total', '.tokens'].map(c => tr.querySelector(c).innerText))"
        )
    )


def place(driver: Any) -> str:
    return text(driver, ".rolls .place")


def test_it_opens_on_the_last_step_and_pages(opened: Any) -> None:
    assert [row[0] for row in rows(opened)] == ["20"] * 10
    assert rows(opened)[0][1] == "What is 20 and 0?"
    assert rows(opened)[1][1] == "″"
    assert place(opened) == "1–10 of 16"
    click(opened, ".rolls [data-move='1']")
    assert len(rows(opened)) == 6
    assert rows(opened)[0][1] == "What is 20 and 2?", "a page never begins with a ditto mark"
    assert opened.execute_script("return document.querySelector(\".rolls [data-move='1']\").disabled")


def test_it_is_filtered_by_step_task_language_and_state(opened: Any) -> None:
    choose(opened, "[data-pick=step]", "7")
    assert {row[0] for row in rows(opened)} == {"7"}
    choose(opened, "[data-pick=task]", "add")
    assert place(opened) == "1–8 of 8"
    choose(opened, "[data-pick=lang]", "en")
    assert rows(opened) == []
    assert "No response fits this choice." in text(opened, ".rolls")
    choose(opened, "[data-pick=task]", "")
    choose(opened, "[data-pick=lang]", "")
    choose(opened, "[data-pick=step]", "")
    choose(opened, "[data-pick=which]", "unscored")
    assert {row[3] for row in rows(opened)} == {"not scored"}
    assert [row[0] for row in rows(opened)] == ["3", "6", "9", "12", "15", "18"]
    choose(opened, "[data-pick=which]", "truncated")
    assert place(opened) == "1–10 of 20"


def test_it_is_sorted_by_reward_by_a_part_and_by_length(opened: Any) -> None:
    choose(opened, "[data-pick=step]", "")
    choose(opened, "[data-pick=order]", "high")
    assert [row[3] for row in rows(opened)] == ["1.2"] * 10
    choose(opened, "[data-pick=order]", "low")
    assert [row[3] for row in rows(opened)] == ["0"] * 10
    choose(opened, "[data-pick=step]", "18")
    scores = []
    for _ in range(2):
        scores += [row[3] for row in rows(opened)]
        click(opened, ".rolls [data-move='1']")
    assert scores[-1] == "not scored", "what has no value stands last"
    assert scores[:-1] == sorted(scores[:-1], key=float)
    choose(opened, "[data-pick=by]", "0")
    choose(opened, "[data-pick=order]", "high")
    parts = opened.execute_script(
        "return [...document.querySelectorAll('.rolls .parts')].map(e => e.textContent.startsWith('math 1'))"
    )
    assert parts == sorted(parts, reverse=True)
    choose(opened, "[data-pick=step]", "")
    choose(opened, "[data-pick=order]", "long")
    assert [row[4] for row in rows(opened)] == ["33"] * 4 + ["32"] * 6


def test_hostile_text_is_shown_and_does_nothing(opened: Any, page: str) -> None:
    choose(opened, "[data-pick=step]", "2")
    shown = "".join(row[1] + row[2] for row in rows(opened))
    for each in (*HOSTILE[:5], "line⟨U+2028⟩end ⟨U+202E⟩gnp.exe ⟨U+D800⟩ ␀"):
        if each != HOSTILE[0]:  # two share a prompt: the first is seen as the response
            assert each in shown
    assert HOSTILE[0] in shown
    click(opened, ".rolls [data-move='1']")
    click(opened, "[data-lang=tr]")
    click(opened, "[data-lang=en]")
    for order in ("high", "low", "long"):
        choose(opened, "[data-pick=order]", order)
    assert opened.execute_script("return window.hacked === undefined")
    assert (
        opened.execute_script("return document.querySelectorAll('img, iframe, object, embed, main style').length") == 0
    )
    assert opened.execute_script("return document.scripts.length") == 3
    assert console(opened) == []
    assert requested(opened) <= {page, "about:blank", "data:,"}


def test_the_charts_are_drawn_and_read(opened: Any) -> None:
    boxes = opened.execute_script(
        "return [...document.querySelectorAll('#online svg.chart')].map(svg => {"
        " const b = svg.getBoundingClientRect(), t = [...svg.querySelectorAll('text.n')]"
        ".map(e => e.getBoundingClientRect()).filter(r => r.left < b.left - 1 || r.right > b.right + 1);"
        " return [b.width, b.height, t.length]; })"
    )
    assert len(boxes) >= 20
    for width, height, outside in boxes:
        assert width > 250
        assert height > 120
        assert outside == 0, "a number of an axis is cut"
    areas = opened.execute_script(
        "return [...document.querySelectorAll('#online path.area')].map(e => { const b = e.getBoundingClientRect();"
        " return [b.top, b.bottom, getComputedStyle(e).fill]; })"
    )
    assert len(areas) == 4
    for (top, _, _), (_, bottom, _) in pairwise(areas):
        assert bottom == pytest.approx(top, abs=1.5), "each area stands on the one before"
    assert len({fill for _, _, fill in areas}) == 4


def test_turkish_words_and_numbers_reach_the_rows(opened: Any) -> None:
    choose(opened, "[data-pick=step]", "3")
    click(opened, "[data-lang=tr]")
    words = text(opened, "#online")
    for wanted in ("Pekiştirmeli öğrenme", "puanlanmadı", "Etkin örneklem büyüklüğü", "Toplama", "yarıda kesildi"):
        assert wanted in words, wanted
    for left in ("not scored", "Addition", "Turkish", "cut off", "Silent", "Sampling"):
        assert left not in words, left
    assert place(opened) == "1–10 / 16"
    click(opened, ".rolls [data-move='1']")
    click(opened, "[data-lang=en]")
    assert place(opened) == "11–16 of 16"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_text_stands_out(opened: Any, page: str, scheme: str) -> None:
    show(opened, 375, 800, scheme)
    opened.get(page)
    choose(opened, "[data-pick=step]", "2")
    for lang in ("en", "tr"):
        click(opened, f"[data-lang={lang}]")
        assert opened.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [375, 375]
    worst = opened.execute_script(CONTRAST)
    assert worst[0] >= 4.5, worst


def test_without_scripts_the_first_page_can_be_read(driver: Any, page: str) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page)
        found = driver.find_elements("css selector", ".rolls tbody tr")
        assert len(found) == 10
        assert found[0].text.startswith("20")
        assert "Answer:" in found[0].text
        assert "The first 10 responses of the last step." in driver.find_element("css selector", ".rolls").text
        assert not driver.find_element("css selector", ".rolls .filters").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
