"""A language model from a person's own text: tokenize, plan, search the rate, train, save. Each step is resumable.

Everything that training needs lies in `OUT/.train` until it is done: tokens, plan, log, checkpoints. What is left then
is an ordinary transformers folder.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import read_json, write_json
from smidgen.lm import shards, tokenizer
from smidgen.lm.corpus import Corpus
from smidgen.lm.mixture import Mixture
from smidgen.lm.model import LanguageModel, save
from smidgen.lm.plan import RATES, Plan
from smidgen.lm.shards import TokenShards
from smidgen.nets.decoder import Decoder, DecoderConfig, flops_per_token
from smidgen.nets.presets import sized
from smidgen.train.checkpoint import Keep, LazyCheckpointer, load_newest
from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal
from smidgen.train.loop import LoopConfig, Run, Update, train
from smidgen.train.order import Batch, Order, windows_of
from smidgen.train.precision import Precision, cast, context, products
from smidgen.train.schedules import WSD

HELD = 0.01  # of every document's end, to watch the loss on text that is not trained on
SEARCH_SHARE = 0.02  # of the time, for each rate that is tried
LEAST_SEARCH = 0.5  # seconds for each rate; below, `USUAL_RATE` is taken
USUAL_RATE = 2e-3  # of AdamW for models of 0.1 to 10 M parameters
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Prepared:
    """Tokens of each part of the corpus, and of what is held out of all."""

    tokenizer: tokenizer.Tokenizer
    parts: tuple[TokenShards, ...]
    held: TokenShards


def prepare(corpora: dict[str, Corpus], words: int, folder: Path) -> Prepared:
    """Trains the tokenizer on all texts and tokenizes each part; what is there already is used again."""
    place = folder / tokenizer.FILE
    if place.is_file():
        made = tokenizer.load(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        made = tokenizer.train((d.text for c in corpora.values() for d in c), words)
        place.write_bytes(made.json)
    parts = []
    for name, corpus in corpora.items():
        if not (folder / name / shards.INDEX).is_file():
            shards.write(folder / name, _kept(corpus, made, False), made.words, made.identity)
        parts.append(TokenShards(folder / name, tokenizer=made.identity))
    if not (folder / "held" / shards.INDEX).is_file():
        held = (ids for corpus in corpora.values() for ids in _kept(corpus, made, True))
        shards.write(folder / "held", held, made.words, made.identity)
    return Prepared(made, tuple(parts), TokenShards(folder / "held", tokenizer=made.identity))


def _kept(corpus: Corpus, made: tokenizer.Tokenizer, held: bool) -> Iterator[np.ndarray]:
    """Ids of the documents without their ends, or of the ends."""
    for document in corpus:
        cut = max(1, int(len(document.text) * (1 - HELD)))
        text = document.text[cut:] if held else document.text[:cut]
        if text.strip():
            yield made.encode_document(text)


def measured_speed(precision: Precision, updates: int = 4) -> float:
    """Floating-point operations a second that training a small decoder reaches here; the best of a few updates."""
    config = sized(1_000_000, 1024, 256)
    model = cast(Decoder(config), precision)
    optimizer = optimizer_of(model, 1e-4)  # type: ignore[arg-type]
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


def with_seconds(plan: Plan, seconds: float) -> Plan:
    """The plan for this time in all."""
    return replace(plan, seconds=seconds)


def fitting(plan: Plan, prepared: Prepared) -> Plan:
    """The plan for the text as it turned out: the words that the tokenizer found, passes by exact count.

    Raises:
        BadInput: a part is shorter than one window.
    """
    for part in prepared.parts:
        windows_of(len(part), plan.context)
    tokens = sum(len(p) for p in prepared.parts)
    config = replace(plan.config, vocab=prepared.tokenizer.words)
    return replace(plan, config=config, words=config.vocab, passes=plan.tokens / tokens)


def batches_of(parts: Iterable[TokenShards], weights: tuple[float, ...] | None, plan: Plan, seed: int) -> Any:
    """The source of batches: one stream, or a mixture in these shares."""
    parts = tuple(parts)
    if len(parts) == 1:
        return Order(parts[0], plan.context, plan.batch, seed)
    orders = tuple(Order(p, plan.context, 1, seed) for p in parts)
    return Mixture(orders, weights or tuple(float(len(p)) for p in parts), plan.batch, seed)


def optimizer_of(model: Decoder, lr: float, decay: float = 0.1) -> torch.optim.Optimizer:
    """AdamW; matrices decay, vectors and embeddings do not."""
    matrices = [p for n, p in model.named_parameters() if p.ndim > 1 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8, fused=True)


def loss_of(model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
    """Sum over the targets of a batch."""
    return model(batch.ids_BT, documents_BT=batch.documents_BT, targets_BT=batch.targets_BT), batch.targets_BT.numel()


@torch.no_grad()
def held_loss(model: Decoder, held: TokenShards, length: int, most: int = 64) -> float:
    """Nats a token on at most so many windows of what is held out."""
    order = Order(held, min(length, len(held) - 1), 1, seed=0)
    training, total, count = model.training, 0.0, 0
    model.eval()
    for number in range(min(most, order.epoch_windows)):
        loss, n = loss_of(model, order.at(number))
        total, count = total + float(loss), count + n
    model.train(training)
    return total / count


def search_rate(
    plan: Plan, prepared: Prepared, batches: Any, precision: Precision, seconds: float, say: Callable[[str], None]
) -> float:
    """The best of a few peak rates, each trained anew with a short decay for an equal time; ends when worse twice."""
    found: dict[float, float] = {}
    for lr in RATES:
        run = Run(cast(Decoder(plan.config), precision), torch.optim.SGD([torch.zeros(1)], 0.1))
        run.optimizer = optimizer_of(run.model, lr)  # type: ignore[arg-type]
        start, rate = time.monotonic(), _Pace()
        schedule = _Timed(WSD(warmup=5, decay=10), start + seconds, 0.3, rate)
        train(run, _numbered(batches, plan), loss_of, schedule, LoopConfig(precision=precision), steps=plan.steps,
              on_update=rate, go_on=schedule.go_on)  # fmt: skip
        found[lr] = held_loss(run.model, prepared.held, plan.context)  # type: ignore[arg-type]
        say(f"rate {lr:g}: {found[lr]:.3f} nats a token after {run.step} updates")
        worse = [v for v in list(found.values())[-2:] if v > min(found.values())]
        if len(worse) == 2:
            break
    return min(found, key=lambda lr: found[lr])


def _rate(
    plan: Plan, prepared: Prepared, batches: Any, precision: Precision, work: Path, say: Callable[[str], None]
) -> float:
    """The peak rate: found before, searched, or a usual one where there is no time to search."""
    if (work / "rate.json").is_file():
        return float(read_json(work / "rate.json")["lr"])
    each = SEARCH_SHARE * (plan.seconds or 3600.0)
    if each < LEAST_SEARCH:
        say(f"rate {USUAL_RATE:g}: no time to search for one")
        lr = USUAL_RATE
    else:
        lr = search_rate(plan, prepared, batches, precision, each, say)
    write_json(work / "rate.json", {"lr": lr})
    return lr


class _Pace:
    """Seconds of an update, a running mean."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, update: Update) -> None:
        self.seconds = update.seconds if not self.seconds else 0.9 * self.seconds + 0.1 * update.seconds


