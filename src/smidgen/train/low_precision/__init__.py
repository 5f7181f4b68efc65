"""Training in few bits: which part of it is in which number format, and the engine that trains so.

`policy` says it, `layers` makes a model compute so, `optimizer` makes an optimizer store so, `communicate` sends
gradients so, `memory` says what it takes. The arithmetic is emulated: numbers are rounded to the format and multiplied
in float32, so results are those of a machine that has the format and adds up in float32 (or as `accumulate` says), and
times are not.
"""

from smidgen.train.low_precision.communicate import Compressor
from smidgen.train.low_precision.memory import measured_bytes, memory_estimate
from smidgen.train.low_precision.optimizer import LowPrecisionOptimizer, apply_policy
from smidgen.train.low_precision.policy import Delayed, LossScale, PrecisionPolicy

__all__ = [
    "Compressor",
    "Delayed",
    "LossScale",
    "LowPrecisionOptimizer",
    "PrecisionPolicy",
    "apply_policy",
    "measured_bytes",
    "memory_estimate",
]
