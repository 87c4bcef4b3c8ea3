"""The report of online RL: figures where they belong, any state of the run, hostile text, files of any size."""

from __future__ import annotations

import json
import re
import runpy
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from hizala.cli.main import main
from hizala.readers.report import rollouts
from hizala.readers.report.charts import Point, Series, stacked_chart
from hizala.readers.report.load import load
from hizala.readers.report.page import render
from hizala.readers.report.strings import STRINGS

MADE: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("synthetic_online.py")))
STAGE: str = MADE["STAGE"]
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<!--<script>",
    "<img src=x onerror=window.hacked=1>",
    '"><svg/onload=window.hacked=1>',
    "line\u2028paragraph\u2029end",
    "\u202egnp.exe \ud800 \x00 \x1b[2J",
    "{{ 7 * 7 }}{% raw %}",
    "]]>&lt;&amp;\\u003c",
    "__proto__",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(MADE["write_online_run"](tmp_path / "counting"))


class Page(HTMLParser):
    """Tags, the attributes of each, the text outside of scripts, and what stands in data scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data: list[str] = []
        self._inside: dict[str, str | None] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = dict(attrs) if tag in ("script", "style") else None
        if tag in ("td", "th", "div", "p", "li"):
            self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside is None:
            self.words.append(data)
        elif self._inside.get("type") == "application/json" and "id" not in self._inside:
            self.data.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \t\n]+", " ", "".join(self.words))

    @property
    def rows(self) -> dict[str, Any]:
        (data,) = self.data
        return dict(json.loads(data))


def section(run: Path, language: str = "en") -> str:
    match = re.search(r'<section id="online">.*?</section>', render(load(run), language), re.DOTALL)
    assert match
    return match.group()


def titles(html: str) -> list[str]:
    found = re.findall(r'<span class="chart-title">(.*?)</span></?', html)
    return [unescape(re.sub(r"<[^>]*>", "", title)) for title in found]


def change(path: Path, edit: Any) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    # Lone surrogates cannot be written as UTF-8 but can be escaped.
    path.write_text("".join(json.dumps(edit(i, row)) + "\n" for i, row in enumerate(rows)), encoding="utf-8")


def test_every_curve_of_the_stage_stands_in_its_place_and_once(run: Path) -> None:
    html = section(run)
    shown = titles(html)
    for key in ("reward", "pass", "entropy", "response_length", "reflection", "kl_reference", "kl_response", "kl_price",
                "kl_step", "clipped", "silent", "unscored", "truncated", "gap_mean", "gap_max", "gap_kl", "ess",
                "correction", "masked", "time", "online_speed"):  # fmt: skip
        assert shown.count(STRINGS["en"][f"chart.{key}"]) == 1, key
    assert shown.count("Reward math") == shown.count("Reward format") == 1
    # Zero throughout, or the same as another: named or left out, not drawn.
    assert STRINGS["en"]["chart.staleness"] not in shown
    assert STRINGS["en"]["chart.zero_advantage"] not in shown
    zero = html[html.index(STRINGS["en"]["online.zero"]) :]
    assert STRINGS["en"]["chart.staleness"] in zero
    training = re.search(r'<section id="curves">.*?</section>', render(load(run)), re.DOTALL)
    assert training
    others = titles(training.group())
    assert {"Loss", "Gradient norm", "Learning rate"} <= set(others)
    assert not [title for title in others if re.search("samples/|groups/|mismatch/|reward/|seconds", title)]
    assert STRINGS["en"]["chart.kl"] not in others, "KL of sampler and trainer is not KL to the reference"


def test_held_out_rewards_are_points_with_bars(run: Path) -> None:
    html = section(run)
    chart = html[html.index('chart-title"><span data-t="chart.reward"') :]
    chart = chart[: chart.index("</figure>")]
    assert chart.count('class="whisker"') == chart.count('class="dot"') == 4
    assert "0.800 [0.700, 0.900]" in chart


def test_what_never_moves_or_is_always_zero_is_not_drawn(run: Path) -> None:
    def still(i: int, row: dict[str, Any]) -> dict[str, Any]:
        if row["split"] == "train":
            row |= {"kl_reward/beta": 0.02, "reward/format": 0.0}
        return row

    change(run / STAGE / "metrics.jsonl", still)
    html = section(run)
    assert STRINGS["en"]["chart.kl_price"] not in html
    assert "Reward format" not in titles(html)
    assert "Reward format" in Page(html[html.index(STRINGS["en"]["online.zero"]) :]).text


def test_a_component_that_is_the_sum_is_not_drawn_again(run: Path) -> None:
    def alone(i: int, row: dict[str, Any]) -> dict[str, Any]:
        row.pop("reward/format", None)
        return row | {"reward/math": row["reward/mean"]}

    change(run / STAGE / "metrics.jsonl", alone)
    assert not [title for title in titles(section(run)) if title.startswith("Reward ")]


def test_the_table_of_start_and_end_gives_means_of_tenths_and_held_out_intervals(run: Path) -> None:
    text = Page(section(run)).text
    first = sum(0.2 + 0.5 * step / 30 for step in (1, 2, 3)) / 3
    last = sum(0.2 + 0.5 * step / 30 for step in (28, 29, 30)) / 3
    assert f"pass@1 {first:.3g} {last:.3g}" in text
    assert "0.300 [0.200, 0.400]" in text
    assert "0.800 [0.700, 0.900]" in text
    assert "Held out, step 0" in text
    assert "Held out, step 30" in text


def test_time_is_split_and_adds_up(run: Path) -> None:
    html = section(run)
    text = Page(html).text
    for part, seconds, share in (("Sampling", 15, 50), ("Scoring", 3, 10), ("Measuring", 3, 10), ("Training", 9, 30)):
        assert f"{part} {seconds}.0 {share} %" in text
    assert "Waiting for samples" not in text
    assert html.count('class="area"') == 4
    # 800 a second over half a second in each of 30 steps.
    assert "12\u202f000 tokens were sampled at 800 a second; 500 tokens a second over all." in Page(html).text


def test_what_was_sampled_while_training_is_not_added_to_the_steps_time(run: Path) -> None:
    change(run / STAGE / "perf.jsonl", lambda i, row: row | {"seconds/waiting": 0.6, "seconds/sampling": 0.9})
    html = section(run)
    text = Page(html).text
    assert "Waiting for samples 18.0 60 %" in text
    assert "Sampling, at the same time 27.0 –" in text
    assert html.count('class="area"') == 3


def test_counts_of_the_rewards_are_shown_with_their_reasons(run: Path) -> None:
    text = Page(section(run)).text
    assert "math 480 470 time limit 10 120 3 2.0" in text
    assert "format 480 480 none – – –" in text


def test_the_samples_are_all_in_the_data_and_the_first_page_is_of_the_last_step(run: Path) -> None:
    page = Page(section(run))
    data = page.rows
    steps = [prompt[0] for prompt in data["prompts"]]
    assert steps == sorted(steps)
    assert {1, 30} <= set(steps)
    assert len(set(steps)) == rollouts.MOST_STEPS
    assert len(data["rows"]) == 24 * 16
    assert data["parts"] == ["math", "format"]
    assert "24 of 30 steps" in page.text
    assert "with up to 4 of 4 prompts each; 384 responses" in page.text
    assert "All of them stand in stages/01-grpo/samples.jsonl" in page.text
    table = re.search(r"<tbody>(?:(?!<tbody>).)*?</tbody>\s*</table>\s*<template>", section(run), re.DOTALL)
    assert table
    assert table.group().count("<tr") == 10
    assert "What is 30 and 0?" in table.group()
    assert "What is 29" not in table.group()


def test_a_response_without_a_score_is_not_scored_and_has_its_reason(run: Path) -> None:
    data = Page(section(run)).rows
    lost = [row for row in data["rows"] if row[4] is None]
    assert lost
    assert {row[9] for row in lost} == {"math: time limit"}
    assert {row[3] for row in lost} == {""}
    assert all(row[6][0] is None and row[6][1] is not None for row in lost), "the reward that answered is shown"
    assert "not scored" in Page(section(run)).text


def test_a_conversation_with_an_environment_shows_every_turn(run: Path) -> None:
    turns = [["assistant", "<tool>2*3</tool>"], ["tool", "6"], ["assistant", "Answer: 6"], "odd"]

    def talk(i: int, row: dict[str, Any]) -> dict[str, Any]:
        row["responses"][0]["turns"] = turns
        return row

    change(run / STAGE / "samples.jsonl", talk)
    texts = [row[1] for row in Page(section(run)).rows["rows"]]
    assert texts[0] == "[assistant] <tool>2*3</tool>\n[tool] 6\n[assistant] Answer: 6"
    assert texts[1].startswith("<think>")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_stage_that_is_not_done_shows_what_there_is(tmp_path: Path, status: str) -> None:
    run = MADE["write_online_run"](tmp_path / "r", status=status)
    html = section(run)
    assert STRINGS["en"]["online.counts.none"] in html
    assert len(Page(html).rows["rows"]) == 24 * 16
    assert STRINGS["en"]["chart.time"] in titles(html)


@pytest.mark.parametrize("missing", ["metrics.jsonl", "perf.jsonl", "samples.jsonl", "findings.json", "state.json"])
def test_any_file_may_be_missing_empty_or_of_another_kind(run: Path, missing: str) -> None:
    path = run / STAGE / missing
    for content in (None, "", "[]", "3\nnull\n", '{"step": {}, "responses": 3}\n', "\x00\xff" * 100):
        if content is None:
            path.unlink()
        else:
            path.write_text(content, encoding="latin-1")
        html = section(run)
        assert ("chart.entropy" in html) == (missing != "metrics.jsonl")
        assert bool(Page(html).data) == (missing != "samples.jsonl")


def test_before_the_first_step_there_is_a_section_with_held_out_rewards(run: Path) -> None:
    for name in ("perf.jsonl", "samples.jsonl", "findings.json", "done.json"):
        (run / STAGE / name).unlink()
    path = run / STAGE / "metrics.jsonl"
    path.write_text(path.read_text(encoding="utf-8").split("\n")[0] + "\n", encoding="utf-8")
    assert "0.300 [0.200, 0.400]" in Page(section(run)).text


def test_hostile_text_is_inert_in_markup_and_in_data(run: Path) -> None:
    def poison(i: int, row: dict[str, Any]) -> dict[str, Any]:
        text = HOSTILE[i % len(HOSTILE)]
        for answer in row["responses"]:
            answer |= {"text": text, "reason": text, "parts": {**answer["parts"], text: 1.0}}
        return row | {"prompt": text, "task": text, "lang": text, "id": text}

    change(run / STAGE / "samples.jsonl", poison)
    findings = {"rewards": {text: {"calls": 1, "unscored": {text: 1}} for text in HOSTILE}}
    (run / STAGE / "findings.json").write_text(json.dumps(findings))
    metrics = {f"reward/{text}": 0.5 for text in HOSTILE}
    change(run / STAGE / "metrics.jsonl", lambda i, row: row | (metrics if row["split"] == "train" else {}))
    html = render(load(run))
    page = Page(html)
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 3, "ours, our words, our data"
    assert not [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], tag
    (data,) = page.data
    assert data.isascii()
    assert not set("<>&") & set(data)
    texts = {row[1] for row in json.loads(data)["rows"]}
    assert HOSTILE[0] in texts
    assert "line⟨U+2028⟩paragraph⟨U+2029⟩end" in texts
    assert "⟨U+202E⟩gnp.exe ⟨U+D800⟩ ␀ ␛[2J" in texts
    assert HOSTILE[0] in page.text
    assert not {"\u2028", "\u2029", "\u202e", "\x00"} & set(html)


def test_a_huge_file_is_thinned_without_reading_it_all_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = MADE["sample_rows"](1, 1)[0]
    row["responses"] = [answer | {"text": "word " * 400} for answer in row["responses"]]
    with (run / STAGE / "samples.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, 1001):
            file.write((json.dumps({**row, "step": step}) + "\n") * 8)
    size = (run / STAGE / "samples.jsonl").stat().st_size
    assert size > 60_000_000
    parsed = []
    parse = rollouts._row

    def counted(line: bytes) -> dict[str, Any] | None:
        parsed.append(len(line))
        return parse(line)

    monkeypatch.setattr(rollouts, "_row", counted)
    found = rollouts.read(run / STAGE / "samples.jsonl")
    assert found
    assert len(found.steps) == 24
    assert (found.steps[0], found.steps[-1], found.of_steps) == (1, 1000, 1000)
    gaps = {b - a for a, b in pairwise(found.steps)}
    assert gaps <= {43, 44}
    assert found.of_prompts == 8
    assert sum(parsed) < size / 5
    html = section(run)
    assert "24 of 1\u202f000 steps" in Page(html).text
    assert len(html) < 4_000_000
    assert "more characters are left out here" in html


def test_many_responses_a_step_are_thinned_evenly(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    answers = [{"text": str(i), "score": i} for i in range(200)]
    MADE["write_lines"](path, [{"step": 5, "prompt": str(i), "responses": answers} for i in range(1500)])
    found = rollouts.read(path)
    assert found
    assert (found.of_steps, found.of_prompts, found.prompts) == (1, 1500, 64)
    assert sum(len(group.responses) for group in found.groups) == rollouts.MOST_RESPONSES
    places = [int(group.prompt) for group in found.groups]
    assert places == sorted(places)
    assert max(b - a for a, b in pairwise(places)) < 40
    kept = [int(response.text) for response in found.groups[0].responses]
    assert (kept[0], kept[-1], len(kept)) == (0, 199, 64)


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 1e300, "responses": []}],
        [{"step": -5, "responses": [{}]}, {"step": 2**60, "responses": [{"score": 1e308}, {"score": -1e308}]}],
        [{"step": 9, "responses": [3, None, {"text": 5, "score": True, "parts": [1], "tokens": "x"}]}, {"step": 1}],
        [{"step": 3, "prompt": None, "responses": [{"parts": {"a": None, "b": "x", "": 1e400}}]}],
        [{"step": 4, "responses": [{"text": "a"}]}, {"step": 2, "responses": [{"text": "b"}]}],
    ],
)
def test_rows_of_any_shape_never_break_the_page(run: Path, rows: list[Any]) -> None:
    MADE["write_lines"](run / STAGE / "samples.jsonl", rows)
    html = section(run)
    for data in Page(html).data:
        json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_an_endless_line_is_given_up(run: Path) -> None:
    (run / STAGE / "samples.jsonl").write_bytes(b'{"step": 1, "responses": [' + b"0," * 20_000_000)
    assert rollouts.read(run / STAGE / "samples.jsonl") is None


def test_the_samples_of_an_evaluation_are_none_of_these(tmp_path: Path) -> None:
    write_run = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))["write_run"]
    page = render(load(write_run(tmp_path / "other", steps=20, each=8)))
    assert '<section id="online">' not in page
    assert '<a href="#online">' not in page


def test_it_speaks_turkish_as_well(run: Path) -> None:
    text = Page(section(run, "tr")).text
    for key in ("online", "chart.silent", "chart.ess", "time.sampling", "rolls.order.high", "online.counts"):
        assert STRINGS["tr"][key] in text, key
    assert "{" not in text
    assert "12\u202f000 token saniyede 800 hızla örneklendi" in text


def test_areas_stand_on_one_another() -> None:
    lower = Series((Point(1, 2.0), Point(2, 4.0)), "m2")
    upper = Series((Point(1, 1.0), Point(2, 0.0)), "m5")
    svg = str(stacked_chart([lower, upper], Markup('role="img"')))
    first, second = ([tuple(map(float, p.split(","))) for p in d.split("L")]
                     for d in re.findall(r'class="area" d="M([^Z]*)Z"', svg))  # fmt: skip
    assert first[:2] == list(reversed(second[2:])), "the second begins where the first ends"
    heights = [bottom[1] - top[1] for top, bottom in zip(first[:2], reversed(first[2:]), strict=True)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert second[0][1] < second[3][1]
    assert second[1] == second[2]
    assert 'data-v="2|1"' in svg


def test_show_prints_rewards_from_start_to_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    text = capsys.readouterr().out
    assert "held out at 0" in text
    assert "held out at 30" in text
    assert "0.300 [0.200, 0.400]" in text
    assert re.search(r"math\s*│ 0\.2333\s*│ 0\.6833", text)
    assert main(["show", str(run), "--json"]) == 0
    rewards = json.loads(capsys.readouterr().out)["stages"][0]["rewards"]
    assert set(rewards) == {"mean", "math", "format"}
    assert rewards["format"]["held_out_last"] is None
    assert rewards["math"]["held_out_last"]["value"] == pytest.approx(0.8)
