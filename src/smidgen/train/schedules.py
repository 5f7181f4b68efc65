"""Learning-rate schedules as plain functions of where a run is: no hidden counter, nothing to restore.

`WSD` (MiniCPM, Hu et al., 2024, arXiv 2404.06395, section 4): warm-up, then a constant rate without a planned end, then
a short decay, about a tenth of all steps. Checkpoints of the constant phase serve runs of every length: each length
costs one decay.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from smidgen.kit.errors import BadInput, bad

Shape = Literal["exp", "linear", "1-sqrt", "cosine"]
SHAPES: tuple[Shape, ...] = ("exp", "linear", "1-sqrt", "cosine")


@dataclass(frozen=True, kw_only=True)
class WSD:
    """Warm-up, stable, decay, as a factor of the peak rate.

    Attributes:
        warmup: steps of linear rise. decay: steps of the fall.
        stable_until: step at which the fall begins; None: not yet known, the rate stays until `start_decay`.
        shape: of the fall: "1-sqrt" and "linear" reach `least`; "exp" halves every `half_life` of the fall's length
            and so ends at 0.5 ** (1 / half_life), or at `least` if that is more; "cosine" reaches `least`.
        least: factor at the end.
    """

    warmup: int
    decay: int
    stable_until: int | None = None
    shape: Shape = "1-sqrt"
    least: float = 0.0
    half_life: float = 0.25

    def __post_init__(self) -> None:
        for name in ("warmup", "decay"):
            if getattr(self, name) < 0:
                raise bad(name, "steps, 0 or more", getattr(self, name))
        if self.stable_until is not None and self.stable_until < self.warmup:
            raise bad("stable_until", f"a step after the warm-up of {self.warmup}", self.stable_until)
        if self.shape not in SHAPES:
            raise bad("shape", " or ".join(SHAPES), self.shape)
        if not 0 <= self.least <= 1:
            raise bad("least", "a factor from 0 to 1", self.least)
        if not self.half_life > 0:
            raise bad("half_life", "a share of the fall above 0", self.half_life)

    @property
    def end(self) -> int | None:
        """Steps in all; None while the stable phase has no end."""
        return None if self.stable_until is None else self.stable_until + self.decay

    def __call__(self, step: int) -> float:
        """The factor for update number `step`, from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.stable_until is None or step < self.stable_until or not self.decay:
            return 1.0
        x = min(1.0, (step - self.stable_until + 1) / self.decay)
        if self.shape == "exp":
            return max(self.least, 0.5 ** (x / self.half_life))
        fall = {"linear": 1 - x, "1-sqrt": 1 - math.sqrt(x), "cosine": (1 + math.cos(math.pi * x)) / 2}[self.shape]
        return self.least + (1 - self.least) * fall

    def start_decay(self, step: int, decay: int | None = None) -> "WSD":
        """The same schedule with the fall beginning at `step`. Raises BadInput: it has begun before."""
        if self.stable_until is not None:
            raise BadInput(
                f"The decay begins at step {self.stable_until} already: branch from the stable phase instead."
            )
        return replace(self, stable_until=step, decay=self.decay if decay is None else decay)


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then half a cosine down to `least` at step `steps`: the length must be known before."""

    steps: int
    warmup: int = 0
    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= self.steps:
            raise bad("warmup", f"0 to {self.steps} steps", self.warmup)

    @property
    def end(self) -> int:
        return self.steps

    def __call__(self, step: int) -> float:
        """The factor for update number `step`, from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        x = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * x)) / 2


def set_rate(optimizer, factor: float) -> None:
    """Sets the rate of each parameter group to `factor` times its own peak (`peak_lr`, kept at the first call)."""
    for group in optimizer.param_groups:
        group.setdefault("peak_lr", group["lr"])
        group["lr"] = group["peak_lr"] * factor
