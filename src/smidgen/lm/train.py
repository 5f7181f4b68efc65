"""A language model from a person's own text: search the rate, train, judge, save. Each step can be stopped and gone on.

Everything that training needs lies in `OUT/.train` until the model is saved: tokens, set-up, log, checkpoints. What is
left then is an ordinary transformers folder with its log (and `.train`, where it is to be trained further one day).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from smidgen.kit.errors import BadInput
from smidgen.kit.files import remove_tree
from smidgen.kit.machine import resident_bytes
from smidgen.lm.course import Course
from smidgen.lm.forecast import judging_seconds, pool_bytes
from smidgen.lm.held import loss_of
from smidgen.lm.mixture import batches_of, numbered
from smidgen.lm.model import LanguageModel, whole_of
from smidgen.lm.plan import Plan
from smidgen.lm.prepare import Prepared
from smidgen.lm.search import find_rate, optimizer_of
from smidgen.lm.setup import Setup, write_setup
from smidgen.lm.work import CHECKPOINTS, FINISHED, LOG, STABLE, WORK, Spent, deliver, once
from smidgen.nets.decoder import Decoder, flops_per_token
from smidgen.train.checkpoint import Keep, LazyCheckpointer, Loaded
from smidgen.train.guard import SpikeGuard
from smidgen.train.journal import Journal, Logs, open_log
from smidgen.train.loop import LoopConfig, NonFinite, Run, Update, train
from smidgen.train.precision import cast
from smidgen.train.sharding import Sharding
from smidgen.train.sharding.reading import load_newest

CHECKPOINT_SECONDS = 60.0
ROLL_BACK_AFTER, SPAN = 5, 10  # spikes in a row; updates whose batches are then left out
MOST_RETURNS = 3  # to the same checkpoint
STABLE_POOL = 8 << 20  # bytes of the buffer for the one checkpoint that is waited for


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
        `finished`, steps, tokens, bytes of text that these were, flops, seconds, lr, tokens_per_second, memory_bytes
        (the most that this program held); of a finished training also loss in nats a token, bits_per_byte and `parts`
        (bits a byte of each corpus) on text that decided nothing, and `judged_tokens`, how much that was (None, 0:
        nothing is held out). Tokens and what follows from them are of the updates that the model is made of; bytes are
        reckoned from a sample of each corpus.
    """
    return _Training(setup, prepared, out, begun, say, stopped, sharding).run(on_update, logs)


