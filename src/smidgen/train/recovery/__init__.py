"""Going on when a machine that holds a stage of the model dies (CheckFree and CheckFree+, 2025, arXiv 2506.15461).

`CheckFreeRecovery` and what it is compared with, in one process (`train_through`), and `Pipeline`: a process a stage,
which may be killed. Both carry out the same plan and come to the same numbers.
"""

from smidgen.train.recovery.checkpoints import Checkpoints, newest_common
from smidgen.train.recovery.decoder import fresh_stage, staged_decoder
from smidgen.train.recovery.errors import UnrecoverableFailure
from smidgen.train.recovery.failures import FailureSchedule, rate_per_iteration
from smidgen.train.recovery.history import Failure, History, Step, first_at, wallclock
from smidgen.train.recovery.job import Job
from smidgen.train.recovery.methods import (
    CheckFreeRecovery,
    NoFailure,
    PeriodicCheckpoint,
    Recovery,
    RedundantStage,
)
from smidgen.train.recovery.part import Boost, Part, Updating
from smidgen.train.recovery.pipeline import Pipeline
from smidgen.train.recovery.rebuild import Rule, recover_stage, recovery_weights
from smidgen.train.recovery.simulate import train_through
from smidgen.train.recovery.stages import ENDS, StagedModel

__all__ = [
    "ENDS",
    "Boost",
    "CheckFreeRecovery",
    "Checkpoints",
    "FailureSchedule",
    "Failure",
    "History",
    "Job",
    "NoFailure",
    "Part",
    "PeriodicCheckpoint",
    "Pipeline",
    "Recovery",
    "RedundantStage",
    "Rule",
    "StagedModel",
    "Step",
    "UnrecoverableFailure",
    "Updating",
    "first_at",
    "fresh_stage",
    "newest_common",
    "rate_per_iteration",
    "recover_stage",
    "recovery_weights",
    "staged_decoder",
    "train_through",
    "wallclock",
]
