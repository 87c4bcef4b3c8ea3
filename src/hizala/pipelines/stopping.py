"""Stopping on request: the first signal asks a stage to end at a good place, the second ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interrupts(ask: Callable[[], None]) -> Iterator[None]:
    """While open, the first Ctrl-C or SIGTERM calls `ask`; the second stops at once."""

    def handler(number: int, frame: FrameType | None) -> None:
        for each, old in previous.items():
            signal.signal(each, old)
        ask()

    previous: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread: whoever called us handles signals
        previous = {}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