class _Training:
    """One sitting of a training."""

    def __init__(
        self,
        setup: Setup,
        prepared: Prepared,
        out: Path,
        begun: float | None,
        say: Callable[[str], None],
        stopped: Callable[[], bool],
        sharding: Sharding | None,
    ) -> None:
        self.setup, self.plan, self.prepared, self.out = setup, setup.plan, prepared, out
        self.work, self.say, self.stopped, self.sharding = out / WORK, say, stopped, sharding
        self.ranks = sharding.ranks if sharding else None
        self.leads = self.ranks is None or self.ranks.rank == 0
        self.trouble = once(say)
        self.spent = Spent(self.work, time.monotonic() if begun is None else begun, self.trouble)
        lengths = {name: len(part) for name, part in prepared.parts.items()}
        self.shares = setup.shares(lengths)
        self.held, self.judged = prepared.held_by(self.shares), prepared.held_by(self.shares, judged=True)
        self.order = batches_of(prepared.parts, setup.phases(lengths), self.plan, setup.seed)
        self.until, seconds = math.inf, self.plan.seconds
        if seconds is not None:
            last = judging_seconds(self.plan, setup.forecast.matrix_speed) if self.judged else 0.0
            self.until = self.spent.begun + seconds - self.spent.before - min(last, 0.1 * seconds)

    def agreed(self, value: Any) -> Any:
        """What rank 0 says."""
        return self.ranks.first(value) if self.ranks else value

    def run(self, on_update: Callable[[Update], None] | None, logs: Sequence[str]) -> dict[str, Any]:
        plan, lr = self.plan, self.plan.lr
        if lr is None:
            lr = self.ranks.on_first(self._search) if self.ranks else self._search()
        if lr is None:
            if not self.agreed(self.stopped()):
                raise _no_time(plan)
            return {"finished": False, "steps": 0}
        torch.manual_seed(self.setup.seed)
        model = cast(Decoder(plan.config, self.setup.seed), self.setup.precision)
        optimizer = optimizer_of(model, lr, plan.optimizer)
        optimizer = self.sharding.optimizer(model, optimizer) if self.sharding else optimizer
        guard = SpikeGuard(factor=2.0, least=0.2, rollback_after=ROLL_BACK_AFTER, span=SPAN)
        self.state = Run(model, optimizer, guard)
        self.course, self.went_back = Course.of(plan, self.until, self.held is not None), []
        longer = self.agreed((self.work / FINISHED).is_file())
        found = load_newest(self.work / (STABLE if longer else CHECKPOINTS), self.ranks)
        if longer and found is None:
            raise BadInput(
                f"{self.work / STABLE}: the state from before the fall is gone: it cannot be trained further."
            )
        if found is not None:
            self._take(found)
            self.went_back = list(self.state.extra["went_back"])
            self.say(f"going on from update {self.state.step}")
        if longer and self.leads:
            remove_tree(self.work / CHECKPOINTS)  # of the fall
        self.agreed(longer)  # nobody writes there before
        self.checkpointer = LazyCheckpointer(
            self.work / CHECKPOINTS,
            keep=Keep(last=2, every=plan.look_every, most=2),  # those to go back to
            pool_bytes=pool_bytes(plan),
            on_failure=self.trouble,
            **(self.sharding.checkpoints() if self.sharding else {}),
        )
        after = self.state.step + 1
        more = [open_log(kind, self.out, self.work, after=after) for kind in logs] if self.leads else []
        log, spent = self.work / LOG, self.state.seconds
        own = [Journal(log, after=after, on_failure=self.trouble, spent=spent)] if self.leads else []
        self.journal = Logs([*own, *more], self.trouble)
        try:
            if found is None or longer:
                self._keep()  # what is gone back to where the first updates spoil it
            if longer:
                self.checkpointer.wait_durable()
                if self.leads:  # only now is this training under way again
                    write_setup(self.setup, self.work)
                    (self.work / FINISHED).unlink()
            finished = self._train(on_update)
        finally:
            self.checkpointer.close()
            self.journal.close()
        return self._result(lr, finished)

    def _search(self) -> float | None:
        def in_time() -> bool:
            return time.monotonic() < self.until and not self.stopped()

        batches = numbered(self.order)
        setup = self.setup
        found = find_rate(self.plan, batches, self.held, setup.precision, setup.seed, self.work, self.say, in_time)
        self.spent.keep()
        return found

    def _take(self, found: Loaded) -> None:
        """Goes on from a checkpoint."""
        for why in found.skipped:
            self.say(why)
        self.state.load_state_dict(found.state)
        if not self.prepared.skipped:  # without some shards the order is another, and goes on from the same number
            self.order.resume(self.state.extra["order"])
        self.course.load(self.state.extra["course"], self.state.step)

    def _whole_state(self, before_fall: bool = False) -> dict[str, Any]:
        run = self.state
        order = self.order.state(run.batch * self.plan.rows)
        run.extra = {"course": self.course.state(before_fall), "order": order, "went_back": self.went_back}
        return run.state_dict()

    def _keep(self) -> None:
        self.checkpointer.save(self._whole_state(), self.state.step)
        if self.leads:
            self.spent.keep()

    def _keep_stable(self) -> None:
        """A checkpoint from before the fall, from which the training can be made longer."""
        self.checkpointer.before_update()
        more = self.sharding.checkpoints() if self.sharding else {}
        pool = min(STABLE_POOL, pool_bytes(self.plan))
        with LazyCheckpointer(
            self.work / STABLE, keep=Keep(last=1), pool_bytes=pool, on_failure=self.trouble, **more
        ) as saver:
            saver.save(self._whole_state(before_fall=True), self.state.step)

    def _roll_back(self, run: Run) -> None:
        """To the newest checkpoint of those that a count of updates made: others are there or not as time went, and
        would make another model of the same training. A loss that is high again after that is taken as it is; one that
        is no number goes back further."""
        assert run.guard is not None
        self.checkpointer.wait_durable()
        was, every, finite = run.step, self.plan.look_every, math.isfinite(run.guard.seen[-1].loss)
        found = load_newest(self.work / CHECKPOINTS, self.ranks, every, below=was + 1)
        if found is not None and self.went_back[-1:] == [found.step]:
            if finite:
                return
            found = load_newest(self.work / CHECKPOINTS, self.ranks, every, below=found.step) or found
        if found is None:
            self.say("There is no checkpoint to go back to.")
            return
        self._take(found)
        self.went_back.append(run.step)
        if self.went_back.count(run.step) > MOST_RETURNS:
            raise NonFinite(f"The training breaks down again and again after update {run.step}: lower the --rate.")
        self.say(f"going back from update {was} to {run.step}, and over the batches in between")
        self.journal.cut(run.step + 1)

    def _train(self, on_update: Callable[[Update], None] | None) -> bool:
        """Updates to the end; whether that was reached."""
        run, course, plan, saved = self.state, self.course, self.plan, time.monotonic()
        per_token = flops_per_token(plan.config, plan.context)

        def schedule(step: int) -> float:
            factor = course(step)
            if self.setup.keep_stable and self.agreed(step == course.wsd.stable_until):
                self._keep_stable()
            return factor

        def after(update: Update) -> None:
            nonlocal saved
            course.timed(update)
            values = {k: v for k, v in asdict(update).items() if k != "step"}
            values |= {"tokens": run.targets, "flops": run.targets * per_token, "bytes": run.targets * self._size}
            regular = update.action is None and update.step % plan.look_every == 0
            if regular and self.held:
                values["held"] = self.held.loss(run.model, plan.context)  # pyright: ignore
                if math.isfinite(values["held"]) and course.looked(update.step, values["held"]):
                    self.say("The loss on held-out text is rising: the training comes to its end.")
            self.journal.write(update.step, **values)
            # none in a spike: it would push out the ones from before
            if update.action is None and (self.agreed(time.monotonic() - saved > CHECKPOINT_SECONDS) or regular):
                self._keep()
                saved = time.monotonic()
            if on_update:
                on_update(update)

        train(
            run,
            numbered(self.order, self.sharding.rows(plan.rows) if self.sharding else slice(None)),
            loss_of,
            schedule,
            LoopConfig(precision=self.setup.precision, accumulate=plan.accumulate),
            on_update=after,
            before_update=self.checkpointer.before_update,
            go_on=lambda: course.go_on(run.step) and not self.stopped(),
            roll_back=self._roll_back,
        )
        finished = self.agreed(not self.stopped())
        if finished and run.step == 0:
            raise _no_time(plan)
        self.checkpointer.wait_durable()
        self._keep()
        return finished

    @property
    def _size(self) -> float:
        """Bytes of text of a token."""
        sizes = self.prepared.bytes_per_token
        return sum(self.shares[name] * size for name, size in sizes.items())

    def _result(self, lr: float, finished: bool) -> dict[str, Any]:
        run, plan = self.state, self.plan
        result: dict[str, Any] = {"finished": finished, "loss": None, "bits_per_byte": None, "parts": {}}
        result["judged_tokens"] = 0
        if finished:
            whole = whole_of(run.model, run.optimizer, plan.config)  # pyright: ignore
            if self.leads:
                model = LanguageModel(whole.float().eval(), self.prepared.tokenizer)
                result |= self.judged.judge(model) if self.judged else {}
                deliver(model, self.out, self.setup.keep_stable)
        return result | {
            "steps": run.step,
            "tokens": run.targets,
            "bytes": round(run.targets * self._size),
            "flops": run.targets * flops_per_token(plan.config, plan.context),
            "seconds": round(self.spent.now(), 1),
            "lr": lr,
            "tokens_per_second": run.targets / max(run.seconds, 1e-9),
            "memory_bytes": resident_bytes(peak=True),
        }


def _no_time(plan: Plan) -> BadInput:
    return BadInput(
        f"The time of {plan.seconds or 0:.0f} s was over before the first update: the text, the words and the search "
        "for a rate took it. Give more time, in another folder."
    )
