"""Secrets out of what is written down. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

REDACTED = "[redacted]"

_SECRET_WORDS = {"secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials", "apikey"}
_SECRET_PAIRS = {("api", "key"), ("access", "key"), ("private", "key"), ("secret", "key")}
# `hf_token` is a secret; `end_token` is a word of the vocabulary, and `nll_per_token` a figure.
_TOKEN_OF_TEXT = {"end", "eos", "bos", "pad", "unk", "sep", "cls", "mask", "image", "per", "special", "first", "last"}
_LOOKS_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{16,}|AKIA[0-9A-Z]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,})\b|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{12,}=*|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def redact(value: Any) -> Any:
    """A copy of plain values without secrets.

    Taken out: values under keys that name a secret, the values of environment variables that do, and texts of
    well-known shapes (tokens of hubs and services, passwords in addresses).
    """
    hidden = sorted({v for k, v in os.environ.items() if names_secret(k) and len(v) >= 8}, key=len, reverse=True)
    return _redact(value, hidden)


def names_secret(key: str) -> bool:
    """Whether a key or variable of this name holds a secret."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+", key)]
    if not words:
        return False
    if words[-1] == "token":
        return len(words) == 1 or words[-2] not in _TOKEN_OF_TEXT
    if words[-1] in ("authorization", "cookie"):
        return True
    return not _SECRET_WORDS.isdisjoint(words) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


def _redact(value: Any, hidden: list[str]) -> Any:
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, REDACTED)
        return _LOOKS_SECRET.sub(REDACTED, value)
    if isinstance(value, Mapping):
        return {key: _under(key, item, hidden) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item, hidden) for item in value]
    return value


def _under(key: str, item: Any, hidden: list[str]) -> Any:
    if not names_secret(key) or item is None or isinstance(item, bool):
        return _redact(item, hidden)
    # A number under `token` is an id or a figure; under `password` it is a password.
    if isinstance(item, int | float) and key.lower().endswith("token"):
        return item
    return REDACTED
