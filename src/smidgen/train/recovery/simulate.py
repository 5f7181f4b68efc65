"""Training with failures in one process: what `pipeline.py` does with a process a stage, to the same numbers."""

import math
import time
from collections.abc import Callable, Sequence

from torch import Tensor

from smidgen.train.loop import NonFinite
from smidgen.train.recovery.failures import FailureSchedule
from smidgen.train.recovery.history import FREE, Failure, History, Step
from smidgen.train.recovery.methods import Recovery
from smidgen.train.recovery.stages import StagedModel

# By iteration, its micro-batches: pairs of inputs and targets, all of the same shape.
Batches = Callable[[int], Sequence[tuple[Tensor, Tensor]]]
# Mean loss of what the head says, and the targets.
Criterion = Callable[[Tensor, Tensor], Tensor]


def train_through(
    recovery: Recovery,
    batches: Batches,
    criterion: Criterion,
    failures: FailureSchedule,
    iterations: int | None = None,
    *,
    probe: Callable[[StagedModel], float] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> History:
    """Carries out the iterations of a schedule, failures and all. Data go on after a recovery; nothing is rewound.

    Args:
        probe: a loss on fixed data, taken just before and just after each recovery.
    Raises:
        UnrecoverableFailure: what was lost cannot come back. NonFinite: a loss is not a number.
    """
    history = History()
    recovery.model.train()
    for number in range(failures.n_iters if iterations is None else iterations):
        for stages in failures.at(number):
            history.failures.append(_fail(recovery, number, stages, probe))
        loss = backward(recovery.model, batches(number), criterion)
        recovery.step()
        history.steps.append(Step(number, recovery.updates, loss))
        if on_step:
            on_step(history.steps[-1])
    return history


def backward(model: StagedModel, micro_batches: Sequence[tuple[Tensor, Tensor]], criterion: Criterion) -> float:
    """Adds up the gradients of the mean loss over the micro-batches; gives that loss."""
    total = 0.0
    for index, (inputs, targets) in enumerate(micro_batches):
        loss = criterion(model(inputs, index), targets) / len(micro_batches)
        loss.backward()
        total += float(loss.detach())
    return finite(total)


def finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise NonFinite("The loss is not a number: lower the rate.")
    return loss


def _fail(recovery: Recovery, number: int, stages: set[int], probe: Callable[[StagedModel], float] | None) -> Failure:
    before = probe(recovery.model) if probe else None
    start = time.perf_counter()
    how = recovery.on_failure(stages)
    seconds = time.perf_counter() - start
    after = before if how == FREE or not probe else probe(recovery.model)
    return Failure(number, tuple(sorted(stages)), how, before, after, seconds)
