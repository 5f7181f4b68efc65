"""What may be spent: a Budget, and how people write durations and sizes."""

import math
import re
from dataclasses import dataclass, fields

from smidgen.kit.errors import BadInput, bad

_SECONDS = {"": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    "kb": 1e3,
    "mb": 1e6,
    "gb": 1e9,
    "tb": 1e12,
    "k": 1e3,
    "m": 1e6,
    "g": 1e9,
    "t": 1e12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent; None is no bound.

    A budget by count (`trials`) is exactly reproducible. One by `seconds` is not: its list of trials is recorded and
    can be replayed.
    """

    seconds: float | None = None  # wall time of the whole run
    trials: int | None = None  # trials used, whether measured now or found in the run store
    memory: int | None = None  # bytes, resident, of each worker process
    model_bytes: int | None = None  # bytes of the whole saved model folder

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise bad(f"Budget.{field.name}", "a number above 0, or None", value)
            if field.name != "seconds" and value != int(value):
                raise bad(f"Budget.{field.name}", "a whole number", value)

    @property
    def by_count(self) -> bool:
        """Whether equal runs give equal results: nothing in it depends on a clock."""
        return self.seconds is None


def parse_duration(text: str | float, what: str = "duration") -> float:
    """Seconds from "60s", "2m", "1h30m", "0.5h" or "90" (a bare number is seconds).

    Raises:
        BadInput: not a duration, or not above 0.
    """
    total, rest, seen = 0.0, _plain(text), set()
    while match := _PART.match(rest):
        number, unit = match.groups()
        rest = rest[match.end() :]
        # A bare number is only clear alone: "1h30" could mean seconds or minutes.
        if unit not in _SECONDS or unit in seen or (unit == "" and (seen or rest)):
            rest = "?"
            break
        seen.add(unit)
        total += float(number) * _SECONDS[unit]
    if rest or not seen or not 0 < total < math.inf:
        raise bad(what, "a time above 0 such as 60s, 2m, 1h or 90 (seconds)", str(text))
    return total


def parse_bytes(text: str | float, what: str = "size") -> int:
    """Bytes from "4GB", "50MB", "1.5GiB" or "1000": MB is 10^6 and MiB is 2^20 bytes; upper or lower case.

    Raises:
        BadInput: not a size, or below one byte.
    """
    match = _PART.fullmatch(_plain(text))
    if not match or match[2] not in _BYTES or not 1 <= float(match[1]) * _BYTES[match[2]] < 2**63:
        raise bad(what, "a size of at least one byte such as 4GB, 50MB, 1.5GiB or 1000 (bytes)", str(text))
    return round(float(match[1]) * _BYTES[match[2]])


def show_bytes(count: float) -> str:
    """ "4.0 GB" for people; the inverse of `parse_bytes` up to rounding."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= size * 0.99995:
            return f"{count / size:.1f} {unit}"
    return f"{int(count)} bytes"


def _plain(text: str | float) -> str:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise BadInput(f"A size or time is written as text or a number, got {text!r}.")
    if isinstance(text, float):
        text = f"{text:f}" if math.isfinite(text) else "?"
    return str(text).strip().lower()
