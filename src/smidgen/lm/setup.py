"""What a training is begun with: from what a person asks for to shape, tokens and forecast at the speed measured here;
kept beside the training, so that it goes on with the same."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_json
from smidgen.kit.machine import resident_bytes
from smidgen.lm.forecast import Forecast, forecast
from smidgen.lm.mixture import Phase, cooled, shares_of
from smidgen.lm.pace import matrix_speed, training_speed
from smidgen.lm.plan import MOST_PASSES, Plan, make_plan
from smidgen.lm.prepare import Prepared, Survey
from smidgen.lm.wish import CONTEXT, Wish
from smidgen.lm.work import SETUP
from smidgen.nets.decoder import DecoderConfig
from smidgen.nets.presets import sized
from smidgen.train.order import windows_of
from smidgen.train.precision import Precision, resolve


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a training was begun with, and goes on with.

    Attributes:
        texts: hash of each corpus, by name, in their order. asked: `Wish.given`, to tell when it changes.
        forecast: what was said before it began. fitted: the plan is for the tokens as they turned out.
        keep_stable: what is needed to train further is kept after the end.
    """

    plan: Plan
    forecast: Forecast
    texts: dict[str, str]
    precision: Precision
    seed: int
    asked: dict[str, Any]
    fitted: bool = False
    keep_stable: bool = False

    @property
    def wish(self) -> Wish:
        temperature = self.asked.get("mix_temperature")
        return Wish(**{**self.asked, "mix_temperature": None if temperature is None else tuple(temperature)})

    def phases(self, lengths: dict[str, int]) -> tuple[Phase, ...]:
        """Shares of the corpora by the row of the training: as asked, or by their lengths (tokens)."""
        wish, plan = self.wish, self.plan
        cooldown = wish.cooldown()
        if cooldown is not None:
            return cooled(lengths, cooldown, plan.first, plan.rows * plan.accumulate)
        weights = lengths if wish.mix is None else wish.mix
        return (Phase(0, tuple(float(weights[name]) for name in lengths)),)

    def shares(self, lengths: dict[str, int]) -> dict[str, float]:
        """Of each corpus in the whole training, summing to 1."""
        rows = self.plan.steps * self.plan.rows * self.plan.accumulate
        return dict(zip(lengths, shares_of(self.phases(lengths), rows), strict=True))


def write_setup(setup: Setup, work: Path) -> None:
    write_json(work / SETUP, asdict(setup))


def read_setup(work: Path) -> Setup:
    """Raises BadInput: it is damaged, or of another version."""
    values = read_json(work / SETUP)
    try:
        plan = Plan(**{**values["plan"], "config": DecoderConfig(**values["plan"]["config"])})
        said = Forecast(**{**values["forecast"], "bits_per_byte": tuple(values["forecast"]["bits_per_byte"])})
        return Setup(**{**values, "plan": plan, "forecast": said})
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{work / SETUP} is damaged or of another version ({error}): start anew elsewhere.") from None


def fitting(setup: Setup, prepared: Prepared) -> Setup:
    """The set-up for the text as it turned out: the words that the tokenizer found, passes by exact count; no more
    passes than help where nothing is held out that could tell when to end.

    Raises:
        BadInput: a part is shorter than one window.
    """
    plan = setup.plan
    for name, part in prepared.parts.items():
        try:
            windows_of(len(part), plan.context)
        except BadInput as error:
            raise BadInput(f"{name}: {error}") from None
    length = sum(len(p) for p in prepared.parts.values())
    tokens = plan.tokens if prepared.held else min(plan.tokens, round(MOST_PASSES * length))
    config = replace(plan.config, vocab=prepared.tokenizer.words)
    plan = replace(plan, config=config, words=config.vocab, tokens=tokens, passes=tokens / length)
    return replace(setup, plan=plan, fitted=True)


def set_up(surveys: dict[str, Survey], wish: Wish, keep_stable: bool = False, processes: int = 1) -> Setup:
    """The whole set-up. With a size the plan depends on that and the text alone; with a time also on the speed here,
    of so many processes like this one.

    Raises:
        BadInput: what cannot be, or more memory than is free.
    """
    wish.check(list(surveys))
    kind, held, context = resolve(wish.precision or "auto"), resident_bytes(), wish.context or CONTEXT
    text, seconds = sum(s.bytes for s in surveys.values()), wish.seconds

    def planned(parameters: int | None, speed: float) -> Plan:
        return make_plan(
            corpus_bytes=text, size=parameters, seconds=seconds, flops_a_second=speed * processes, context=context,
            batch=wish.batch, lr=wish.rate,
        )  # fmt: skip

    speed = 1.0
    if seconds is not None and wish.size is None:
        speed = training_speed(sized(1_000_000, 1024, context), 16, context, kind)
    plan = planned(wish.size, speed)
    speed = training_speed(plan.config, plan.rows, context, kind, plan.optimizer)
    if seconds is not None:  # as many tokens as this very shape gets through
        plan = planned(wish.size or plan.parameters, speed)
    said = forecast(plan, list(surveys.values()), kind, speed, matrix_speed(kind), held, processes)
    texts = {name: s.digest for name, s in surveys.items()}
    return Setup(
        plan=plan, forecast=said, texts=texts, precision=kind, seed=wish.seed or 0, asked=wish.given(),
        keep_stable=keep_stable,
    )  # fmt: skip


def forecast_of(plan: Plan, surveys: dict[str, Survey], kind: Precision) -> Forecast:
    """Of a plan at the speed measured here and now."""
    held = resident_bytes()
    speed = training_speed(plan.config, plan.rows, plan.context, kind, plan.optimizer)
    return forecast(plan, list(surveys.values()), kind, speed, matrix_speed(kind), held)
