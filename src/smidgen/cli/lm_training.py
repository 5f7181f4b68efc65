"""The training of a language model as a command: what is checked, said and written down around `lm.train_model`.

`smidgen lm train` is it in one process; `train.launch` takes the same parts to many.
"""

import math
import shutil
import signal
import time as clock
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.budget.budget import parse_duration
from smidgen.cli.output import say, say_json, tell
from smidgen.kit.errors import BadInput, bad
from smidgen.web import words

if TYPE_CHECKING:
    from smidgen.lm.corpus import Corpus
    from smidgen.lm.prepare import Prepared, Survey
    from smidgen.lm.setup import Setup
    from smidgen.train.sharding import Sharding

_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
SAY_EVERY = 10.0  # seconds
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}
CONTEXT = 256  # tokens, where none is asked for


def parse_size(text: str) -> int:
    """Parameters from 10M, 1.5b, 300k or 250000. Raises BadInput."""
    plain = text.strip().lower()
    factor = _UNITS.get(plain[-1:], 1)
    try:
        value = float(plain[:-1] if factor > 1 else plain) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < 1e13:
        raise bad("--size", "a number of parameters such as 10M or 300k", text)
    return round(value)


def parse_mix(pairs: list[str], names: list[str]) -> list[float] | None:
    """Weights in the order of the names. Raises BadInput: unknown, missing, or not a number above 0."""
    if not pairs:
        return None
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < math.inf:
            raise bad("--mix", "NAME=WEIGHT with a weight above 0", pair)
    if set(found) != set(names):
        raise bad("--mix", f"a weight for each of {', '.join(names)}", ", ".join(found))
    return [found[n] for n in names]


def corpora_of(sources: list[str]) -> "dict[str, Corpus]":
    """Corpora by name. Raises BadInput: unreadable, or two of one name."""
    from smidgen.lm.corpus import open_corpus

    corpora = {_name(s): open_corpus([s]) for s in sources}
    if len(corpora) < len(sources):
        raise BadInput("Two corpora have the same name: rename one, --mix and the folder of tokens need to tell them.")
    return corpora


def folder_of(sources: list[str], out: str | None) -> Path:
    """Where the model goes."""
    return Path(out or f"{_name(sources[0])}-lm").resolve()


def said_by_person(asked: dict[str, Any]) -> dict[str, Any]:
    """Without what was left out."""
    return {k: v for k, v in asked.items() if v not in (None, [])}


def fresh(folder: Path) -> None:
    """A new training wants a new folder; what one left that never began is no hindrance."""
    from smidgen.lm.setup import SETUP

    work = folder / ".train"
    if not folder.exists():
        return
    if any(path != work for path in folder.iterdir()) or (work / SETUP).exists():
        raise BadInput(f"{folder} is not empty: name another --out, or go on with --resume.")
    shutil.rmtree(work, ignore_errors=True)


def begun_with(folder: Path, surveys: "dict[str, Survey]", asked: dict[str, Any], resume: bool) -> "Setup":
    """The set-up: a new one, or that of the training to go on with, which must be of the same texts and flags."""
    from smidgen.lm.setup import read_setup, set_up

    if resume:
        setup = read_setup(folder / ".train")
        _same(setup, surveys, asked)
        return setup
    return set_up(
        surveys,
        weights=parse_mix(asked.get("mix", []), list(surveys)),
        precision=asked.get("precision", "auto"),
        size=parse_size(asked["size"]) if "size" in asked else None,
        seconds=parse_duration(asked["time"]) if "time" in asked else None,
        context=asked.get("context", CONTEXT),
        seed=asked.get("seed", 0),
        asked=asked,
    )


def _same(setup: "Setup", surveys: "dict[str, Survey]", asked: dict[str, Any]) -> None:
    """What is said on resuming must be what was said at first."""
    for name, value in asked.items():
        if setup.asked.get(name) != value:
            was = setup.asked.get(name, "nothing")
            raise bad(f"--{name}", f"as when this training began ({was})", str(value), "Leave it out, or start anew.")
    if {name: s.digest for name, s in surveys.items()} != setup.texts or list(surveys) != list(setup.texts):
        raise BadInput("The corpora are not those that this training began with: start anew in another folder.")


def tokens_of(
    setup: "Setup",
    corpora: "dict[str, Corpus]",
    surveys: "dict[str, Survey]",
    folder: Path,
    resume: bool,
    skip_corrupt: bool,
) -> "tuple[Setup, Prepared]":
    """Tokens on the disk, and the set-up that fits them, which is kept from now on."""
    from smidgen.lm.prepare import prepare
    from smidgen.lm.setup import fitting, write_setup

    work = folder / ".train"
    prepared = prepare(corpora, surveys, setup.plan.words, work, "skip" if skip_corrupt else "refuse")
    for why in prepared.skipped:
        tell(f"Left out: {why}")
    tell(f"{sum(len(p) for p in prepared.parts):,} tokens of {prepared.tokenizer.words:,} words")
    if not resume:
        setup = replace(setup, plan=fitting(setup.plan, prepared))
        write_setup(setup, work)
    return setup, prepared


