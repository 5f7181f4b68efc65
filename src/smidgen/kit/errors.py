"""The four kinds of error. Each message says what was wrong, where, and what to do, in one sentence or two."""

from typing import Any


class SmidgenError(Exception):
    """Root of all errors that are meant for a person.

    `exit_code` is the command line's exit status. `see` names the section of docs/trouble.md that helps (its heading,
    as `smidgen explain` takes it), or is empty; it survives a pickle.
    """

    exit_code = 1

    def __init__(self, *args: object, see: str = "") -> None:
        super().__init__(*args)
        self.see = see


class BadInput(SmidgenError, ValueError):
    """A file, an argument or a model folder is not what it should be."""

    exit_code = 2


class NotFound(BadInput):
    """What was named (a study, a paper, a model) is not there."""


class MissingExtra(SmidgenError, ImportError):
    """An optional package is needed and not installed."""

    exit_code = 2


class BudgetSpent(SmidgenError):
    """The budget ended before there was any result."""

    exit_code = 3


def bad(what: str, expected: str, got: Any, hint: str = "", *, see: str = "") -> BadInput:
    """A `BadInput` in the house's form: `what`: expected this, got that. Do this."""
    shown = got if isinstance(got, str) else repr(got)
    if len(shown) > 200:
        shown = shown[:200] + "..."
    return BadInput(f"{what}: expected {expected}, got {shown}.{' ' + hint if hint else ''}", see=see)
