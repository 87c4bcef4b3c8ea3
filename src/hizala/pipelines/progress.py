"""Progress of long work: a live bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False, soft_wrap=True)
_QUIET_SECONDS = 15.0
_BAR_COLUMNS = 80  # of a bar with its counts and times
_FIRST = os.environ.get("RANK", "0") == "0"  # of several processes one speaks


class _Live(Progress):
    """A bar with a note behind it, or below it where the terminal has no room for both."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bar, and the note where it stands below."""
        yield self.make_tasks_table(self.tasks)
        note = self.tasks[0].fields["below"] if self.tasks else ""
        if note:
            yield Text(f"  {note}", no_wrap=True, overflow="ellipsis")


class Bar:
    """One piece of work of `total` units.

    Args:
        label: what is being done.
        total: units of work.
        done: units already done, when work continues.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._started = self._spoke = time.monotonic()
        self._first = done
        self._live: Progress | None = None
        if console.is_terminal and _FIRST:
            self._live = _Live(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
            )  # fmt: skip
            self._task = self._live.add_task(label, total=total, completed=done, note="", below="")

    def __enter__(self) -> Bar:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        elif kind is None:
            self._say("")

    def advance(self, units: int = 1, metrics: Mapping[str, float] | None = None) -> None:
        """Count work done and show its metrics."""
        self.done += units
        note = "  ".join(f"{name.split('/')[-1]} {value:.4g}" for name, value in (metrics or {}).items())
        if self._live:
            behind = console.width - _BAR_COLUMNS - len(self.label) >= len(note)
            shown, below = (note, "") if behind else ("", note)
            self._live.update(self._task, completed=self.done, note=shown, below=below)
        elif time.monotonic() - self._spoke > _QUIET_SECONDS and self.done < self.total:
            self._say(note)

    def _say(self, note: str) -> None:
        if not _FIRST:
            return
        now = time.monotonic()
        self._spoke = now
        spent = now - self._started
        fresh = max(self.done - self._first, 1)
        left = spent / fresh * (self.total - self.done)
        tail = f", {left:.0f} s left" if self.done < self.total else ""
        print(f"  {self.label}: {self.done}/{self.total} in {spent:.0f} s{tail}  {note}".rstrip(), file=sys.stderr)


def say(text: str) -> None:
    """One line for the person watching."""
    if _FIRST:
        console.print(text, markup=False)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show that something without units is being done, and how long it took."""
    started = time.monotonic()
    yield
    spent = time.monotonic() - started
    if spent > 1.0:
        say(f"  {label} ({spent:.1f} s)")
