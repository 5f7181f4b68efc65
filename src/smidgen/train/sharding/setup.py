"""How a run is spread over processes, and their start and end."""

import datetime
import os
import secrets
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from smidgen.kit.errors import BadInput, bad
from smidgen.train.sharding.ranks import Ranks
from smidgen.train.sharding.zero import BUCKET_BYTES, Backend, ZeroOptimizer

PATIENCE = datetime.timedelta(days=2)  # that a rank waits for another; one that ends is noticed at once
PEERS_SECONDS = 120.0  # that a checkpoint waits for the files of other ranks


@dataclass(frozen=True)
class Sharding:
    """What a training that knows of no ranks needs to be spread over them: see `ZeroOptimizer`."""

    stage: int = 2
    backend: Backend = "native"
    offload: bool = False
    bucket_bytes: int = BUCKET_BYTES
    ranks: Ranks = field(default_factory=Ranks)

    def optimizer(self, model: nn.Module, optimizer: Optimizer) -> ZeroOptimizer:
        """In place of one that has not stepped; weights are updated in their own type, as in one process."""
        return ZeroOptimizer.of(
            model,
            optimizer,
            self.stage,
            process_group=self.ranks.group,
            master_dtype=None,
            backend=self.backend,
            offload=self.offload,
            bucket_bytes=self.bucket_bytes,
        )

    def checkpoints(self) -> dict[str, Any]:
        """What `LazyCheckpointer` needs to know of this rank, at each start of a run anew."""
        ranks, attempt = self.ranks, self.ranks.first(secrets.token_hex(8))
        return {"rank": ranks.rank, "world": ranks.size, "attempt": attempt, "peers_seconds": PEERS_SECONDS}

    def rows(self, rows: int) -> slice:
        """This rank's rows of a batch of so many. Raises BadInput: they do not divide among the ranks."""
        size = self.ranks.size
        if rows % size:
            fit = [str(n) for n in range(1, rows + 1) if rows % n == 0]
            raise bad(
                "--nproc-per-node",
                f"processes among which the {rows} rows of a batch divide ({', '.join(fit)})",
                size,
            )
        return slice(self.ranks.rank * (rows // size), (self.ranks.rank + 1) * (rows // size))


def start() -> Ranks:
    """Joins the processes that torchrun started; without it, a group of this process alone.

    gloo on the CPU, NCCL between GPUs where there are any.
    Raises:
        BadInput: the environment names a rank and not the rest of what torchrun sets.
    """
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    there = [name for name in needed if name in os.environ]
    if not there:
        alone = dist.HashStore()  # pyright: ignore
        dist.init_process_group("gloo", store=alone, rank=0, world_size=1)
    elif len(there) < len(needed):
        missing = next(name for name in needed if name not in there)
        raise BadInput(f"{there[0]} is set and {missing} is not: start with torchrun --nproc-per-node N -m ...")
    else:
        dist.init_process_group(backend, timeout=PATIENCE)
    return Ranks()


def stop() -> None:
    """Leaves the group, after all have come here."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
