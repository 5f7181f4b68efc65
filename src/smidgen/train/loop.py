"""The training loop: visible steps, any module, nothing of any method in it.

One update: set the rate, sum the gradients of a few micro-batches, clip, let the guard look, update, write it down,
checkpoint. What a run is (`Run`) is what a checkpoint holds: a run that was stopped anywhere goes on to the same bits.

With a `ZeroOptimizer` many processes run the same loop, each on its own rows: losses and counts are those of all, so
that the guard decides the same everywhere, and rank 0 decides what depends on a clock: the rate, and whether to go on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import SmidgenError, bad
from smidgen.train.checkpoint.rng import rng_state, set_rng_state
from smidgen.train.device import safe_layout
from smidgen.train.guard import Action, SpikeGuard
from smidgen.train.precision import Precision, context, products
from smidgen.train.schedules import set_rate
from smidgen.train.sharding.saved import as_zero, load_run_state, run_state


class NonFinite(SmidgenError):
    """The loss is not a number and nothing was left to try."""


# Micro-batches by number: equal numbers give equal batches, on any machine and after any restart.
Batches = Callable[[int], tuple[Any, ...]]
# Of a module and a micro-batch: the sum of the losses, and how many they are.
Loss = Callable[..., tuple[Tensor, int]]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """
    Attributes:
        accumulate: micro-batches an update. clip: largest norm of all gradients together; None: not clipped.
        precision: resolved, see `precision.py`. strikes: spikes in a row after which a run is given up.
    """

    accumulate: int = 1
    clip: float | None = 1.0
    precision: Precision = "fp32"
    strikes: int = 50

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise bad("accumulate", "at least 1", self.accumulate)
        if self.clip is not None and not self.clip > 0:
            raise bad("clip", "above 0, or None", self.clip)


@dataclass(frozen=True)
class Update:
    """What is known of one update. `loss`: mean over its targets, before the update; `norm`: of the gradients, before
    clipping; `lr`: of the first group; `spent`: seconds in all; `action`: what the guard did instead, if anything."""

    step: int
    loss: float
    norm: float
    lr: float
    targets: int
    seconds: float
    spent: float
    action: Action | None = None


@dataclass
class Run:
    """A run in the making: all that must be kept to go on.

    Attributes:
        step: updates done. batch: number of the next micro-batch. targets: trained on in all. seconds: spent in all.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    guard: SpikeGuard | None = None
    step: int = 0
    batch: int = 0
    targets: int = 0
    seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        return {
            **run_state(self.model, self.optimizer),
            "guard": self.guard.state_dict() if self.guard else None,
            "progress": {k: getattr(self, k) for k in ("step", "batch", "targets", "seconds")},
            "random": rng_state(),
            "extra": self.extra,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_run_state(self.model, self.optimizer, state)
        if self.guard and state["guard"]:
            self.guard.load_state_dict(state["guard"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        if isinstance(state["random"], dict):
            set_rng_state(state["random"])
        else:  # torch's alone, in early versions
            torch.set_rng_state(state["random"])
        self.extra = state["extra"]


def train(
    run: Run,
    batches: Batches,
    loss_of: Loss,
    schedule: Callable[[int], float],
    config: LoopConfig,
    *,
    steps: int | None = None,
    on_update: Callable[[Update], None] | None = None,
    before_update: Callable[[], None] | None = None,
    go_on: Callable[[], bool] | None = None,
    roll_back: Callable[[Run], None] | None = None,
) -> Run:
    """Updates until `run.step` is `steps`, or `go_on()` says no (time is up, Ctrl-C): the run is whole either way.

    Args:
        loss_of: sums are weighted by their counts over the micro-batches of an update, so that packing does not matter.
        schedule: factor of the rate by step.
        on_update: after each update, or what the guard did instead; the place to save checkpoints.
        before_update: waits until nothing reads the weights any more (`LazyCheckpointer.before_update`).
        roll_back: puts the run back to its newest checkpoint, if there is one; for a guard that asks for it.

    Raises:
        NonFinite: spikes or NaN `config.strikes` times in a row.
    """
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    strikes = 0
    run.model.train()
    safe_layout(run.model)
    with products(config.precision):
        while (steps is None or run.step < steps) and (go_on is None or _first(run, go_on())):
            start = time.perf_counter()
            set_rate(run.optimizer, _first(run, schedule(run.step)))
            loss, count = _gradients(run, batches, loss_of, config)
            zero = as_zero(run.optimizer)
            norm = zero.clip_grad_norm_(config.clip) if zero else clip(parameters, config.clip)
            action = _verdict(run, loss, norm, config.accumulate)
            if action is None:
                if before_update:
                    before_update()
                run.optimizer.step()
                run.step, run.targets, strikes = run.step + 1, run.targets + count, 0
            else:
                strikes += 1
                _avoid(run, action, config.accumulate, roll_back)
                if strikes > config.strikes:
                    raise NonFinite(f"{strikes} spikes of the loss in a row at update {run.step}: lower the rate.")
            run.optimizer.zero_grad(set_to_none=True)
            seconds = time.perf_counter() - start
            run.seconds += seconds
            if on_update:
                lr, targets = run.optimizer.param_groups[0]["lr"], count if action is None else 0
                on_update(Update(run.step, loss, norm, lr, targets, seconds, run.seconds, action))
    return run


def _verdict(run: Run, loss: float, norm: float, accumulate: int) -> Action | None:
    """What the guard says; without one, nothing may be infinite."""
    batches = range(run.batch - accumulate, run.batch)
    if run.guard:
        return run.guard.check(run.step, loss if math.isfinite(norm) else math.nan, batches)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NonFinite(
            f"The loss of update {run.step} (micro-batches {batches.start} to {batches.stop - 1}) is not a number: "
            "lower the rate, or train with a guard."
        )
    return None


def _first(run: Run, value: Any) -> Any:
    """What rank 0 says, where there are many."""
    zero = as_zero(run.optimizer)
    return zero.ranks.first(value) if zero else value


def _gradients(run: Run, batches: Batches, loss_of: Loss, config: LoopConfig) -> tuple[float, int]:
    """Adds up the gradients of the mean loss over the next micro-batches; gives that loss and its count."""
    total, count, zero = 0.0, 0, as_zero(run.optimizer)
    for number in range(config.accumulate):
        batch = batches(run.batch)
        run.batch += 1
        with context(config.precision, next(run.model.parameters()).device.type):
            loss, n = loss_of(run.model, *batch)
        if zero:
            zero.backward(loss, last=number + 1 == config.accumulate)
        else:
            loss.backward()
        total, count = total + float(loss.detach()), count + n
    if zero:
        total, everyone = zero.totals(total, count)
        count = int(everyone)
    if not count:
        raise SmidgenError(f"Micro-batch {run.batch - 1} has nothing to learn from: every target is left out.")
    if zero:
        zero.finish(count)
        return total / count, count
    for group in run.optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad.div_(count)
    return total / count, count


def clip(parameters: list[Tensor], limit: float | None) -> float:
    """Norm of all gradients together; they are scaled down to the limit when it is larger."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if limit is not None and float(norm) > limit:
        torch.nn.utils.clip_grads_with_norm_([p for p in parameters if p.grad is not None], limit, norm)
    return float(norm)


def _avoid(run: Run, action: Action, accumulate: int, roll_back: Callable[[Run], None] | None) -> None:
    """Leaves the batches out that set off the spike: this update's (they are behind already), or a span of them."""
    assert run.guard is not None
    after, before, seconds = run.batch, replace(run.guard, seen=list(run.guard.seen)), run.seconds
    if action == "rollback" and roll_back is not None:
        roll_back(run)
        run.guard.rolled_back(before)
        run.seconds = seconds  # it was paid for
    run.batch = after if action == "replace_batch" else after + run.guard.span * accumulate
