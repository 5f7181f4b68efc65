"""Rates for a training of two phases, the second one with rounded weights (Dremov et al., 2025, arXiv 2509.22935), as
factors by step (`schedules`).

Classic: the first phase is a whole training with a fall of its own; the second warms up again and falls again. Fused:
the first phase stops at its peak, the second goes on there, and the only fall lies within it: no update is spent on
refining weights that rounding then moves.
"""

from dataclasses import dataclass

from smidgen.kit.errors import bad
from smidgen.train.schedules import WSD, Shape

FALL = 0.2  # of the updates that a fall takes


@dataclass(frozen=True)
class Then:
    """`first` for so many updates, then `second`, from its own beginning. `flat_until`: updates after the warm-up up
    to which the rate stays at its peak: so far a run is the same as one that never falls."""

    first: WSD
    second: WSD
    switch: int
    flat_until: int

    @property
    def end(self) -> int:
        assert self.second.end is not None
        return self.switch + self.second.end

    def __call__(self, step: int) -> float:
        """The factor for update number `step`, from 0."""
        return self.first(step) if step < self.switch else self.second(step - self.switch)


def fused_cooldown(
    steps_fp: int, steps_qat: int, warmup: int, *, fall: int | None = None, shape: Shape = "1-sqrt", least: float = 0.0
) -> WSD:
    """One warm-up, one peak and one fall within the last `steps_qat` updates: over all of them, or the last `fall`."""
    _check(steps_fp, steps_qat, warmup)
    fall = steps_qat if fall is None else min(fall, steps_qat)
    until = max(warmup, steps_fp + steps_qat - fall)
    return WSD(warmup=warmup, decay=steps_fp + steps_qat - until, stable_until=until, shape=shape, least=least)


def classic_cooldown(
    steps_fp: int, steps_qat: int, warmup: int, *, qat_warmup: int | None = None, fall: float = FALL,
    shape: Shape = "1-sqrt", least: float = 0.0,
) -> Then:  # fmt: skip
    """Two trainings, each with a warm-up and a fall over the share `fall` of its updates.

    Args:
        qat_warmup: updates of the second one; None: a twentieth of it, at least one.
    """
    _check(steps_fp, steps_qat, 0)
    if not 0 < fall <= 1:
        raise bad("fall", "a share of the updates above 0, at most 1", fall)
    short = max(1, steps_qat // 20) if qat_warmup is None else qat_warmup
    warm = [min(warmup, steps_fp), min(short if steps_fp else max(short, warmup), steps_qat)]
    parts = []
    for steps, rise in zip((steps_fp, steps_qat), warm, strict=True):
        until = max(rise, steps - round(fall * steps))
        parts.append(WSD(warmup=rise, decay=steps - until, stable_until=until, shape=shape, least=least))
    return Then(parts[0], parts[1], steps_fp, parts[0].stable_until or 0)


def flat_until(schedule: WSD | Then) -> int:
    """Updates up to which a schedule is warm-up and peak alone: what runs of several lengths share."""
    return schedule.flat_until if isinstance(schedule, Then) else schedule.stable_until or 0


def _check(steps_fp: int, steps_qat: int, warmup: int) -> None:
    for name, value in (("steps_fp", steps_fp), ("steps_qat", steps_qat), ("warmup", warmup)):
        if value < 0:
            raise bad(name, "updates, 0 or more", value)
    if warmup > steps_fp + steps_qat:
        raise bad("warmup", f"at most the {steps_fp + steps_qat} updates of both phases", warmup)
