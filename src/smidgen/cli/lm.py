"""`smidgen lm ...`: the language model verbs, thin over `smidgen.lm`."""

import math
import shutil
import signal
import sys
import time as clock
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.budget.budget import parse_duration
from smidgen.cli.output import say, say_json, tell
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.train import journal
from smidgen.web import words

if TYPE_CHECKING:
    from smidgen.lm.prepare import Prepared, Survey
    from smidgen.lm.train import Setup

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


def train(
    sources: list[str],
    *,
    out: str | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
    logs: list[str],
    skip_corrupt: bool,
    **asked: Any,
) -> int:
    """`asked`: size, time, precision, mix, context, seed; None (or an empty list) where nothing was said."""
    begun = clock.monotonic()
    need("torch", extra="text", why="Training a language model")
    journal.check(logs)
    from smidgen.lm import train as trainer
    from smidgen.lm.corpus import open_corpus
    from smidgen.lm.prepare import prepare, survey

    asked = {k: v for k, v in asked.items() if v not in (None, [])}
    corpora = {_name(s): open_corpus([s]) for s in sources}
    if len(corpora) < len(sources):
        raise BadInput("Two corpora have the same name: rename one, --mix and the folder of tokens need to tell them.")
    folder = Path(out or f"{next(iter(corpora))}-lm").resolve()
    work = folder / ".train"
    setup = trainer.read_setup(work) if resume else None
    if not resume and not dry_run:
        _fresh(folder, work, trainer.SETUP)
    surveys = {name: survey(corpus) for name, corpus in corpora.items()}
    if setup is None:
        setup = _set_up(surveys, asked)
    else:
        _same(setup, surveys, asked)
    for line in _plan_lines(setup):
        tell(line)
    if dry_run:
        say_json({**setup.plan.to_json(), "forecast": asdict(setup.forecast)}) if as_json else None
        return 0
    prepared = prepare(corpora, surveys, setup.plan.words, work, "skip" if skip_corrupt else "refuse")
    for why in prepared.skipped:
        tell(f"Left out: {why}")
    tell(f"{sum(len(p) for p in prepared.parts):,} tokens of {prepared.tokenizer.words:,} words")
    if not resume:
        setup = _fitted(setup, prepared)
        trainer.write_setup(setup, work)
    result = _run(setup, prepared, folder, begun, logs)
    if as_json:
        said = {"plan": setup.plan.to_json(), "forecast": asdict(setup.forecast)}
        say_json({**result, "model": str(folder), **said})
    elif result["finished"]:
        _say_result(result, folder)
    else:
        tell(f"Stopped. Go on with: smidgen lm train {' '.join(sources)} --out {folder} --resume")
    return 0 if result["finished"] else 130


def _fresh(folder: Path, work: Path, setup: str) -> None:
    """A new training wants a new folder; what one left that never began is no hindrance."""
    if not folder.exists():
        return
    if any(path != work for path in folder.iterdir()) or (work / setup).exists():
        raise BadInput(f"{folder} is not empty: name another --out, or go on with --resume.")
    shutil.rmtree(work, ignore_errors=True)


def _set_up(surveys: "dict[str, Survey]", asked: dict[str, Any]) -> "Setup":
    from smidgen.lm.setup import set_up

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


def _fitted(setup: "Setup", prepared: "Prepared") -> "Setup":
    from dataclasses import replace

    from smidgen.lm.train import fitting

    return replace(setup, plan=fitting(setup.plan, prepared))


def _same(setup: "Setup", surveys: "dict[str, Survey]", asked: dict[str, Any]) -> None:
    """What is said on resuming must be what was said at first."""
    for name, value in asked.items():
        if setup.asked.get(name) != value:
            was = setup.asked.get(name, "nothing")
            raise bad(f"--{name}", f"as when this training began ({was})", str(value), "Leave it out, or start anew.")
    if {name: s.digest for name, s in surveys.items()} != setup.texts or list(surveys) != list(setup.texts):
        raise BadInput("The corpora are not those that this training began with: start anew in another folder.")


def _run(setup: "Setup", prepared: "Prepared", folder: Path, begun: float, logs: list[str]) -> dict[str, Any]:
    from smidgen.lm.train import train_model
    from smidgen.nets.decoder import flops_per_token

    plan, asked_to_stop, said = setup.plan, False, 0.0

    def on_signal(*_: object) -> None:
        nonlocal asked_to_stop
        if asked_to_stop:
            raise KeyboardInterrupt
        asked_to_stop = True
        tell("Stopping after this update; once more stops at once.")

    def on_update(update: Any) -> None:
        nonlocal said
        now = clock.monotonic()
        if update.action:
            tell(f"update {update.step}: the loss jumped to {update.loss:.3f}; {update.action.replace('_', ' ')}")
        elif now - said >= SAY_EVERY:
            said = now
            speed = update.targets / update.seconds
            share = speed * flops_per_token(plan.config, plan.context) / setup.forecast.matrix_speed
            left = words.duration(max(0.0, setup.forecast.seconds - (now - begun)))
            tell(
                f"update {update.step:,} of {plan.steps:,}: {update.loss:.3f} nats a token, {words.whole(speed)} "
                f"tokens/s ({share:.0%} of matrix speed), about {left} left"
            )

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        return train_model(
            setup,
            prepared,
            folder,
            begun=begun,
            say=tell,
            on_update=on_update,
            stopped=lambda: asked_to_stop,
            logs=logs,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _name(source: str) -> str:
    return Path(source).name.split(".")[0] or "corpus"


def _say_result(result: dict[str, Any], folder: Path) -> None:
    speed, updates = words.whole(result["tokens_per_second"]), words.plural(result["steps"], "update")
    if result["loss"] is None:
        say(f"{updates} ({speed} tokens/s). The text is too short to hold any out: how good it is nobody knows.")
    else:
        bits = f"{result['bits_per_byte']:.3f} bits a byte ({result['loss']:.3f} nats a token)"
        say(f"{bits} on text held out, after {updates} ({speed} tokens/s)")
    say(f"model   {folder}")
    say(f"try it  smidgen lm generate {folder} 'Once'")


def _plan_lines(setup: "Setup") -> list[str]:
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


def evaluate(model: str, file: str, as_json: bool) -> None:
    need("torch", extra="text", why="A language model")
    from smidgen.lm.corpus import open_corpus
    from smidgen.lm.evaluate import evaluate as measure
    from smidgen.lm.model import load

    found = measure(load(model), [d.text for d in open_corpus([file])])
    if as_json:
        say_json(found)
        return
    say(f"bits a byte       {found['bits_per_byte']:.4f}")
    say(f"perplexity        {found['perplexity']:.2f} (a token; {found['tokens']:,} tokens, {found['bytes']:,} bytes)")
    say(f"tokens a second   {words.whole(found['tokens_per_second'])}")
    say(f"memory            {words.size(found['memory_bytes'])}")


def generate(model: str, prompt: str, **asked: Any) -> None:
    """`asked`: settings of `lm.generate.Sampling`."""
    need("torch", extra="text", why="A language model")
    from smidgen.lm.generate import Sampling, stream
    from smidgen.lm.model import load

    sampling = Sampling(**asked)
    sys.stdout.write(prompt)
    for piece in stream(load(model), prompt, sampling):
        sys.stdout.write(piece)
        sys.stdout.flush()
    say()


def export(model: str, file: str, precision: str) -> None:
    need("torch", extra="text", why="A language model")
    from smidgen.lm import gguf
    from smidgen.lm.model import load

    gguf.export(load(model), file, precision)
    say(f"{file}   {words.size(Path(file).stat().st_size)}")
