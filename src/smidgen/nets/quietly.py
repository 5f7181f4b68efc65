"""Reading a model of transformers without its bars and lists of unused weights."""

from typing import Any


class quietly:
    """A block in which transformers says only errors; afterwards it says what it did before."""

    def __init__(self, transformers: Any) -> None:
        self.log = transformers.utils.logging

    def __enter__(self) -> None:
        self.level, self.bar = self.log.get_verbosity(), self.log.is_progress_bar_enabled()
        self.log.set_verbosity_error()
        self.log.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self.log.set_verbosity(self.level)
        if self.bar:
            self.log.enable_progress_bar()
