"""Chat models behind an OpenAI-compatible address: limits in time and size, retries, a cache; no key is ever shown."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from hizala.canonical import digest
from hizala.errors import ConfigError
from hizala.records import Message
from hizala.redact import REDACTED

LARGEST = 1 << 20  # bytes of an answer
SLOWEST_RETRY = 30.0  # seconds between two tries at most
_AGAIN = (408, 425, 429, *range(500, 600))
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Said:
    """What a model answered; `text` None: nothing that can be used, `reason` says why."""

    text: str | None
    reason: str = ""


class Endpoint:
    """A chat model at an OpenAI-compatible address.

    Args:
        url: of the API, ending in its version (`https://host/v1`); `/chat/completions` is added.
        model: its name there.
        key_env: the environment variable that holds the key; None sends none.
        seconds: for one try, from its start to the last byte of its answer.
        retries: further tries after a busy or failing server, waiting half a second, then twice as long each time.
        concurrency: requests at one time.
        cache: answers kept; the same question is then not asked again.
        body: what is sent besides the model and the messages (temperature, max_tokens, …).
    Raises:
        ConfigError: an address that is none or carries a password, or a key that is absent or would travel openly.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str | None = None,
        seconds: float = 60.0,
        retries: int = 3,
        concurrency: int = 8,
        cache: int = 65536,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        self.url, self.model, self.body = url.rstrip("/") + "/chat/completions", model, dict(body or {})
        self.seconds, self.retries, self.size = seconds, retries, cache
        headers = _headers(url, key_env)
        self._key_env = key_env
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx2.Client(headers=headers, timeout=seconds, limits=limits, follow_redirects=False)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="judge")
        self._closing = threading.Event()
        self._cache: OrderedDict[str, Said] = OrderedDict()
        self.counts: Counter[str] = Counter()

    def ask(self, questions: Sequence[Sequence[Message]]) -> list[Said]:
        """The answers to conversations, in order; what is asked twice is sent once. Nothing is raised."""
        keys = [digest([self.url, self.model, self.body, list(question)]) for question in questions]
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._cache}
        self.counts["cached"] += len(questions) - len(new)
        found = dict(zip(new, self._threads.map(self._answer, new.values()), strict=True))
        answers = [found[key] if key in found else self._cache[key] for key in keys]
        for key, said in found.items():
            if said.text is not None:
                self._cache[key] = said
        for key in keys:
            if key in self._cache:
                self._cache.move_to_end(key)
        while len(self._cache) > self.size:
            self._cache.popitem(last=False)
        return answers

    def close(self) -> None:
        """Give up what still runs, and let the connections go."""
        self._closing.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _answer(self, question: Sequence[Message]) -> Said:
        messages = [{"role": message.role, "content": message.content} for message in question]
        try:
            content = json.dumps({"model": self.model, "messages": messages, **self.body}).encode("ascii")
        except (TypeError, ValueError) as error:
            return Said(None, f"crash: {type(error).__name__}")
        said, wait = Said(None, "closed"), 0.5
        for attempt in range(self.retries + 1):
            if self._closing.is_set():
                break
            said, again, asked = self._try(content)
            self.counts["requests"] += 1
            if said.text is not None or not again or attempt == self.retries:
                break
            self._closing.wait(min(max(wait, asked), SLOWEST_RETRY))
            wait *= 2
        return said

    def _try(self, content: bytes) -> tuple[Said, bool, float]:
        """One request: what was said, whether another try may help, and the seconds the server asked to wait."""
        end = time.monotonic() + self.seconds
        try:
            with self._client.stream("POST", self.url, content=content) as response:
                if response.status_code != 200:
                    again = response.status_code in _AGAIN
                    return Said(None, f"HTTP {response.status_code}"), again, _retry_after(response)
                received = bytearray()
                for part in response.iter_bytes():
                    received += part
                    if len(received) > LARGEST:
                        return Said(None, "answer too large"), False, 0.0
                    if time.monotonic() > end:
                        return Said(None, f"time limit: no whole answer within {self.seconds:g} s"), True, 0.0
        except httpx2.TimeoutException:
            return Said(None, f"time limit: no whole answer within {self.seconds:g} s"), True, 0.0
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError) as error:
            return Said(None, f"no connection: {type(error).__name__}"), True, 0.0
        return self._read(bytes(received)), False, 0.0

    def _read(self, received: bytes) -> Said:
        """The text in an answer of the API, of its first choice."""
        try:
            parsed = json.loads(received)
            choice = parsed["choices"][0]
            text = choice["message"]["content"]
            usage = parsed.get("usage") or {}
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return Said(None, "malformed answer of the endpoint")
        for name in ("prompt_tokens", "completion_tokens"):
            if isinstance(usage, dict) and isinstance(usage.get(name), int):
                self.counts[name] += usage[name]
        if not isinstance(text, str):
            return Said(None, "malformed answer of the endpoint")
        if choice.get("finish_reason") == "length":
            return Said(None, "the answer was cut off at its most tokens")
        key = os.environ.get(self._key_env or "", "").strip()
        return Said(text.replace(key, REDACTED) if key else text)  # an endpoint may say the key back


def _headers(url: str, key_env: str | None) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise ConfigError(f"'{url[:80]}' is no address of an API", fix="write https://host/v1")
    if parts.username or parts.password:
        raise ConfigError(
            "the address of the endpoint carries a name or password, which would be written down",
            fix="put the key into an environment variable and name it with key_env",
        )
    headers = {"Content-Type": "application/json"}
    if key_env is None:
        return headers
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {key_env} holds no key", fix=f"export {key_env}=…, or drop key_env"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the key in {key_env} holds characters that no key has", fix="copy it again")
    if parts.scheme == "http" and host not in _LOCAL:
        raise ConfigError(f"the key in {key_env} would travel openly to {host}", fix="use https, or drop key_env")
    return {**headers, "Authorization": f"Bearer {key}"}


def _retry_after(response: httpx2.Response) -> float:
    """Seconds the server asks to wait; 0 where it asks for none or in another form."""
    try:
        return max(float(response.headers.get("Retry-After", "0")), 0.0)
    except ValueError:
        return 0.0
