"""The report in real headless Chromium: charts drawn, hostile text inert, nothing fetched, phone, languages, themes."""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
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
    "<a href='javascript:window.hacked=1'>x</a><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<style>*{display:none}</style><link rel=stylesheet href=http://127.0.0.1:9/>",
    "\u202egnp.exe \ud800 \x00 \x1b[2J",
    "x" * 100_000,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of a run whose every text is hostile somewhere."""
    write_run = runpy.run_path(str(Path(__file__).parents[1] / "readers" / "synthetic_run.py"))["write_run"]
    run = write_run(tmp_path_factory.mktemp("runs") / "quickstart", steps=600, each=20)
    samples = run / "stages/03-evaluate/samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    for i, hostile in enumerate(HOSTILE):
        rows[i]["prompt"] = hostile
        rows[i]["gold"] = {hostile[:200]: hostile}
        rows[i]["responses"]["dpo"] = {"text": hostile, "score": None, "reason": hostile}
    rows[-1]["task"] = rows[-1]["lang"] = HOSTILE[2]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    findings = run / "stages/02-dpo/findings.json"
    report = json.loads(findings.read_text(encoding="utf-8"))
    report["findings"] += [{"severity": h, "kind": h, "message": h, "where": h} for h in HOSTILE]
    findings.write_text(json.dumps(report), encoding="utf-8")
    return write(run).as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def opened(driver: Any, page: str) -> Any:
    """The page freshly opened on a desktop in light colours, with nothing remembered."""
    show(driver, 1280, 900, "light")
    driver.get("about:blank")
    forget(driver)
    driver.get(page)
    driver.execute_script("localStorage.clear()")
    driver.refresh()
    return driver


def test_no_console_message_and_no_request(opened: Any, page: str) -> None:
    for selector in ("[data-lang=tr]", "[data-theme=dark]", "[data-move='1']", "details summary"):
        click(opened, selector)
    assert console(opened) == []
    assert requested(opened) <= {page, "about:blank", "data:,"}


def test_hostile_text_is_shown_and_does_nothing(opened: Any) -> None:
    everything = opened.execute_script("return document.body.textContent")
    assert HOSTILE[0] in everything
    assert HOSTILE[4] in everything
    assert "⟨U+202E⟩gnp.exe ⟨U+D800⟩ ␀ ␛[2J" in everything
    for selector in ("select option[value*=svg]", "[data-lang=tr]", "[data-lang=en]"):
        click(opened, selector)
    assert opened.execute_script("return window.hacked === undefined")
    assert (
        opened.execute_script("return document.querySelectorAll('img, iframe, object, embed, main style').length") == 0
    )
    assert opened.execute_script("return document.scripts.length") == 2
    assert opened.execute_script("return document.querySelectorAll('a:not([href^=\"#\"])').length") == 0
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = opened.switch_to.alert.text


def test_the_policy_stops_injected_scripts(opened: Any) -> None:
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 2'; document.body.append(s);"
        "const b = document.createElement('b'); b.setAttribute('onclick', 'window.hacked = 3');"
        "document.body.append(b); b.click();"
    )
    assert opened.execute_script("return window.hacked === undefined")
    assert any("Content Security Policy" in message for message in console(opened))


def test_charts_are_drawn(opened: Any) -> None:
    boxes = opened.execute_script(
        "return [...document.querySelectorAll('#curves svg.chart')].filter(s => !s.closest('details')).map(svg => {"
        " const b = svg.getBoundingClientRect(); const l = svg.querySelector('path.line').getBoundingClientRect();"
        " return [b.width, b.height, l.width, l.height, getComputedStyle(svg.querySelector('path.line')).stroke]; })"
    )
    assert len(boxes) >= 14
    for width, height, line_width, line_height, stroke in boxes:
        assert width > 250
        assert height > 120
        assert 0.6 * width < line_width <= width
        assert 5 < line_height <= height
        assert stroke.startswith(("rgb", "color"))
    whiskers = opened.execute_script(
        "const marks = document.querySelectorAll('#scores .whiskers svg.row .whisker');"
        "return [...marks].map(e => e.getBoundingClientRect().width)"
    )
    assert len(whiskers) > 60
    assert min(whiskers) > 0


def test_charts_are_read_by_keyboard_and_pointer(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    chart = opened.find_element("css selector", "#curves svg.chart")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", chart)
    readout = opened.find_element("css selector", "#curves .readout")
    ActionChains(opened).send_keys(Keys.END).perform()
    assert readout.text.split("\n")[0] == "step 600"
    last = readout.text
    ActionChains(opened).send_keys(Keys.ARROW_LEFT).perform()
    assert readout.text != last
    ActionChains(opened).send_keys(Keys.ESCAPE).perform()
    assert readout.text == ""
    ActionChains(opened).move_by_offset(1, 1).move_to_element(chart).perform()
    step = int(readout.text.split()[1])
    assert 200 < step < 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(opened: Any, page: str, scheme: str) -> None:
    show(opened, 375, 800, scheme)
    opened.get(page)
    for lang in ("en", "tr"):
        click(opened, f"[data-lang={lang}]")
        opened.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
        widths = opened.execute_script("return [innerWidth, document.documentElement.scrollWidth]")
        assert widths == [375, 375]
        cut = opened.execute_script(
            "const wide = (t) => t.scrollWidth > t.parentElement.clientWidth + 1;"
            "return [...document.querySelectorAll('.figures.c3')].filter(wide).length"
        )
        assert cut == 0
    small = opened.execute_script(
        "const small = (e) => e.offsetParent && e.offsetHeight < 30;"
        "return [...document.querySelectorAll('button, select')].filter(small).length"
    )
    assert small == 0


def test_the_language_switch_changes_words_numbers_and_stays(opened: Any) -> None:
    english = text(opened)
    assert "Alignment report" in english or "ALIGNMENT REPORT" in english
    assert opened.execute_script("return document.documentElement.lang") == "en"
    total = text(opened, ".card.m2 .big")
    click(opened, "[data-lang=tr]")
    turkish = text(opened)
    for wanted in ("HİZALAMA RAPORU", "Puanlar", "Eşli farklar", "Tamamlandı", "Öğrenme oranı", "Kanıt"):
        assert wanted in turkish, wanted
    for left in ("Scores", "Finished", "Learning rate", "Previous", "Prompt", "held out", "Settings"):
        assert left not in turkish, left
    assert text(opened, ".card.m2 .big") == total.replace(".", ",")
    label = opened.find_element("css selector", "#curves svg.chart").get_attribute("aria-label")
    assert label.startswith("Kayıp: 1. adımda ")
    assert opened.title == "quickstart · Hizalama raporu"
    opened.refresh()
    assert opened.execute_script("return document.documentElement.lang") == "tr"
    click(opened, "[data-lang=en]")
    assert text(opened) == english


def test_colours_follow_the_system_and_the_switch(opened: Any) -> None:
    def background() -> str:
        return str(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))

    light = background()
    show(opened, 1280, 900, "dark")
    dark = background()
    assert sum(map(int, light[4:-1].split(","))) > 600
    assert sum(map(int, dark[4:-1].split(","))) < 150
    click(opened, "#switches [data-theme=light]")
    assert background() == light
    opened.refresh()
    assert background() == light
    click(opened, "#switches [data-theme=auto]")
    assert background() == dark


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened: Any, scheme: str) -> None:
    show(opened, 1280, 900, scheme)
    worst = opened.execute_script(CONTRAST)
    assert worst[0] >= 4.5, worst


def test_samples_are_filtered_and_paged(opened: Any) -> None:
    def shown() -> list[str]:
        return list(
            opened.execute_script(
                "return [...document.querySelectorAll('.sample')].filter(e => !e.hidden).map(e => e.dataset.task)"
            )
        )

    assert len(shown()) == 5
    click(opened, "[data-move='1']")
    assert text(opened, ".place") == "6–10 of 48"
    choose(opened, "[data-filter=task]", "style")
    assert set(shown()) == {"style"}
    choose(opened, "[data-filter=outcome]", "up")
    count = opened.execute_script(
        "return document.querySelectorAll('.sample[data-task=style][data-outcome=up]').length"
    )
    assert len(shown()) == min(5, count)
    choose(opened, "[data-filter=lang]", HOSTILE[2])
    assert shown() == []
    assert "No sample fits this choice." in text(opened, "#samples")


def test_without_scripts_everything_can_be_read(driver: Any, page: str) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page)
        body = driver.find_element("css selector", "body").text
        for wanted in ("quickstart", "What was run", "Paired differences", "Learning rate", "Not as recorded"):
            assert wanted in body, wanted
        assert len(driver.find_elements("css selector", ".sample:not([hidden])")) == 48
        assert not driver.find_element("id", "switches").is_displayed()
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_it_prints(opened: Any) -> None:
    printed = opened.print_page()
    assert len(printed) > 20_000
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not opened.find_element("css selector", "header.top").is_displayed()
        assert opened.find_element("id", "scores").is_displayed()
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
