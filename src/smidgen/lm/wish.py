"""What a person asks of a training, checked before anything is read; what is left out is chosen (`plan`)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from smidgen.budget.budget import parse_duration
from smidgen.data.mix_schedules import Cooldown
from smidgen.kit.errors import BadInput, bad
from smidgen.lm.plan import SMALLEST
from smidgen.train.precision import resolve

CONTEXT = 256  # tokens, where none is asked for
_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}


@dataclass(frozen=True, kw_only=True)
class Wish:
    """None: left to smidgen.

    Attributes:
        size: parameters. seconds: of all of it. precision: auto, fp32, bf16 or mixed. mix: share of each corpus by its
            name. mix_temperature: (tau,), or (high, low) or (high, low, share): see `Cooldown`. context: tokens a
            window. rate: the peak rate. batch: windows of an update. seed: of weights and order.
    """

    size: int | None = None
    seconds: float | None = None
    precision: str | None = None
    mix: dict[str, float] | None = None
    mix_temperature: tuple[float, ...] | None = None
    context: int | None = None
    rate: float | None = None
    batch: int | None = None
    seed: int | None = None

    @classmethod
    def of(
        cls,
        *,
        size: int | str | None = None,
        time: float | str | None = None,
        mix: Mapping[str, float] | Sequence[str] | None = None,
        mix_temperature: Sequence[float] | str | None = None,
        **more: Any,
    ) -> "Wish":
        """From texts as they are written on a command line ("10M", "30m", "name=2", "5,1,0.5"), or from values.

        Raises:
            BadInput: one that cannot be read.
        """
        return cls(
            size=None if size is None else parse_count(size),
            seconds=None if time is None else parse_duration(time, "--time"),
            mix=parse_mix(mix) if mix else None,
            mix_temperature=None if mix_temperature is None else parse_temperature(mix_temperature),
            **more,
        )

    def check(self, names: list[str]) -> None:
        """Of corpora with these names. Raises BadInput: neither size nor time, or what cannot be."""
        if self.size is None and self.seconds is None:
            raise BadInput("Say how large (--size 10M) or how long (--time 30m) the training shall be.")
        if self.size is not None and self.size < SMALLEST:
            raise bad("--size", f"at least {SMALLEST:,} parameters", f"{self.size:,}")
        for name, least in (("context", 8), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise bad(f"--{name}", f"at least {least}", value)
        for name in ("seconds", "rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise bad("--time" if name == "seconds" else f"--{name}", "above 0", value)
        if self.mix is not None:
            if set(self.mix) != set(names):
                raise bad("--mix", f"a weight for each of {', '.join(names)}", ", ".join(self.mix) or "none")
            if not all(0 < w < math.inf for w in self.mix.values()):
                raise bad("--mix", "weights above 0", ", ".join(f"{n}={w:g}" for n, w in self.mix.items()))
        if self.mix_temperature is not None:
            self.cooldown()
            if self.mix is not None or len(names) < 2:
                raise bad("--mix-temperature", "two corpora or more, without --mix", ", ".join(names))
        resolve(self.precision or "auto")

    def cooldown(self) -> Cooldown | None:
        """The schedule of the temperature. Raises BadInput: not one to three numbers of a schedule."""
        if self.mix_temperature is None:
            return None
        high, low, switch = [*parse_temperature(self.mix_temperature), None, None][:3]
        return Cooldown(float(high), float(high if low is None else low), 0.5 if switch is None else float(switch))

    def given(self) -> dict[str, Any]:
        """What was asked, as JSON holds it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        out = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {k: v for k, v in out.items() if v is not None}


FLAGS = {"seconds": "--time", "mix_temperature": "--mix-temperature"}


def same(now: Wish, then: dict[str, Any]) -> None:
    """Raises BadInput where a person who goes on asks something else than at first (`given`)."""
    for name, value in now.given().items():
        if then.get(name) != value:
            flag, was = FLAGS.get(name, f"--{name}"), then.get(name, "nothing")
            raise bad(flag, f"as when this training began ({was})", str(value), "Leave it out, or start anew.")


def parse_count(text: str | float, what: str = "--size") -> int:
    """10M, 1.5b, 300k or 250000 as a number. Raises BadInput."""
    plain = str(text).strip().lower()
    factor = _UNITS.get(plain[-1:], 1)
    try:
        value = float(plain[:-1] if factor > 1 else plain) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < 1e13:
        raise bad(what, "a number such as 10M or 300k", str(text))
    return round(value)


def parse_mix(mix: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """Weights by name, from NAME=WEIGHT each. Raises BadInput."""
    if isinstance(mix, Mapping):
        return {name: float(weight) for name, weight in mix.items()}
    found: dict[str, float] = {}
    for pair in mix:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise bad("--mix", "NAME=WEIGHT with a weight above 0", pair) from None
    return found


def parse_temperature(text: Sequence[float] | str) -> tuple[float, ...]:
    """HIGH, or HIGH,LOW, or HIGH,LOW,SHARE. Raises BadInput."""
    try:
        values = tuple(float(part) for part in (text.split(",") if isinstance(text, str) else text))
    except ValueError:
        values = ()
    if not 1 <= len(values) <= 3:
        raise bad("--mix-temperature", "HIGH, or HIGH,LOW, or HIGH,LOW,SHARE such as 5,1,0.5", str(text))
    return values
