"""A language model from a person's own text: plan, search the rate, train, save. Each step can be stopped and gone on.

Everything that training needs lies in `OUT/.train` until the model is saved: tokens, set-up, log, checkpoints. What is
left then is an ordinary transformers folder with its log.
"""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_bytes, write_json
from smidgen.lm.course import Course
from smidgen.lm.mixture import Mixture
from smidgen.lm.model import LanguageModel, save
from smidgen.lm.plan import MOST_PASSES, Plan
from smidgen.lm.prepare import Prepared
from smidgen.lm.search import find_rate, held_loss, loss_of, optimizer_of
from smidgen.nets.decoder import Decoder, DecoderConfig, flops_per_token
from smidgen.nets.presets import sized
from smidgen.train.checkpoint import Keep, LazyCheckpointer, load_newest
from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.order import Batch, Order, windows_of
from smidgen.train.precision import Precision, cast, context, products
from smidgen.train.schedules import WSD

CHECKPOINT_SECONDS = 60.0
LOOKS = 20  # at the held-out loss in a training
SETUP, LOG = "setup.json", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a training was begun with, and goes on with.

    Attributes:
        texts: hash of each corpus, by name, in their order. weights: shares of the corpora; None: by their length.
        asked: the person's own words, to tell when they change.
    """

    plan: Plan
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
        return Setup(**{**values, "plan": plan})
    except (KeyError, TypeError) as error:
        raise BadInput(f"{work / SETUP} is damaged or of another version ({error}): start anew elsewhere.") from None


def measured_speed(precision: Precision, updates: int = 4) -> float:
    """Floating-point operations a second that training a small decoder reaches here; the best of a few updates."""
    config = sized(1_000_000, 1024, 256)
    model = cast(Decoder(config), precision)
    optimizer = optimizer_of(model, 1e-4)
    ids_BT = torch.arange(16 * 257).reshape(16, 257) % 1024
    best = math.inf
    for _ in range(updates):
        start = time.perf_counter()
        with products(precision):
            with context(precision):
                loss = model(ids_BT[:, :-1].contiguous(), targets_BT=ids_BT[:, 1:].contiguous())
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        best = min(best, time.perf_counter() - start)
    return flops_per_token(config, 256) * 16 * 256 / best


def fitting(plan: Plan, prepared: Prepared) -> Plan:
    """The plan for the text as it turned out: the words that the tokenizer found, passes by exact count; no more passes
    than help where nothing is held out that could tell when to end.

    Raises:
        BadInput: a part is shorter than one window.
    """
    for part in prepared.parts:
        windows_of(len(part), plan.context)
    length = sum(len(p) for p in prepared.parts)
    tokens = plan.tokens if prepared.held is not None else min(plan.tokens, round(MOST_PASSES * length))
    config = replace(plan.config, vocab=prepared.tokenizer.words)
    return replace(plan, config=config, words=config.vocab, tokens=tokens, passes=tokens / length)


def batches_of(prepared: Prepared, weights: list[float] | None, plan: Plan, seed: int) -> Order | Mixture:
    """The source of micro-batches: one stream, or a mixture in these shares."""
    if len(prepared.parts) == 1:
        return Order(prepared.parts[0], plan.context, plan.rows, seed)
    orders = tuple(Order(p, plan.context, 1, seed) for p in prepared.parts)
    return Mixture(orders, tuple(weights or (float(len(p)) for p in prepared.parts)), plan.rows, seed)


def numbered(order: Order | Mixture) -> Callable[[int], tuple[Batch]]:
    """Micro-batches by number, one after another."""
    return lambda number: (order.at(number * order.batch),)


def train_model(
    setup: Setup,
    prepared: Prepared,
    out: Path,
    *,
    begun: float | None = None,
    say: Callable[[str], None] = print,
    on_update: Callable[[Update], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains to the end of the plan, or goes on from the newest checkpoint in `out/.train`, and saves the model.

    Args:
        begun: `time.monotonic()` when this sitting began. stopped: asked before each update (Ctrl-C).
    Returns:
        loss on held-out text in nats a token (None: nothing is held out), steps, tokens, seconds, lr,
        tokens_per_second, and `finished`.
    """
    plan, work, begun = setup.plan, out / ".train", time.monotonic() if begun is None else begun
    spent = _Spent(work / "spent.json", begun)
    until = math.inf if plan.seconds is None else begun + plan.seconds - spent.before
    order = batches_of(prepared, setup.weights, plan, setup.seed)
    batches = numbered(order)

    def in_time() -> bool:
        return time.monotonic() < until and not stopped()

    lr = plan.lr
    if lr is None:
        lr = find_rate(plan, batches, prepared.held, setup.precision, setup.seed, work, say, in_time)
        spent.keep()
    if lr is None:
        return {"finished": False, "steps": 0}
    torch.manual_seed(setup.seed)
    model = cast(Decoder(plan.config, setup.seed), setup.precision)
    run = Run(model, optimizer_of(model, lr), SpikeGuard(factor=2.0, least=0.2))
    course = _course(plan, until)
    found = load_newest(work / "checkpoints") if (work / "checkpoints").is_dir() else None
    if found is not None:
        run.load_state_dict(found.state)
        order.resume(run.extra["order"])
        course.load(run.extra["course"])
        say(f"going on from update {run.step}")
    journal = Journal(work / LOG, after=run.step + 1)
    every, saved = max(20, plan.steps // LOOKS), time.monotonic()
    checkpointer = LazyCheckpointer(work / "checkpoints", keep=Keep(last=2), on_failure=lambda e: say(str(e)))

    def keep() -> None:
        run.extra = {"course": course.state(), "order": order.state(run.batch * plan.rows)}
        checkpointer.save(run.state_dict(), run.step)
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
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
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
        finished = not stopped()
        checkpointer.before_update()
        keep()
    finally:
        checkpointer.close()
        journal.close()
    result = {
        "loss": held_loss(model, prepared.held, plan.context),
        "steps": run.step,
        "tokens": run.targets,
        "seconds": round(spent.now(), 1),
        "lr": lr,
        "tokens_per_second": run.targets / max(run.seconds, 1e-9),
        "finished": finished,
    }
    if finished:
        _export(LanguageModel(model.float().eval(), prepared.tokenizer), out, work)
    return result


def _course(plan: Plan, until: float) -> Course:
    decay = max(1, round(plan.decay * plan.steps))
    wsd = WSD(warmup=max(5, round(plan.warmup * plan.steps)), decay=decay)
    if plan.seconds is None:
        wsd = replace(wsd, stable_until=max(wsd.warmup, plan.steps - decay))
    return Course(wsd, until, plan.seconds or 0.0, plan.decay, [])


class _Spent:
    """Seconds of all sittings of a training; those of earlier ones lie in a file."""

    def __init__(self, path: Path, begun: float) -> None:
        self.path, self.begun = path, begun
        self.before = float(read_json(path)) if path.is_file() else 0.0

    def now(self) -> float:
        return self.before + time.monotonic() - self.begun

    def keep(self) -> None:
        write_json(self.path, round(self.now(), 3))


def _export(model: LanguageModel, out: Path, work: Path) -> None:
    """The model's files into `out`, whole each; what training needed goes last: until then it can go on."""
    save(model, work / "model")
    for path in sorted((work / "model").iterdir()):
        path.replace(out / path.name)
    write_bytes(out / LOG, (work / LOG).read_bytes())
    shutil.rmtree(work)
