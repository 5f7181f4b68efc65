"""`smidgen lm ...`: the language model verbs, thin over `smidgen.lm`."""

import signal
import sys
import time as clock
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smidgen.budget.budget import parse_duration
from smidgen.cli.output import say, say_json, tell
from smidgen.kit.errors import BadInput, bad
from smidgen.kit.extras import need
from smidgen.kit.files import write_json
from smidgen.web import words

_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
SAY_EVERY = 10.0  # seconds


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


def parse_mix(pairs: list[str], names: list[str]) -> tuple[float, ...] | None:
    """Weights in the order of the names. Raises BadInput: unknown, missing or not above 0."""
    if not pairs:
        return None
    found: dict[str, float] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            sign = ""
        if not sign or not found[name] > 0:
            raise bad("--mix", "NAME=WEIGHT with a weight above 0", pair)
    if set(found) != set(names):
        raise bad("--mix", f"a weight for each of {', '.join(names)}", ", ".join(found))
    return tuple(found[n] for n in names)


def train(
    sources: list[str],
    *,
    size: str | None,
    time: str | None,
    out: str | None,
    precision: str,
    mix: list[str],
    context: int,
    seed: int,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    begun = clock.monotonic()
    need("torch", extra="text", why="Training a language model")
    from smidgen.lm import train as trainer
    from smidgen.lm.corpus import open_corpus
    from smidgen.lm.plan import make_plan
    from smidgen.train import precision as formats

    seconds = None if time is None else parse_duration(time)
    corpora = {_name(s): open_corpus([s]) for s in sources}
    if len(corpora) < len(sources):
        raise BadInput("Two corpora have the same name: rename one, --mix and the folder of tokens need to tell them.")
    weights = parse_mix(mix, list(corpora))
    folder = Path(out or f"{next(iter(corpora))}-lm")
    work = folder / ".train"
    if not resume and not dry_run and folder.exists() and any(folder.iterdir()):
        raise BadInput(f"{folder} is not empty: name another --out, or go on with --resume.")
    if resume and (work / "plan.json").is_file():
        plan, chosen = trainer.read_plan(work / "plan.json"), formats.resolve(precision)
    elif resume:
        raise BadInput(f"There is nothing to go on with in {folder}: it has no {work.name}/plan.json.")
    else:
        chosen = formats.resolve(precision)
        text_bytes = sum(len(d.text.encode()) for c in corpora.values() for d in c)
        plan = make_plan(
            corpus_bytes=text_bytes,
            size=None if size is None else parse_size(size),
            seconds=None if seconds is None else 0.9 * seconds,  # the rest: tokenizing and the search
            flops_a_second=trainer.measured_speed(chosen),
            context=context,
        )
        if seconds is not None:
            plan = trainer.with_seconds(plan, seconds)
    for line in _plan_lines(plan, chosen):
        tell(line)
    if dry_run:
        say_json(plan.to_json()) if as_json else None
        return 0
    work.mkdir(parents=True, exist_ok=True)
    write_json(work / "plan.json", asdict(plan))
    prepared = trainer.prepare(corpora, plan.words, work)
    tell(f"{sum(len(p) for p in prepared.parts):,} tokens of {prepared.tokenizer.words:,} words")
    plan = trainer.fitting(plan, prepared)
    result = _run(trainer, plan, prepared, folder, weights, chosen, seed, begun)
    if as_json:
        say_json({**result, "model": str(folder), "plan": plan.to_json()})
    elif result["finished"]:
        speed = words.whole(result["tokens_per_second"])
        say(f"{result['loss']:.3f} nats a token on text held out, after {result['steps']:,} updates ({speed} tokens/s)")
        say(f"model   {folder}")
        say(f"try it  smidgen lm generate {folder} 'Once'")
    else:
        tell(f"Stopped. Go on with: smidgen lm train {' '.join(sources)} --out {folder} --resume")
    return 0 if result["finished"] else 130


def _run(trainer: Any, plan: Any, prepared: Any, folder: Path, weights: Any, chosen: Any, seed: int, begun: float):
    stop = {"asked": False, "said": 0.0}

    def on_signal(*_: object) -> None:
        if stop["asked"]:
            raise KeyboardInterrupt
        stop["asked"] = True
        tell("Stopping after this update; once more stops at once.")

    def on_update(update: Any) -> None:
        now = clock.monotonic()
        if update.action:
            tell(f"update {update.step}: the loss jumped to {update.loss:.3f}; {update.action.replace('_', ' ')}")
        elif now - stop["said"] >= SAY_EVERY:
            stop["said"] = now
            left = "" if plan.seconds is None else f", {words.duration(max(0, plan.seconds - now + begun))} left"
            speed = words.whole(update.targets / update.seconds)
            tell(f"update {update.step:,}: {update.loss:.3f} nats a token, {speed} tokens/s{left}")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        return trainer.train_model(
            plan,
            prepared,
            folder,
            weights=weights,
            precision=chosen,
            seed=seed,
            begun=begun,
            say=tell,
            on_update=on_update,
            stopped=lambda: bool(stop["asked"]),
        )
    finally:
        signal.signal(signal.SIGINT, before)


def _name(source: str) -> str:
    return Path(source).name.split(".")[0] or "corpus"


def _plan_lines(plan: Any, chosen: str) -> list[str]:
    c = plan.config
    rate = "" if plan.lr is None else f" {plan.lr:g}"
    return [
        f"model     {plan.parameters:,} parameters: {c.layers} layers of width {c.hidden}, {plan.words:,} words",
        f"training  {plan.tokens:,} tokens ({plan.passes:.1f} passes over the text), {plan.steps:,} updates of "
        f"{plan.batch} x {plan.context} tokens, {chosen}",
        f"rate     {rate} from {plan.lr_from}; batch from {plan.batch_from}",
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


def generate(model: str, prompt: str, *, temperature: float, max_tokens: int, top_p: float, seed: int | None) -> None:
    need("torch", extra="text", why="A language model")
    from smidgen.lm.generate import Sampling, stream
    from smidgen.lm.model import load

    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, top_p=top_p, seed=seed)
    sys.stdout.write(prompt)
    for piece in stream(load(model), prompt, sampling):
        sys.stdout.write(piece)
        sys.stdout.flush()
    say()
