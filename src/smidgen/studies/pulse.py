"""The heartbeat of a study: while its process lives, who reads the run store sees that it runs, and soon after that it
does not.

A thread of its own: encoding, choosing and fitting take long and do not return to any loop.
"""

import contextlib
import threading
from collections.abc import Iterator

from smidgen.kit.errors import SmidgenError
from smidgen.studies.store import RunStore

PULSE_SECONDS = 15.0  # a few within a lease


@contextlib.contextmanager
def pulse(store: RunStore, study: str) -> Iterator[None]:
    """Inside, the study's lease in the store is extended, until another run has it."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(PULSE_SECONDS):
            with contextlib.suppress(SmidgenError):  # the store is away or held: the next beat is soon
                if not store.beat_study(study):
                    return

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)  # one that waits for the store keeps nobody
