"""Ways to go on when stages are lost, with one interface: CheckFree and CheckFree+ (2025, arXiv 2506.15461), periodic
checkpoints, redundant computation, and no failures at all.

    recovery = CheckFreeRecovery(model, functools.partial(torch.optim.Adam, lr=1e-3))
    for number, micro_batches in ...:
        if lost := ...:
            recovery.on_failure(lost)
        backward(...)
        recovery.step()

`simulate.py` is that loop. The model is whole in this process; `pipeline.py` has its parts in processes of their own.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from smidgen.train.recovery.checkpoints import Checkpoints
from smidgen.train.recovery.errors import UnrecoverableFailure
from smidgen.train.recovery.history import FREE
from smidgen.train.recovery.part import Boost, MakeOptimizer, Part, Updating, flat_gradients, set_gradients
from smidgen.train.recovery.plan import Holders, Rebuild, all_held, ends_held, plan
from smidgen.train.recovery.rebuild import Mode, Rule
from smidgen.train.recovery.stages import StagedModel


class Recovery:
    """Each part with its own optimizer; what a failure takes is really gone (NaN) before anything is recovered.

    Args:
        rule: how stages are rebuilt. holders: which parts have shadows. checkpoints: what is left when nothing else
            helps. Further arguments: of `Updating`.
    """

    def __init__(
        self,
        model: StagedModel,
        make_optimizer: MakeOptimizer,
        *,
        rule: Rule | None = None,
        holders: Holders | None = None,
        checkpoints: Checkpoints | None = None,
        **updating: Any,
    ) -> None:
        self.model, self.rule, self.holders, self.checkpoints = model, rule, holders or {}, checkpoints
        settings = Updating(make_optimizer=make_optimizer, **updating)
        self.parts = {k: Part(model.part(k), settings) for k in model.numbers}
        self.shadows = {k: self._shadow(k) for k in self.holders}
        self.iterations = self.updates = 0
        self._save()

    def observe(self, stage_grad_norms: Sequence[float]) -> None:
        """Gradient norms of the stages, before clipping; `step` does this with its own."""
        for k, norm in enumerate(stage_grad_norms):
            self.parts[k].norm = norm

    def step(self) -> None:
        """Updates every part with its gradients."""
        if self.checkpoints:
            self.checkpoints.before_update()
        for k, shadow in self.shadows.items():
            set_gradients(shadow.module, flat_gradients(self.parts[k].module))
        for part in [*self.parts.values(), *self.shadows.values()]:
            part.update(self.updates)
        self.iterations, self.updates = self.iterations + 1, self.updates + 1
        self._save()

    def on_failure(self, stages: set[int]) -> str:
        """Loses these parts and recovers them. Returns how, as `history.Failure` has it.

        Raises:
            UnrecoverableFailure: nothing can; then nothing was touched.
        """
        if self.checkpoints:
            self.checkpoints.before_update()
        try:
            moves = plan(stages, len(self.model.stages), self.rule, self.holders)
        except UnrecoverableFailure:
            if self.checkpoints is None:
                raise
            self._lose(stages)
            self._roll_back()
            return "rolled back"
        self._lose(stages)
        for move in moves:
            if isinstance(move, Rebuild):
                self._rebuild(move)
            elif move.target == move.owner:
                self.parts[move.owner].load_state_dict(self.shadows[move.owner].state_dict())
        return "rebuilt" if any(isinstance(move, Rebuild) for move in moves) else "restored"

    def close(self) -> None:
        """Ends what writes in the background."""
        if self.checkpoints:
            self.checkpoints.close()

    def _lose(self, stages: set[int]) -> None:
        for k in stages:
            self.parts[k].lose()

    def _rebuild(self, move: Rebuild) -> None:
        assert self.rule is not None
        sources = [self.parts[j] for j in move.sources]
        made = self.rule.made([p.module.state_dict() for p in sources], [p.norm for p in sources])
        self.parts[move.target].rebuild(*made, self.updates)

    def _roll_back(self) -> None:
        assert self.checkpoints is not None
        state = self.checkpoints.newest()
        self.updates = state["updates"]
        for k, part in self.parts.items():
            part.load_state_dict(state["parts"][k])
        for k, shadow in self.shadows.items():
            shadow.load_state_dict(state["parts"][k])

    def _save(self) -> None:
        if self.checkpoints:
            parts = {k: part.state_dict() for k, part in self.parts.items()}
            self.checkpoints.maybe_save({"updates": self.updates, "parts": parts}, self.iterations, self.updates)

    def _shadow(self, k: int) -> Part:
        part = self.parts[k]
        return Part(copy.deepcopy(part.module), part.updating)


class CheckFreeRecovery(Recovery):
    """A lost stage is rebuilt of its neighbours, its optimizer starts anew and its rate is boosted.

    Args:
        lr_boost: factor of the rate for the rest of the run, or a function of the updates since (`Boost`).
        plus: CheckFree+; the model must run with `swap_ends`. Then any stage may be lost, and embedding and head are
            restored exactly, from shadows beside the first and the last stage.
        mode, power, fresh: of `Rule`. fallback: for what is refused otherwise. Further arguments: of `Updating`.
    Raises:
        BadInput: fewer than 3 stages (plus: 4), or plus without a model that swaps.
    """

    def __init__(
        self,
        model: StagedModel,
        make_optimizer: MakeOptimizer,
        lr_boost: float | Callable[[int], float] = 1.1,
        plus: bool = False,
        *,
        mode: Mode = "weighted",
        power: float = 1.0,
        fresh: Callable[[], nn.Module] | None = None,
        fallback: Checkpoints | None = None,
        **updating: Any,
    ) -> None:
        rule, n_stages = Rule(mode=mode, power=power, plus=plus, fresh=fresh), len(model.stages)
        rule.check(model)
        boost = lr_boost if callable(lr_boost) else Boost(lr_boost)
        holders = ends_held(n_stages) if plus else None
        super().__init__(
            model, make_optimizer, rule=rule, holders=holders, checkpoints=fallback, boost=boost, **updating
        )


class PeriodicCheckpoint(Recovery):
    """All parts go back to the newest checkpoint; the data go on, so that what was lost is not seen again."""

    def __init__(
        self, model: StagedModel, make_optimizer: MakeOptimizer, every: int, folder: Path | str, **updating: Any
    ) -> None:
        super().__init__(model, make_optimizer, checkpoints=Checkpoints(folder, every), **updating)


class RedundantStage(Recovery):
    """Every part has a shadow on the machine before it: nothing is lost, for memory and computation of twice the
    model. What the second forward pass costs in time is the caller's to say (`history.wallclock`)."""

    def __init__(self, model: StagedModel, make_optimizer: MakeOptimizer, **updating: Any) -> None:
        super().__init__(model, make_optimizer, holders=all_held(len(model.stages)), **updating)


class NoFailure(Recovery):
    """What training would be if no machine ever failed."""

    def on_failure(self, stages: set[int]) -> str:
        return FREE
