"""A language model from a person's own text: plan, search the rate, train, save. Each step can be stopped and gone on.

Everything that training needs lies in `OUT/.train` until the model is saved: tokens, set-up, log, checkpoints. What is
left then is an ordinary transformers folder with its log.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_bytes, write_json
from smidgen.kit.machine import resident_bytes
from smidgen.lm.course import Course
from smidgen.lm.forecast import pool_bytes
from smidgen.lm.mixture import Mixture
from smidgen.lm.model import LanguageModel, save
from smidgen.lm.plan import Plan
from smidgen.lm.prepare import Prepared
from smidgen.lm.search import find_rate, held_loss, loss_of, optimizer_of
from smidgen.lm.setup import Setup
from smidgen.nets.decoder import Decoder
from smidgen.train.checkpoint import Keep, LazyCheckpointer
from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal, Logs, open_log
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.order import Batch, Order
from smidgen.train.precision import cast
from smidgen.train.schedules import WSD
from smidgen.train.sharding import Sharding
from smidgen.train.sharding.reading import load_newest
from smidgen.train.sharding.saved import as_zero, model_state

CHECKPOINT_SECONDS = 60.0
LOG, SPENT = "log.jsonl", "spent.json"


def batches_of(prepared: Prepared, weights: list[float] | None, plan: Plan, seed: int) -> Order | Mixture:
    """The source of micro-batches: one stream, or a mixture in these shares."""
    if len(prepared.parts) == 1:
        return Order(prepared.parts[0], plan.context, plan.rows, seed)
    orders = tuple(Order(p, plan.context, 1, seed) for p in prepared.parts)
    return Mixture(orders, tuple(weights or (float(len(p)) for p in prepared.parts)), plan.rows, seed)


def numbered(order: Order | Mixture, rows: slice = slice(None)) -> Callable[[int], tuple[Batch]]:
    """Micro-batches by number, one after another; `rows`: a rank's part of each."""
    return lambda number: (order.at(number * order.batch).part(rows),)


