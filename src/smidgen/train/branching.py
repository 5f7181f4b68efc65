"""One run without a planned end, and a usable model from any of its snapshots (MiniCPM, Hu et al., 2024, arXiv
2404.06395, section 4).

The stable run goes on at a constant rate. A branch starts from one of its snapshots, lets the rate fall for a short
while, about a tenth of the updates so far (their finding: 2.5 % is too few), and leaves the stable run as it was: that
goes on to the same bits as if nothing had branched off. So m lengths of training cost one long run and m short falls.

A snapshot is all of a run: weights, moments, the number of the next batch, the states of the random generators. They
lie in a folder of checkpoints, so that a branch may also be made tomorrow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from smidgen.kit.errors import BadInput, bad
from smidgen.train.audit import CurveAudit, Look
from smidgen.train.checkpoint import Keep, LazyCheckpointer, load, load_newest, published, rng_state, set_rng_state
from smidgen.train.loop import Batches, LoopConfig, Loss, Run, Update, train
from smidgen.train.schedules import WSD

# Of the stable run's batches and the number of the fall's first one: the batches of the fall, by the same numbers.
DataMix = Callable[[Batches, int], Batches]


@dataclass(frozen=True)
class Decayed:
    """What a branch gave.

    Attributes:
        step: of the snapshot that it left from. run: at its end; `run.model` is the usable model.
        updates: one an update of the fall. looks: of the audit, if there was one.
        before, after: what `evaluate` said of the model, at the snapshot and at the end; None without one.
    """

    step: int
    run: Run
    updates: tuple[Update, ...]
    looks: tuple[Look, ...]
    before: float | None
    after: float | None

    @property
    def steps(self) -> int:
        return self.run.step - self.step


class BranchingRun:
    """A stable run and its branches.

    Args:
        folder: of the snapshots. Where it has some, the stable run goes on from the newest.
        new_run: makes model and optimizer anew, always alike; a branch has its own.
        schedule: warm-up and a stable phase without an end; `decay` is not used, a branch says how long it falls.
        checkpoint_every: updates between the snapshots that are kept.
        evaluate: a model's loss, for `Decayed`.
    Raises:
        BadInput: a schedule that has its fall planned already, no positive distance of snapshots.
    """

    def __init__(
        self,
        folder: Path,
        new_run: Callable[[], Run],
        batches: Batches,
        loss_of: Loss,
        schedule: WSD,
        config: LoopConfig,
        *,
        checkpoint_every: int,
        evaluate: Callable[[nn.Module], float] | None = None,
    ) -> None:
        if schedule.stable_until is not None:
            raise bad("schedule", "a stable phase without an end", f"a fall at step {schedule.stable_until}")
        if checkpoint_every < 1:
            raise bad("checkpoint_every", "at least 1 update", checkpoint_every)
        self.folder, self.new_run, self.evaluate = Path(folder), new_run, evaluate
        self.batches, self.loss_of, self.schedule, self.config = batches, loss_of, schedule, config
        self.every = checkpoint_every
        self.run = new_run()
        found = load_newest(self.folder) if self.folder.is_dir() else None
        if found is not None:
            _restore(self.run, found.state)

    @property
    def snapshots(self) -> list[int]:
        """Updates after which there is one, ascending."""
        return sorted({p.step for p in published(self.folder)}) if self.folder.is_dir() else []

    def train_to(
        self,
        step: int,
        *,
        on_update: Callable[[Update], None] | None = None,
        go_on: Callable[[], bool] | None = None,
        audit: CurveAudit | None = None,
    ) -> Run:
        """Goes on with the stable run until it has done `step` updates, with a snapshot at its end too.

        Args:
            audit: of `run.model`.

        Raises:
            BadInput: it has done more than that already.
        """
        if step < self.run.step:
            raise bad("step", f"at least the {self.run.step} updates that are done", step)
        saved = self.run.step if self.run.step in self.snapshots else -1
        weights = sum(p.nbytes for p in self.run.model.parameters())
        pool = max(1 << 20, min(4 * weights, 256 << 20))  # weights, two moments and a little
        with LazyCheckpointer(self.folder, pool_bytes=pool, keep=Keep(last=1, every=self.every)) as checkpointer:

            def keep() -> None:
                nonlocal saved
                if self.run.step != saved:
                    checkpointer.save({"run": self.run.state_dict(), "random": rng_state()}, self.run.step)
                    saved = self.run.step

            def after(update: Update) -> None:
                if update.action is None and update.step % self.every == 0:
                    keep()
                if audit:
                    audit.on_update(update)
                if on_update:
                    on_update(update)

            def before() -> None:
                checkpointer.before_update()
                if audit:
                    audit.before_update()

            train(
                self.run,
                self.batches,
                self.loss_of,
                self.schedule,
                self.config,
                steps=step,
                on_update=after,
                before_update=before,
                go_on=go_on,
            )
            keep()
        return self.run

    def decay_from(
        self,
        step: int,
        decay_tokens: int,
        data_mix: DataMix | None = None,
        *,
        audit: Callable[[nn.Module], CurveAudit] | None = None,
    ) -> Decayed:
        """A branch from the snapshot after `step` updates: the rate falls over `decay_tokens` targets, in whole
        updates of the stable run's mean size.

        Args:
            data_mix: other data for the fall, better ones mixed in for example; default: those that come next.
            audit: made for the branch's model, watches it.
        Raises:
            BadInput: no such snapshot, one without the optimizer's state, one within the warm-up, fewer than 1 token.
        """
        if decay_tokens < 1:
            raise bad("decay_tokens", "at least 1", decay_tokens)
        state, random = self._snapshot(step), rng_state()
        try:
            run = self.new_run()
            _restore(run, state)
            schedule = self.schedule.start_decay(step, math.ceil(decay_tokens * run.step / run.targets))
            watch = audit(run.model) if audit else None
            updates: list[Update] = []

            def after(update: Update) -> None:
                updates.append(update)
                if watch:
                    watch.on_update(update)

            before = self.evaluate(run.model) if self.evaluate else None
            train(
                run,
                data_mix(self.batches, run.batch) if data_mix else self.batches,
                self.loss_of,
                schedule,
                self.config,
                steps=schedule.end,
                on_update=after,
                before_update=watch.before_update if watch else None,
            )
            loss = self.evaluate(run.model) if self.evaluate else None
        finally:
            set_rng_state(random)
        return Decayed(step, run, tuple(updates), tuple(watch.looks) if watch else (), before, loss)

    def _snapshot(self, step: int) -> Any:
        found = [p for p in (published(self.folder) if self.folder.is_dir() else []) if p.step == step]
        if not found or not step:
            here = ", ".join(map(str, self.snapshots)) or "none yet"
            raise bad("step", f"one that has a snapshot ({here})", step, "Train the stable run that far first.")
        return load(found[-1])


def _restore(run: Run, state: Any) -> None:
    """Raises BadInput: it is no snapshot of such a run."""
    inner = state.get("run") if isinstance(state, dict) else None
    if not isinstance(inner, dict) or not inner.get("optimizer"):
        raise BadInput("This checkpoint has no optimizer's state: a run cannot go on or branch from weights alone.")
    run.load_state_dict(inner)
    set_rng_state(state["random"])
