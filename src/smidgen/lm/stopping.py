"""Ctrl-C in a training: the first ends it after the update that runs, the second at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stopping(say: Callable[[str], None], twice: bool = True) -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether a stop was asked for. Outside the main thread nobody can ask for one.

    Args:
        twice: a second Ctrl-C raises KeyboardInterrupt; False: it does nothing, since others wait for this process.
    """
    asked = False

    def on_signal(*_: object) -> None:
        nonlocal asked
        if asked and twice:
            raise KeyboardInterrupt
        asked = True
        say("Stopping as soon as nothing is lost" + ("; once more stops at once." if twice else "."))

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