class _Timed:
    """A WSD schedule whose decay begins so that it ends with the time; by steps where there is no end of time."""

    def __init__(self, wsd: WSD, until: float, decay: float, pace: _Pace) -> None:
        self.wsd, self.until, self.decay, self.pace, self.start = wsd, until, decay, pace, time.monotonic()

    def __call__(self, step: int) -> float:
        left = self.until - time.monotonic()
        if self.wsd.stable_until is None and self.pace.seconds and left < self.decay * (self.until - self.start):
            self.wsd = self.wsd.start_decay(step, max(1, int(left / self.pace.seconds)))
        return self.wsd(step)

    def go_on(self) -> bool:
        return time.monotonic() + self.pace.seconds < self.until


def _numbered(batches: Any, plan: Plan) -> Callable[[int], tuple[Batch]]:
    return lambda number: (batches.at(number * plan.batch),)


def train_model(
    plan: Plan,
    prepared: Prepared,
    out: Path,
    *,
    weights: tuple[float, ...] | None = None,
    precision: Precision = "fp32",
    seed: int = 0,
    begun: float | None = None,
    say: Callable[[str], None] = print,
    on_update: Callable[[Update], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains to the end of the plan, or goes on from the newest checkpoint in `out/.train`, and saves the model.

    Args:
        begun: `time.monotonic()` when the person's time began. stopped: asked before each update (Ctrl-C).
    Returns:
        loss on held-out text in nats a token, steps, tokens, seconds, lr, tokens_per_second, and `finished`.
    """
    work, begun = out / ".train", time.monotonic() if begun is None else begun
    until = math.inf if plan.seconds is None else begun + plan.seconds
    batches = batches_of(prepared.parts, weights, plan, seed)
    lr = plan.lr
    if lr is None:
        lr = _rate(plan, prepared, batches, precision, work, say)
    torch.manual_seed(seed)
    model = cast(Decoder(plan.config, seed), precision)
    run = Run(model, optimizer_of(model, lr), SpikeGuard(factor=2.0))  # type: ignore[arg-type]
    found = load_newest(work / "checkpoints") if (work / "checkpoints").is_dir() else None
    if found is not None:
        run.load_state_dict(found.state)
        say(f"going on from update {run.step}")
    decay = max(1, round(plan.decay * plan.steps))
    wsd = WSD(warmup=max(5, round(plan.warmup * plan.steps)), decay=decay)
    if plan.seconds is None:
        wsd = replace(wsd, stable_until=max(wsd.warmup, plan.steps - decay))
    if "stable_until" in run.extra:
        wsd = replace(wsd, **run.extra)
    pace, journal = _Pace(), Journal(work, after=run.step + 1)
    schedule = _Timed(wsd, until, plan.decay, pace)
    state = {"saved": time.monotonic()}

    def after(update: Update) -> None:
        pace(update)
        journal.write(update.step, **{k: v for k, v in asdict(update).items() if k != "step"})
        if schedule.wsd.stable_until is not None:
            run.extra = {"stable_until": schedule.wsd.stable_until, "decay": schedule.wsd.decay}
        if time.monotonic() - state["saved"] > CHECKPOINT_SECONDS:
            checkpointer.save(run.state_dict(), run.step)
            state["saved"] = time.monotonic()
        if on_update:
            on_update(update)

    checkpointer = LazyCheckpointer(work / "checkpoints", keep=Keep(last=2), on_failure=lambda e: say(str(e)))
    try:
        train(
            run,
            _numbered(batches, plan),
            loss_of,
            schedule,
            LoopConfig(precision=precision),
            steps=10**12 if plan.seconds is not None else plan.steps,
            on_update=after,
            checkpointer=checkpointer,
            go_on=lambda: schedule.go_on() and not stopped(),
        )
        finished = not stopped()
        if not finished:
            checkpointer.before_update()
            checkpointer.save(run.state_dict(), run.step)
    finally:
        checkpointer.close()
        journal.close()
    result = {
        "loss": held_loss(model, prepared.held, plan.context),  # type: ignore[arg-type]
        "steps": run.step,
        "tokens": run.targets,
        "seconds": round(time.monotonic() - begun, 1),
        "lr": lr,
        "tokens_per_second": run.targets / max(run.seconds, 1e-9),
        "finished": finished,
    }
    if finished:
        log = (work / "log.jsonl").read_bytes()
        shutil.rmtree(work)
        save(LanguageModel(model.float().eval(), prepared.tokenizer), out)  # type: ignore[arg-type]
        (out / "log.jsonl").write_bytes(log)
    return result


def read_plan(path: Path) -> Plan:
    """The plan that a run wrote down. Raises BadInput: damaged."""
    values = read_json(path)
    try:
        known = {k: v for k, v in values.items() if k in Plan.__dataclass_fields__}
        return Plan(**{**known, "config": DecoderConfig(**known["config"])})
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path} is damaged or of another version ({error}): start anew in another folder.") from None
