"""The page holds what the run holds, loads nothing, and hostile or missing pieces stay harmless."""

import base64
import hashlib
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hizala.errors import RunError
from hizala.readers.report import render, write
from hizala.readers.report.load import load

HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    '"><svg/onload=window.hacked=1>',
    "' onmouseover='window.hacked=1",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066\u200f",
    "nul\x00 bell\x07 esc\x1b[2J",
    "lone \ud800 surrogate",
    "tags \U000e0041\U000e0042",
    "x" * 100_000,
    "e" + "\u0301" * 5_000,
    "]]><!-- <![CDATA[",
]


class Page(HTMLParser):
    """Elements with their attributes and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \t\n]+", " ", "".join(self.words))

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = attributes.items()
        return [
            a
            for t, a in self.elements
            if t == tag and all(v in (a.get(k.rstrip("_")) or "").split() for k, v in wanted)
        ]


def page_of(run: Path) -> Page:
    return Page(write(run).read_text(encoding="utf-8"))


def assert_inert(page: Page) -> None:
    """Only our own two scripts, no handlers, no inline styles, nothing that could be fetched."""
    assert len(page.all("script")) == 2
    assert not [t for t, _ in page.elements if t in ("img", "iframe", "object", "embed", "base", "form", "a:href")]
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcdoc", "formaction", "xlink:href"), (tag, name)
            if name == "href":
                assert (value or "").startswith(("#", "data:,")), value


def test_a_finished_run_shows_everything(finished: Path, tmp_path: Path) -> None:
    out = write(finished, tmp_path / "page.html")
    page = Page(out.read_text(encoding="utf-8"))
    assert_inert(page)
    for wanted in (
        "quickstart",
        "Finished",
        "SFT scores above Base by",
        "Polite style",
        "Paired differences",
        "1 min 58 s · 120 steps",
        "Verified",
        "Some CPU",
        "2.13.0",
        "Held-out preferences",
        "4 rows dropped: all their responses are tied",
        "0.570 [0.540, 0.600]",
        "Kargom hâlâ gelmedi",
    ):
        assert wanted in page.text, wanted
    results = json.loads((finished / "stages/03-evaluate/results.json").read_text())
    total = results["models"]["dpo"]["gold/total"]
    assert f"{total['value']:.3f} [{total['low']:.3f}, {total['high']:.3f}]" in page.text
    head = json.loads((finished / "ledger.jsonl").read_text().splitlines()[-1])["hash"]
    assert head in page.text
    assert not (finished / "report.html").exists()


def test_every_chart_has_a_text_alternative_and_every_table_headers(finished: Path) -> None:
    page = Page(render(load(finished)))
    charts = page.all("svg", class_="chart")
    assert len(charts) >= 12
    assert all(chart["role"] == "img" and chart["aria-label"] and chart["tabindex"] == "0" for chart in charts)
    assert len(page.all("table")) >= 5
    assert len(page.all("th", scope="col")) >= 3 * len(page.all("table", class_="figures"))
    names = {chart["aria-label"].split(":")[0] for chart in charts if chart["aria-label"]}
    assert {"Loss", "Reward margin", "Preference accuracy", "KL to the reference", "Gradient norm", "Learning rate",
            "Tokens per second", "Log-ratio to the reference", "Peak memory"} <= names  # fmt: skip


def test_the_policy_allows_this_page_s_style_and_script_and_nothing_else(finished: Path) -> None:
    html = render(load(finished))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    policy = policy.replace("&#39;", "'")
    for kind, pattern in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (text,) = re.findall(pattern, html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.findall(r"(?:https?:)?//[a-z]", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))


def test_hostile_text_everywhere_is_inert_and_visible(run: Path) -> None:
    def poison(value: object) -> object:
        if isinstance(value, dict):
            return {(k if k in KEPT else f"{k} {HOSTILE[0]}"): poison(v) for k, v in value.items()}
        if isinstance(value, list):
            return [poison(v) for v in value]
        return " ".join(HOSTILE[:9]) if isinstance(value, str) else value

    stage = run / "stages/03-evaluate"
    rows = [
        {"prompt": text, "task": text[:300], "lang": text[:300], "gold": {text[:300]: text},
         "responses": {"base": {"text": text, "score": 0.5, "reason": text}, "dpo": {"text": text, "score": None}}}
        for text in HOSTILE
    ]  # fmt: skip
    (stage / "samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    results = json.loads((stage / "results.json").read_text())
    (stage / "results.json").write_text(json.dumps(poison(results)))
    for name in ("stages/02-dpo/findings.json", "stages/02-dpo/config.json", "environment.json"):
        (run / name).write_text(json.dumps(poison(json.loads((run / name).read_text()))))
    for text in ("recipe.yaml", "resolved.yaml"):
        (run / text).write_text(
            (run / text).read_text().replace("quickstart", "'" + "".join(HOSTILE[:3]).replace("'", "") + "'")
        )
    (run / "stages/02-dpo/metrics.jsonl").write_text(
        json.dumps({"step": 1, "split": "train", HOSTILE[0]: 1.0, "loss": 2.0})
    )
    (run / "stages/01-sft/done.json").unlink()
    (run / "stages/01-sft/state.json").write_text(
        json.dumps({"status": HOSTILE[1], "kind": HOSTILE[0], "reason": HOSTILE[2]})
    )

    page = page_of(run)
    assert_inert(page)
    assert "</script><script>window.hacked=1</script>" in page.text
    assert "⟨U+202E⟩gnp.exe" in page.text
    assert "nul␀ bell␇ esc␛[2J" in page.text
    assert "lone ⟨U+D800⟩ surrogate" in page.text
    assert "{{ 7 * 7 }}{% raw %}" in page.text
    assert f"{96_000:,}".replace(",", "\u202f") in page.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\ud800-\udfff]", page.text)


KEPT = {
    "models", "paired", "a", "b", "metric", "value", "low", "high", "n", "findings", "message", "severity",
    "lengths", "languages", "unit", "histogram", "counts",
}  # fmt: skip


def test_a_run_without_anything_but_a_recipe_says_so(tmp_path: Path) -> None:
    run = tmp_path / "fresh"
    run.mkdir()
    (run / "resolved.yaml").write_text("name: fresh\nseed: 1\nstages: [{sft: {data: x}}, {evaluate: {}}]\n")
    page = page_of(run)
    for wanted in (
        "Not started",
        "No evaluation has finished.",
        "No training metrics",
        "No samples",
        "No data report",
        "no ledger",
        "environment was not recorded",
        "No held-out preference accuracy",
    ):
        assert wanted in page.text, wanted


@pytest.mark.parametrize(
    "missing",
    [
        "resolved.yaml",
        "environment.json",
        "ledger.jsonl",
        "stages",
        "stages/01-sft/done.json",
        "stages/01-sft/metrics.jsonl",
        "stages/02-dpo",
        "stages/02-dpo/state.json",
        "stages/03-evaluate/results.json",
        "stages/03-evaluate/samples.jsonl",
    ],
)
def test_any_missing_piece_leaves_a_page(run: Path, missing: str) -> None:
    target = run / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    page = page_of(run)
    assert_inert(page)
    assert "quickstart" in page.text


TORN = [
    "",
    "{",
    "[]",
    "null",
    "NaN",
    '{"a": NaN}',
    "\x00\xff",
    "[" * 100_000,
    '{"models": 3, "paired": {}}',
    '{"step": "one"}\n[1]\n"x"\n{"step": 1, "loss": {"value": null}}\n',
]


@pytest.mark.parametrize("content", TORN, ids=[str(i) for i in range(len(TORN))])
def test_any_torn_file_leaves_a_page(run: Path, content: str) -> None:
    names = ["environment.json", "resolved.yaml", "recipe.yaml"]
    names += [
        f"stages/02-dpo/{n}" for n in ("findings.json", "config.json", "state.json", "metrics.jsonl", "perf.jsonl")
    ]
    names += [f"stages/03-evaluate/{n}" for n in ("results.json", "samples.jsonl", "done.json", "findings.json")]
    for name in names:
        (run / name).write_text(content, encoding="latin-1")
    page = page_of(run)
    assert_inert(page)
    assert "Not as recorded" in page.text


def test_a_broken_line_is_counted_and_the_rest_is_shown(run: Path) -> None:
    path = run / "stages/02-dpo/metrics.jsonl"
    path.write_text(path.read_text() + "{broken\n17\n")
    page = page_of(run)
    assert "stages/02-dpo/metrics.jsonl: 2 lines not readable as JSON objects" in page.text
    assert "Reward margin" in page.text


def test_steps_that_were_not_finite_are_counted(run: Path) -> None:
    rows = [{"step": i, "split": "train", "loss": None if i in (3, 4) else 1.0 / i} for i in range(1, 10)]
    (run / "stages/01-sft/metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    page = page_of(run)
    assert "2 values were not finite (marked ×)" in page.text
    assert len(page.all("path", class_="lost")) == 2


def test_states_of_a_run_are_told_apart(run: Path) -> None:
    stage = run / "stages/03-evaluate"
    assert load(run).status == "done"
    (stage / "done.json").unlink()
    (stage / "state.json").write_text('{"status": "failed", "kind": "evaluate", "reason": "no space left"}')
    assert load(run).status == "failed"
    assert "no space left" in page_of(run).text
    (stage / "state.json").write_text('{"status": "running", "kind": "evaluate"}')
    assert load(run).status == "interrupted"
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(run / "ledger.lock")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert load(run).status == "running"
        assert load(run).stages[2].status == "running"
        process.kill()
    assert load(run).status == "interrupted"


def test_a_changed_file_is_named(run: Path) -> None:
    path = run / "stages/03-evaluate/results.json"
    path.write_text(path.read_text().replace("0.", "0.9", 1))
    page = page_of(run)
    assert "Not as recorded" in page.text
    assert "stages/03-evaluate/results.json was changed" in page.text
    assert "Verified" not in page.text


def test_verdicts_follow_the_intervals(run: Path) -> None:
    path = run / "stages/03-evaluate/results.json"
    results = json.loads(path.read_text())
    bounds = {("base", "sft"): (0.1, 0.3), ("sft", "dpo"): (-0.05, 0.15), ("base", "dpo"): (-0.3, -0.1)}
    for row in results["paired"]:
        row["low"], row["high"] = bounds[row["a"], row["b"]]
        row["value"] = sum(bounds[row["a"], row["b"]]) / 2
    path.write_text(json.dumps(results))
    text = page_of(run).text
    assert "SFT scores above Base by 0.200 [0.100, 0.300]" in text
    assert "No clear difference between DPO and SFT: +0.050 [−0.050, +0.150]" in text
    assert "DPO scores below Base by 0.200 [0.100, 0.300]" in text


def test_figures_without_an_interval_say_why(run: Path) -> None:
    path = run / "stages/03-evaluate/results.json"
    table = {
        "gold/add": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 9},
        "gold/sub": {"value": 0.5, "low": None, "high": math.nan, "n": 1},
        "gold/mul": {"value": None, "low": None, "high": None, "n": 0, "unscored": 5},
    }
    path.write_text(json.dumps({"models": {"base": table}, "paired": []}))
    text = page_of(run).text
    assert "1.000 all equal" in text
    assert "0.500 no interval" in text
    assert "– not scored" in text
    assert "5 not scored" in text


def test_samples_are_spread_over_tasks_and_the_rest_is_counted(run: Path) -> None:
    rows = [
        {
            "prompt": f"p{i}",
            "task": "add" if i < 900 else "style",
            "lang": "tr",
            "responses": {"base": {"text": "t", "score": 1}},
        }
        for i in range(1_000)
    ]
    (run / "stages/03-evaluate/samples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    page = page_of(run)
    assert "240 of 1\u202f000 prompts are in this report." in page.text
    assert len(page.all("article")) == 240
    assert sum(a["data-task"] == "style" for a in page.all("article")) == 100


def test_outcome_compares_the_last_model_with_the_first(finished: Path) -> None:
    page = Page(render(load(finished)))
    outcomes = [a["data-outcome"] for a in page.all("article")]
    rows = [json.loads(line) for line in (finished / "stages/03-evaluate/samples.jsonl").read_text().splitlines()]
    gain = [r["responses"]["dpo"]["score"] - r["responses"]["base"]["score"] for r in rows]
    for outcome, count in (
        ("up", sum(g > 0 for g in gain)),
        ("down", sum(g < 0 for g in gain)),
        ("same", gain.count(0)),
    ):
        assert outcomes.count(outcome) == count


def test_turkish_page_has_turkish_words_and_numbers(finished: Path) -> None:
    page = Page(render(load(finished), "tr"))
    assert page.all("html")[0]["lang"] == "tr"
    for wanted in ("Hizalama raporu", "Tamamlandı", "Altın puan", "Kanıt", "Eşli farklar", "1 dk 58 sn"):
        assert wanted in page.text, wanted


def test_same_run_same_page(finished: Path) -> None:
    assert render(load(finished)) == render(load(finished))


def test_what_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RunError):
            write(place)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_one_error_and_leaves_nothing(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        write(finished, tmp_path / "dir")
    with pytest.raises(RunError, match="cannot be written"):
        write(finished, tmp_path / "no" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["dir"]


def test_the_reader_needs_no_torch_and_no_pipeline() -> None:
    code = (
        "import sys, hizala.readers.report\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'numpy')"
        " or m.startswith(('hizala.pipelines', 'hizala.engines'))]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_on_preferences_alone_leads_with_their_accuracy(run: Path) -> None:
    path = run / "stages/03-evaluate/results.json"
    models = {
        "base": {"preferences/likelihood": {"value": 0.5, "low": 0.45, "high": 0.55, "n": 400}},
        "dpo": {
            "preferences/likelihood": {"value": 0.55, "low": 0.5, "high": 0.6, "n": 400},
            "preferences/accuracy": {"value": 0.652, "low": 0.61, "high": 0.69, "n": 400},
            "preferences/accuracy.chosen_longer": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 200},
        },
    }
    path.write_text(json.dumps({"models": models, "paired": []}))
    (run / "stages/03-evaluate/samples.jsonl").write_text("")
    page = page_of(run)
    assert "Preference accuracy DPO0.652[0.610, 0.690]" in page.text
    assert "Accuracy · chosen is longer" in page.text
    assert "scored no sampled ones; see the held-out preferences below" in page.text
    assert "No samples were written." in page.text


def test_a_measure_on_another_scale_stands_in_the_table_and_not_in_the_plot(run: Path) -> None:
    path = run / "stages/03-evaluate/results.json"
    results = json.loads(path.read_text())
    results["paired"] = [
        {"a": "base", "b": "dpo", "metric": metric, "value": 0.3, "low": 0.2, "high": 0.4, "n": 9}
        for metric in ("world/polite", "world/length")
    ]
    path.write_text(json.dumps(results))
    html = write(run).read_text(encoding="utf-8")
    paired = html[html.index("Paired differences") :]
    plot, table = paired[: paired.index("<table")], paired[paired.index("<table") :]
    assert "Is polite" in plot
    assert "Length in tokens" not in plot
    assert "Length in tokens" in table[: table.index("</table>")]
