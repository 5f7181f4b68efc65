"""Progress on standard error: a moving line on a terminal, else one plain line per change or every ten seconds.

An event is `{"kind": "read" | "plan" | "encode" | "pretraining" | "trial" | "round" | "refit" | "note" | "done",
"text": str, "done": int, "total": int | None, "seconds_left": float | None}`.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from smidgen.cli.output import tell
from smidgen.web.words import clean, duration

QUIET_SECONDS = 10.0
_LASTING = ("read", "plan", "note", "done")  # said once, and worth keeping on the screen


class PlainProgress:
    """Lines for logs and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._kind, self._last = clock, "", -1e9

    def __enter__(self) -> "PlainProgress":
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __call__(self, event: dict[str, Any]) -> None:
        now, kind = self._clock(), str(event.get("kind"))
        if kind == self._kind and kind not in _LASTING and now - self._last < QUIET_SECONDS:
            return
        self._kind, self._last = kind, now
        tell(_sentence(event))


class TerminalProgress:
    """One moving line: what is done, how much of it, how long it may last."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        # markup off: a column's name may look like a colour command
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[left]}", markup=False),
            console=Console(stderr=True, markup=False, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("Starting", total=None, left="")

    def __enter__(self) -> "TerminalProgress":
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("kind") in _LASTING:
            self._bar.console.print(_text(event), markup=False, soft_wrap=True)
        left = event.get("seconds_left")
        self._bar.update(
            self._task,
            description=clean(event.get("text", ""), 70),
            total=event.get("total"),
            completed=event.get("done") or 0,
            left=f"at most {duration(left)} left" if left is not None else "",
        )


def progress() -> PlainProgress | TerminalProgress:
    """What suits where standard error goes. NO_COLOR is kept by rich; a terminal that cannot move gets lines."""
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return TerminalProgress() if terminal else PlainProgress()


def _text(event: dict[str, Any]) -> str:
    return clean(event.get("text", ""), 400)


def _sentence(event: dict[str, Any]) -> str:
    done, total, left = event.get("done"), event.get("total"), event.get("seconds_left")
    notes = [f"{done} of {total}"] if total else [f"{done} done"] if done else []
    notes += [f"at most {duration(left)} left"] if left is not None and event.get("kind") != "done" else []
    return _text(event) + (f" ({', '.join(notes)})" if notes else "")
