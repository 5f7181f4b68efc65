"""What every process of a pipeline is told at its start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.kit.errors import bad
from smidgen.train.recovery.part import Updating
from smidgen.train.recovery.plan import Holders, all_held, ends_held
from smidgen.train.recovery.rebuild import Rule
from smidgen.train.recovery.simulate import Batches, Criterion
from smidgen.train.recovery.stages import StagedModel


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training run over processes. All functions must be importable by name, as they go to other processes.

    Attributes:
        make: the model with its first weights, the same in every process.
        batches, criterion: as of `train_through`; read where embedding and head are.
        micro_batches: of one iteration. activation: shape of what passes between stages, of one micro-batch.
        updating: of every part. rule: how lost stages are rebuilt; None: they are not.
        redundant: every part has a shadow in the process before it.
        folder, every: checkpoints every so many updates, for what cannot be recovered otherwise; None: none.
        threads: of each process. attempts: recoveries of one iteration after which the run is given up.
        patience: seconds that a process waits for another's message; one that is silent for twice as long is killed.
    """

    make: Callable[[], StagedModel]
    batches: Batches
    criterion: Criterion
    micro_batches: int
    activation: tuple[int, ...]
    updating: Updating
    rule: Rule | None = field(default_factory=Rule)
    redundant: bool = False
    folder: Path | None = None
    every: int = 100
    threads: int = 1
    attempts: int = 5
    patience: float = 300.0

    def __post_init__(self) -> None:
        for name in ("micro_batches", "every", "threads", "attempts"):
            if getattr(self, name) < 1:
                raise bad(name, "at least 1", getattr(self, name))

    def holders(self, n_stages: int) -> Holders:
        """Which parts have shadows, and where."""
        if self.redundant:
            return all_held(n_stages)
        return ends_held(n_stages) if self.rule and self.rule.plus else {}

    def place(self, part: int) -> Path:
        """The folder of a part's checkpoints."""
        assert self.folder is not None
        return self.folder / ("ends" if part < 0 else f"stage-{part}")
