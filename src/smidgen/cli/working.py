"""`smidgen work`: measures trials of studies that run elsewhere."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from smidgen.budget.budget import parse_bytes, parse_duration
from smidgen.cli.output import tell
from smidgen.cli.progress import progress
from smidgen.kit.machine import cores


def work(store: str | None, *, workers: int | None, memory: str | None, idle: str | None, study: str | None) -> int:
    """Works until it is idle for long (exit status 0), or is stopped: Ctrl-C gives 130, SIGTERM 143."""
    bound = parse_bytes(memory, "memory") if memory is not None else None
    patience = parse_duration(idle, "idle") if idle is not None else None
    count = workers or min(cores(), 8)
    from smidgen.studies.store import RunStore
    from smidgen.studies.work import Worker

    with _stopped() as number, RunStore(store) as opened, progress() as told:
        only = opened.study(study).id if study is not None else None
        text = f"{count} {'process takes' if count == 1 else 'processes take'} trials from {opened.name}"
        told({"kind": "read", "text": text, "done": 0, "total": None, "seconds_left": None})
        worker = Worker(opened, count, memory=bound, study=only, idle=patience, tell=told)
        try:
            worker.run()
        except KeyboardInterrupt:
            tell(f"Stopped: {_trials(worker.done)} measured, the unfinished given back.")
            return 128 + number[0] if number else 130
    tell(f"Idle for {idle}: {_trials(worker.done)} measured.")
    return 0


def _trials(count: int) -> str:
    return f"{count} {'trial' if count == 1 else 'trials'}"


@contextlib.contextmanager
def _stopped() -> Iterator[list[int]]:
    """SIGTERM ends the block as Ctrl-C does; the list holds its number then."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = {}
    with contextlib.suppress(ValueError):  # not the main thread
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
