"""How much of a training should be with rounded weights: many splits of one length, and several lengths, for little
more than the phases that differ (Dremov et al., 2025, arXiv 2509.22935).

All splits share the training in full precision up to where their rate begins to fall, or their weights are rounded:
that is trained once, up to the longest, and each branch leaves from a copy of the whole run at its step. Rows are what
`laws.qat.fit_qat` reads.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from smidgen.compress.qat import finish_qat, start_qat
from smidgen.formats.format import Format
from smidgen.kit.errors import bad
from smidgen.train.loop import Batches, LoopConfig, Loss, Run, train
from smidgen.train.schedules import WSD
from smidgen.train.two_phases import FALL, Then, classic_cooldown, flat_until, fused_cooldown

KINDS = ("classic", "fused")


@dataclass(frozen=True)
class Split:
    """One training: `steps` in all, of which the share `fraction` is with rounded weights, at least one; `kind` of
    schedule: "classic", or "fused", whose one fall takes a fifth of all updates, or QAT where that is shorter."""

    steps: int
    fraction: float
    kind: str = "classic"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise bad("kind", " or ".join(KINDS), self.kind)
        if not 0 < self.fraction <= 1:
            raise bad("fraction", "above 0, at most 1", self.fraction)
        if self.steps < 2:
            raise bad("steps", "at least 2", self.steps)

    @property
    def steps_qat(self) -> int:
        return min(self.steps, max(1, round(self.fraction * self.steps)))

    @property
    def steps_fp(self) -> int:
        return self.steps - self.steps_qat

    def schedule(self, warmup: int) -> WSD | Then:
        """The rate by step."""
        if self.kind == "fused":
            return fused_cooldown(self.steps_fp, self.steps_qat, warmup, fall=round(FALL * self.steps))
        return classic_cooldown(self.steps_fp, self.steps_qat, warmup)

    def shared(self, warmup: int) -> int:
        """Updates that are the same as in a run without a fall and without rounding."""
        return min(self.steps_fp, flat_until(self.schedule(warmup)))


@dataclass
class Sweep:
    """Trainings that share their beginning.

    Args:
        new_run: model and optimizer anew, always alike. evaluate: loss of a model in `eval`, its weights rounded.
        warmup: updates, the same in all splits.
        saved: states by step; for what a sweep costs: `updates_fp`, `updates_qat` done so far, and `updates_alone`,
            what the same trainings would take without sharing.
    """

    new_run: Callable[[], Run]
    batches: Batches
    loss_of: Loss
    evaluate: Callable[[nn.Module], float]
    warmup: int
    config: LoopConfig = field(default_factory=LoopConfig)
    saved: dict[int, Any] = field(default_factory=dict, repr=False)
    updates_fp: int = 0
    updates_qat: int = 0
    updates_alone: int = 0

    def run(self, splits: Sequence[Split], formats: Mapping[str, Format], **settings: Any) -> list[dict[str, Any]]:
        """A row for each split and format: steps, fraction, kind, format, loss, targets_fp and targets_qat.

        Args:
            settings: of `compress.qat.start_qat`.
        """
        self._prefix({split.shared(self.warmup) for split in splits})
        rows = []
        for split in splits:
            schedule = split.schedule(self.warmup)
            run = self._at(split.shared(self.warmup))
            begun = run.step
            train(run, self.batches, self.loss_of, schedule, self.config, steps=split.steps_fp)
            self.updates_fp += run.step - begun
            state = copy.deepcopy(run.state_dict())
            for name, format in formats.items():
                own = self.new_run()
                own.load_state_dict(copy.deepcopy(state))
                before = own.targets
                start_qat(own.model, format, **settings)
                train(own, self.batches, self.loss_of, schedule, self.config, steps=split.steps)
                self.updates_qat += split.steps_qat
                self.updates_alone += split.steps
                own.model.eval()
                loss = self.evaluate(own.model)
                finish_qat(own.model)
                rows.append({
                    "steps": split.steps, "fraction": split.fraction, "kind": split.kind, "format": name, "loss": loss,
                    "targets_fp": before, "targets_qat": own.targets - before,
                })  # fmt: skip
        return rows

    def _prefix(self, wanted: set[int]) -> None:
        missing = sorted(step for step in wanted if step not in self.saved)
        if not missing:
            return
        run = self._at(max((step for step in self.saved if step <= missing[0]), default=0))
        flat = WSD(warmup=self.warmup, decay=0)
        for step in missing:
            begun = run.step
            train(run, self.batches, self.loss_of, flat, self.config, steps=step)
            self.updates_fp += run.step - begun
            self.saved[step] = copy.deepcopy(run.state_dict())

    def _at(self, step: int) -> Run:
        run = self.new_run()
        if step in self.saved:
            run.load_state_dict(copy.deepcopy(self.saved[step]))
        return run
