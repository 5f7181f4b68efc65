"""What a training is begun with: from what a person asks for to shape, tokens and forecast at the speed measured here;
kept beside the training, so that it goes on with the same."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_json
from smidgen.kit.machine import resident_bytes
from smidgen.lm.forecast import Forecast, forecast
from smidgen.lm.pace import matrix_speed, training_speed
from smidgen.lm.plan import MOST_PASSES, Plan, make_plan
from smidgen.lm.prepare import Prepared, Survey
from smidgen.nets.decoder import DecoderConfig
from smidgen.nets.presets import sized
from smidgen.train.order import windows_of
from smidgen.train.precision import Precision, resolve

SETUP = "setup.json"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a training was begun with, and goes on with.

    Attributes:
        texts: hash of each corpus, by name, in their order. weights: shares of the corpora; None: by their length.
        asked: the person's own words, to tell when they change. forecast: what was said before it began.
    """

    plan: Plan
    forecast: Forecast
    texts: dict[str, str]
    weights: list[float] | None
    precision: Precision
    seed: int
    asked: dict[str, Any]


def write_setup(setup: Setup, work: Path) -> None:
    write_json(work / SETUP, asdict(setup))


def read_setup(work: Path) -> Setup:
    """Raises BadInput: there is none, or it is damaged."""
    if not (work / SETUP).is_file():
        raise BadInput(f"There is nothing to go on with in {work.parent}: no training was begun there.")
    values = read_json(work / SETUP)
    try:
        plan = Plan(**{**values["plan"], "config": DecoderConfig(**values["plan"]["config"])})
        said = Forecast(**{**values["forecast"], "bits_per_byte": tuple(values["forecast"]["bits_per_byte"])})
        return Setup(**{**values, "plan": plan, "forecast": said})
    except (KeyError, TypeError) as error:
        raise BadInput(f"{work / SETUP} is damaged or of another version ({error}): start anew elsewhere.") from None


def fitting(plan: Plan, prepared: Prepared) -> Plan:
    """The plan for the text as it turned out: the words that the tokenizer found, passes by exact count; no more passes
    than help where nothing is held out that could tell when to end.

    Raises:
        BadInput: a part is shorter than one window.
    """
    for part in prepared.parts:
        try:
            windows_of(len(part), plan.context)
        except BadInput as error:
            raise BadInput(f"{part.folder.name}: {error}") from None
    length = sum(len(p) for p in prepared.parts)
    tokens = plan.tokens if prepared.held is not None else min(plan.tokens, round(MOST_PASSES * length))
    config = replace(plan.config, vocab=prepared.tokenizer.words)
    return replace(plan, config=config, words=config.vocab, tokens=tokens, passes=tokens / length)


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
