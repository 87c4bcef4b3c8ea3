"""HTTP to a server on this machine through a socket file, which only its owner can open."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Refused(Exception):
    """The server understood and said no (4xx): asking again would not help."""


class Lost(Exception):
    """No answer, or that of a server that is ending: the same request may be sent again elsewhere."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """Requests to one server.

    Args:
        path: its socket file.
        key: sent with every request; never part of a message.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def post(self, route: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """The answer to a JSON body, read as JSON (None where it is empty).

        Raises:
            Refused: 4xx.
            Lost: everything else that is no answer.
        """
        text = self._ask("POST", route, json.dumps(dict(body or {})), timeout)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise Lost(f"{route}: the answer is no JSON") from error

    def get(self, route: str, *, timeout: float) -> str:
        """The text at a route. Raises as `post` does."""
        return self._ask("GET", route, None, timeout)

    def _ask(self, method: str, route: str, body: str | None, timeout: float | None) -> str:
        connection = _Connection(self._path, timeout)
        try:
            connection.request(method, route, body=body, headers=self._headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise Lost(f"{route}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if 400 <= response.status < 500:
            raise Refused(f"{route}: {response.status} {text[:500]}")
        if response.status != 200:
            raise Lost(f"{route}: {response.status} {text[:500]}")
        return text
