"""Secrets do not reach what is written down, and figures are not taken for secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hizala.ledger import Ledger
from hizala.redact import REDACTED, names_secret, redact


@pytest.mark.parametrize(
    "key",
    ["HF_TOKEN", "token", "hfToken", "api_key", "OPENAI_API_KEY", "apikey", "password", "db_password", "Cookie",
     "AWS_SECRET_ACCESS_KEY", "clientSecret", "Authorization", "private-key", "wandb_api_key", "session_token"],
)  # fmt: skip
def test_keys_that_name_a_secret(key: str) -> None:
    assert names_secret(key)
    assert redact({key: "abc"}) == {key: REDACTED}


@pytest.mark.parametrize(
    "key",
    [
        "tokens",
        "max_tokens",
        "token_budget",
        "end_token",
        "eos_token",
        "nll_per_token",
        "tokenizer",
        "keep_best",
        "key",
        "",
    ],
)
def test_keys_that_do_not(key: str) -> None:
    assert not names_secret(key)
    assert redact({key: "abc"}) == {key: "abc"}


# Written in parts, so that no scanner takes them for real ones.
@pytest.mark.parametrize(
    "text",
    ["hf_" + "a1" * 17, "ghp_" + "b2" * 18, "sk-" + "c3" * 20, "AKIA" + "D4" * 8, "xoxb-" + "12345" * 4],
)
def test_texts_of_known_shapes_are_taken_out_anywhere(text: str) -> None:
    assert redact({"a": [f"see {text} here"]}) == {"a": [f"see {REDACTED} here"]}


def test_passwords_in_addresses_and_bearers_are_taken_out() -> None:
    assert redact("https://me:pw@host/x") == f"https://{REDACTED}@host/x"
    assert redact("Bearer " + "abcdef123456") == f"Bearer {REDACTED}"
    assert redact("https://host/a:b@c") == "https://host/a:b@c"


def test_values_of_secret_variables_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "plain-looking-value")
    monkeypatch.setenv("OTHER_TOKEN", "short")
    assert redact(["x plain-looking-value y", "short"]) == [f"x {REDACTED} y", "short"]


@pytest.mark.parametrize(
    "value", [{"step": 1, "loss": 0.5, "ok": True, "none": None, "token": 3, "has_password": False}]
)
def test_figures_stay_as_they_are(value: dict[str, Any]) -> None:
    assert redact(value) == value


def test_the_ledger_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", "hunter2hunter2")
    with Ledger(tmp_path) as ledger:
        ledger.append("x", {"env": {"HF_TOKEN": "abc"}, "command": ["--auth", "hunter2hunter2"]})
    text = (tmp_path / "ledger.jsonl").read_text()
    assert "abc" not in text
    assert "hunter2" not in text
