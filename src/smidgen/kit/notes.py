"""What a person should know of how something was done, such as a GPU that had too little memory: collected where
someone listens, so that it can be kept with the result, and said in a warning where nobody does."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def note(text: str) -> None:
    """Tells whoever listens, once each text; where nobody does it is a UserWarning."""
    heard = _heard.get()
    if heard is None:
        warnings.warn(text, UserWarning, stacklevel=3)
    elif text not in heard:
        heard.append(text)


@contextmanager
def listening() -> Iterator[list[str]]:
    """A block whose notes are collected, in the list that it gets. Blocks within it have their own."""
    heard: list[str] = []
    before = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(before)