def train_model(
    setup: Setup,
    prepared: Prepared,
    out: Path,
    *,
    begun: float | None = None,
    say: Callable[[str], None] = print,
    on_update: Callable[[Update], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    logs: Sequence[str] = (),
    sharding: Sharding | None = None,
) -> dict[str, Any]:
    """Trains to the end of the plan, or goes on from the newest checkpoint in `out/.train`, and saves the model.

    Args:
        begun: `time.monotonic()` when this sitting began. stopped: asked before each update (Ctrl-C).
        logs: kept beside the JSON lines, of `journal.KINDS`.
        sharding: this process is one of many that train the same model, all with these arguments; rank 0 keeps the
            log and writes the model, what depends on a clock is decided there, and only it should `say` anything.
    Returns:
        loss on held-out text in nats a token, and in bits a byte (None: nothing is held out), steps, tokens, seconds,
        lr, tokens_per_second, memory_bytes (the most that this program held), and `finished`.
    """
    plan, work, begun = setup.plan, out / ".train", time.monotonic() if begun is None else begun
    trouble = _once(say)
    spent = _Spent(work, begun, trouble)
    until = math.inf if plan.seconds is None else begun + plan.seconds - spent.before
    order = batches_of(prepared, setup.weights, plan, setup.seed)
    batches = numbered(order, sharding.rows(plan.rows) if sharding else slice(None))
    ranks = sharding.ranks if sharding else None
    leads = ranks is None or ranks.rank == 0

    def agreed(value: Any) -> Any:
        return ranks.first(value) if ranks else value

    def in_time() -> bool:
        return time.monotonic() < until and not stopped()

    def search() -> float | None:
        found = find_rate(plan, numbered(order), prepared.held, setup.precision, setup.seed, work, say, in_time)
        spent.keep()
        return found

    lr = plan.lr
    if lr is None:
        lr = ranks.on_first(search) if ranks else search()
    if lr is None:
        if not agreed(stopped()):
            raise _no_time(plan)
        return {"finished": False, "steps": 0}
    torch.manual_seed(setup.seed)
    model = cast(Decoder(plan.config, setup.seed), setup.precision)
    optimizer = optimizer_of(model, lr, plan.optimizer)
    optimizer = sharding.optimizer(model, optimizer) if sharding else optimizer
    run = Run(model, optimizer, SpikeGuard(factor=2.0, least=0.2))
    course = _course(plan, until)
    found = load_newest(work / "checkpoints", ranks)
    if found is not None:
        for why in found.skipped:
            say(why)
        run.load_state_dict(found.state)
        if not prepared.skipped:  # without some shards the order is another, and goes on from the same number
            order.resume(run.extra["order"])
        course.load(run.extra["course"])
        say(f"going on from update {run.step}")
    more = [open_log(kind, out, work, after=run.step + 1) for kind in logs] if leads else []
    own = [Journal(work / LOG, after=run.step + 1, on_failure=trouble)] if leads else []
    journal = Logs([*own, *more], trouble)
    every, saved = plan.look_every, time.monotonic()
    checkpointer = LazyCheckpointer(
        work / "checkpoints",
        keep=Keep(last=2),
        pool_bytes=pool_bytes(plan),
        on_failure=trouble,
        **(sharding.checkpoints() if sharding else {}),
    )

    def keep() -> None:
        run.extra = {"course": course.state(), "order": order.state(run.batch * plan.rows)}
        checkpointer.save(run.state_dict(), run.step)
        if leads:
            spent.keep()

    def after(update: Update) -> None:
        nonlocal saved
        course.timed(update)
        values = {k: v for k, v in asdict(update).items() if k != "step"}
        if update.action is None and update.step % every == 0:
            values["held"] = held_loss(model, prepared.held, plan.context)
            if values["held"] is not None and course.looked(update.step, values["held"]):
                say("The loss on held-out text is rising: the training comes to its end.")
        journal.write(update.step, **values)
        # none in a spike: it would push out the ones from before
        if update.action is None and agreed(time.monotonic() - saved > CHECKPOINT_SECONDS):
            keep()
            saved = time.monotonic()
        if on_update:
            on_update(update)

    config = LoopConfig(precision=setup.precision, accumulate=plan.accumulate)
    try:
        train(
            run,
            batches,
            loss_of,
            course,
            config,
            on_update=after,
            before_update=checkpointer.before_update,
            go_on=lambda: course.go_on(run.step) and not stopped(),
        )
        finished = agreed(not stopped())
        if finished and run.step == 0:
            raise _no_time(plan)
        checkpointer.wait_durable()  # one of this very step may be under way
        keep()
    finally:
        checkpointer.close()
        journal.close()
    loss = held_loss(model, prepared.held, plan.context)
    result = {
        "loss": loss,
        "bits_per_byte": None if loss is None else loss / math.log(2) / prepared.bytes_per_token,
        "steps": run.step,
        "tokens": run.targets,
        "seconds": round(spent.now(), 1),
        "lr": lr,
        "tokens_per_second": run.targets / max(run.seconds, 1e-9),
        "memory_bytes": resident_bytes(peak=True),
        "finished": finished,
    }
    if finished:
        whole = _whole(model, run, plan)
        if leads:
            _export(LanguageModel(whole.float().eval(), prepared.tokenizer), out, work)
    return result


def _no_time(plan: Plan) -> BadInput:
    return BadInput(
        f"The time of {plan.seconds or 0:.0f} s was over before the first update: the text, the words and the search "
        "for a rate took it. Give more time, in another folder."
    )


def _whole(model: Decoder, run: Run, plan: Plan) -> Decoder:
    """The model with all its weights; on rank 0 alone, where there are many."""
    zero = as_zero(run.optimizer)
    if zero is None:
        return model
    weights, made = model_state(zero), Decoder(plan.config)
    if weights:
        made.load_state_dict(weights)
    return made


def _course(plan: Plan, until: float) -> Course:
    decay = max(1, round(plan.decay * plan.steps))
    wsd = WSD(warmup=max(5, round(plan.warmup * plan.steps)), decay=decay)
    if plan.seconds is None:
        wsd = replace(wsd, stable_until=max(wsd.warmup, plan.steps - decay))
    return Course(wsd, until, plan.seconds or 0.0, plan.decay, [])


def _once(say: Callable[[str], None]) -> Callable[[Exception], None]:
    """Says a trouble that training goes on with, once for each cause: a full disk stops every checkpoint."""
    said: set[str] = set()

    def tell(error: Exception) -> None:
        cause = error.__cause__ or error
        name = getattr(cause, "strerror", None) or str(cause)
        if name not in said:
            said.add(name)
            say(f"{str(error).rstrip('.')}. The training goes on; this is not said again.")

    return tell


def seconds_before(work: Path) -> float:
    """Of all earlier sittings of the training in `work`."""
    path = work / SPENT
    return float(read_json(path)) if path.is_file() else 0.0


class _Spent:
    """Seconds of all sittings of a training; those of earlier ones lie in a file."""

    def __init__(self, work: Path, begun: float, trouble: Callable[[Exception], None]) -> None:
        self.path, self.begun, self.trouble = work / SPENT, begun, trouble
        self.before = seconds_before(work)

    def now(self) -> float:
        return self.before + time.monotonic() - self.begun

    def keep(self) -> None:
        try:
            write_json(self.path, round(self.now(), 3))
        except OSError as error:
            self.trouble(error)


def _export(model: LanguageModel, out: Path, work: Path) -> None:
    """The model's files into `out`, whole each; what training needed goes last: until then it can go on."""
    save(model, work / "model")
    for path in sorted((work / "model").iterdir()):
        path.replace(out / path.name)
    write_bytes(out / LOG, (work / LOG).read_bytes())
    shutil.rmtree(work)