def trained(
    setup: "Setup",
    prepared: "Prepared",
    folder: Path,
    begun: float,
    logs: list[str],
    sharding: "Sharding | None" = None,
) -> dict[str, Any]:
    """Trains with progress, spoken by rank 0; Ctrl-C ends it after the update that runs."""
    from smidgen.lm.train import seconds_before, train_model

    leads = sharding is None or sharding.ranks.rank == 0
    asked_to_stop, said = False, 0.0
    begun_at_first = begun - seconds_before(folder / ".train")
    speak: Callable[[str], None] = tell if leads else lambda text: None

    def on_signal(*_: object) -> None:
        nonlocal asked_to_stop
        if asked_to_stop and sharding is None:
            raise KeyboardInterrupt
        asked_to_stop = True
        speak("Stopping after this update" + ("; once more stops at once." if sharding is None else "."))

    def on_update(update: Any) -> None:
        nonlocal said
        now = clock.monotonic()
        if update.action:
            speak(f"update {update.step}: the loss jumped to {update.loss:.3f}; {update.action.replace('_', ' ')}")
        elif now - said >= SAY_EVERY:
            said = now
            speak(_progress(setup, update, now - begun_at_first))

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        return train_model(
            setup,
            prepared,
            folder,
            begun=begun,
            say=speak,
            on_update=on_update,
            stopped=lambda: asked_to_stop,
            logs=logs,
            sharding=sharding,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _progress(setup: "Setup", update: Any, spent: float) -> str:
    """One line. With a time the clock ends the training, else the number of updates."""
    from smidgen.nets.decoder import flops_per_token

    plan, speed = setup.plan, update.targets / update.seconds
    share = speed * flops_per_token(plan.config, plan.context) / setup.forecast.matrix_speed
    of, left = "", (plan.seconds or 0.0) - spent
    if plan.seconds is None:
        of, left = f" of {plan.steps:,}", (plan.steps - update.step) * update.seconds
    return (
        f"update {update.step:,}{of}: {update.loss:.3f} nats a token, {words.whole(speed)} tokens/s "
        f"({share:.0%} of matrix speed), about {words.duration(max(0.0, left))} left"
    )


def say_result(result: dict[str, Any], setup: "Setup", folder: Path, as_json: bool, go_on: str) -> None:
    """What came of it. `go_on`: the command that goes on with it."""
    if as_json:
        said = {"plan": setup.plan.to_json(), "forecast": asdict(setup.forecast)}
        say_json({**result, "model": str(folder), **said})
        return
    if not result["finished"]:
        tell(f"Stopped. Go on {go_on} --out {folder} --resume")
        return
    speed, updates = words.whole(result["tokens_per_second"]), words.plural(result["steps"], "update")
    if result["loss"] is None:
        say(f"{updates} ({speed} tokens/s). The text is too short to hold any out: how good it is nobody knows.")
    else:
        bits = f"{result['bits_per_byte']:.3f} bits a byte ({result['loss']:.3f} nats a token)"
        say(f"{bits} on text held out, after {updates} ({speed} tokens/s)")
    say(f"model   {folder}")
    say(f"try it  smidgen lm generate {folder} 'Once'")


def say_plan(setup: "Setup") -> None:
    """The plan and its forecast as JSON."""
    say_json({**setup.plan.to_json(), "forecast": asdict(setup.forecast)})


def plan_lines(setup: "Setup") -> list[str]:
    """What is going to be done, and the forecast of it."""
    plan, said, c = setup.plan, setup.forecast, setup.plan.config
    rate = "" if plan.lr is None else f" {plan.lr:g}"
    split = f", in {plan.accumulate} parts" if plan.accumulate > 1 else ""
    low, _, high = said.bits_per_byte
    return [
        f"model     {plan.parameters:,} parameters: {c.layers} layers of width {c.hidden}, {plan.words:,} words",
        f"training  {plan.tokens:,} tokens ({plan.passes:.1f} passes over the text), {plan.steps:,} updates of "
        f"{plan.rows * plan.accumulate} x {plan.context} tokens{split}, {setup.precision}",
        f"rate     {rate} of {OPTIMIZERS[plan.optimizer]} from {plan.lr_from}; batch from {plan.batch_from}",
        f"forecast  {words.duration(said.seconds)}, {words.size(said.memory_bytes)} of memory, "
        f"{low:.2f} to {high:.2f} bits a byte on text held out",
    ]


def _name(source: str) -> str:
    return Path(source).name.split(".")[0] or "corpus"
