"""The training of a language model as a command: what is checked, said and written down around `lm.train_model`.

`smidgen lm train` is it in one process; `train.launch` takes the same parts to many.
"""

import shlex
import time as clock
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smidgen.cli.output import say, say_json, tell
from smidgen.web import words

if TYPE_CHECKING:
    from smidgen.lm.prepare import Prepared
    from smidgen.lm.setup import Setup
    from smidgen.train.sharding import Sharding

SAY_EVERY = 10.0  # seconds
OPTIMIZERS = {"muon": "Muon", "adamw": "AdamW"}


def trained(
    setup: "Setup",
    prepared: "Prepared",
    folder: Path,
    begun: float,
    logs: list[str],
    sharding: "Sharding | None" = None,
) -> dict[str, Any]:
    """Trains with progress, spoken by rank 0; Ctrl-C ends it after the update that runs."""
    from smidgen.lm.stopping import stopping
    from smidgen.lm.train import train_model
    from smidgen.lm.work import WORK, seconds_before

    leads = sharding is None or sharding.ranks.rank == 0
    said, begun_at_first = 0.0, begun - seconds_before(folder / WORK)
    speak: Callable[[str], None] = tell if leads else lambda text: None

    def on_update(update: Any) -> None:
        nonlocal said
        now = clock.monotonic()
        if update.action:
            speak(f"update {update.step}: the loss jumped to {update.loss:.3f}; {update.action.replace('_', ' ')}")
        elif now - said >= SAY_EVERY:
            said = now
            speak(_progress(setup, update, now - begun_at_first))

    with stopping(speak, twice=sharding is None) as stopped:
        return train_model(
            setup,
            prepared,
            folder,
            begun=begun,
            say=speak,
            on_update=on_update,
            stopped=stopped,
            logs=logs,
            sharding=sharding,
        )


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
        say_stopped(folder, False, go_on)
        return
    speed, updates = words.whole(result["tokens_per_second"]), words.plural(result["steps"], "update")
    if result["loss"] is None:
        say(f"{updates} ({speed} tokens/s). The text is too short to hold any out: how good it is nobody knows.")
    else:
        bits = f"{result['bits_per_byte']:.3f} bits a byte ({result['loss']:.3f} nats a token)"
        much = words.plural(result["judged_tokens"], "token")
        say(f"{bits} on text held out ({much}), after {updates} ({speed} tokens/s)")
        if len(result["parts"]) > 1:
            say(", ".join(f"{name} {found:.3f}" for name, found in result["parts"].items()))
    say(f"model   {folder}")
    say(f"try it  smidgen lm generate {folder} 'Once'")


def say_stopped(folder: Path, as_json: bool, go_on: str) -> None:
    """`go_on`: the command that goes on with it."""
    if as_json:
        say_json({"finished": False, "model": str(folder)})
    tell(f"Stopped. Go on {go_on} --out {shlex.quote(str(folder))} --resume")


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
