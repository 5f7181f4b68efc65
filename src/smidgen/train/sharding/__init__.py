"""Training of one model by many processes that share its weights, gradients and optimizer states among them.

`ZeroOptimizer` in place of an optimizer; `train.loop` knows it; `saved` moves checkpoints between any numbers of
processes; `budget.memory` says beforehand what fits.
"""

from smidgen.train.sharding.activations import ActivationPartitioner
from smidgen.train.sharding.buffers import ConstantBuffer, ContiguousArena
from smidgen.train.sharding.elementwise import needs_whole
from smidgen.train.sharding.errors import MissingShards, UnevenGradients
from smidgen.train.sharding.ranks import Ranks
from smidgen.train.sharding.setup import Sharding, start, stop
from smidgen.train.sharding.zero import ZeroOptimizer, shard_parameters

__all__ = [
    "ActivationPartitioner",
    "ConstantBuffer",
    "ContiguousArena",
    "MissingShards",
    "Ranks",
    "Sharding",
    "UnevenGradients",
    "ZeroOptimizer",
    "needs_whole",
    "shard_parameters",
    "start",
    "stop",
]
