"""The set-up of a training from what a person asks for: shape, tokens and forecast at the speed measured here."""

from typing import Any

from smidgen.kit.machine import resident_bytes
from smidgen.lm.forecast import forecast
from smidgen.lm.pace import matrix_speed, training_speed
from smidgen.lm.plan import Plan, make_plan
from smidgen.lm.prepare import Survey
from smidgen.lm.train import Setup
from smidgen.nets.presets import sized
from smidgen.train.precision import resolve


def set_up(
    surveys: dict[str, Survey],
    *,
    weights: list[float] | None,
    precision: str,
    size: int | None,
    seconds: float | None,
    context: int,
    seed: int,
    asked: dict[str, Any],
) -> Setup:
    """The whole set-up. With a size the plan depends on that and the text alone; with a time also on the speed here.

    Raises:
        BadInput: neither size nor time, numbers that cannot be, or more memory than is free.
    """
    kind, held = resolve(precision), resident_bytes()
    text = sum(s.bytes for s in surveys.values())

    def planned(parameters: int | None, speed: float) -> Plan:
        return make_plan(corpus_bytes=text, size=parameters, seconds=seconds, flops_a_second=speed, context=context)

    speed = training_speed(sized(1_000_000, 1024, context), 16, context, kind) if seconds and size is None else 1.0
    plan = planned(size, speed)
    speed = training_speed(plan.config, plan.rows, context, kind, plan.optimizer)
    if seconds is not None:  # as many tokens as this very shape gets through
        plan = planned(size or plan.parameters, speed)
    said = forecast(plan, list(surveys.values()), kind, speed, matrix_speed(kind), held)
    texts = {name: s.digest for name, s in surveys.items()}
    return Setup(plan=plan, forecast=said, texts=texts, weights=weights, precision=kind, seed=seed, asked=asked)
