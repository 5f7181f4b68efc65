"""Checkpoints of any number of ranks, read by any number.

The files are those of `train.checkpoint`, one a rank, and not torch.distributed.checkpoint's: they have checksums, a
folder shows a checkpoint only when all of it is on the disk, and one reader serves one process and many.
"""

import math
from pathlib import Path
from typing import Any

from smidgen.train import checkpoint as files
from smidgen.train.checkpoint import CheckpointCorrupt, Loaded, Published
from smidgen.train.checkpoint.folder import manifests, read_manifest
from smidgen.train.sharding.errors import MissingShards
from smidgen.train.sharding.ranks import Ranks

State = dict[str, Any]


def read(source: Published, rank: int = 0) -> State:
    """A checkpoint of any number of ranks as one state, for this rank: pieces of all, random numbers of its own file
    (of rank modulo their number). Tensors are mapped from the files.

    Raises:
        MissingShards: files are not there; their ranks are named. CheckpointCorrupt: a file is damaged.
    """
    missing = [r for r in range(source.world) if not source.file(r).is_file()]
    if missing:
        raise MissingShards(
            f"{source.folder}: step {source.step} was saved by {source.world} ranks; the files of rank "
            f"{', '.join(map(str, missing))} are not there: copy them back, or take an older checkpoint."
        )
    if source.world == 1:
        states = [files.load(source)]
    else:
        states = [files.load(source, r, mmap=True) for r in range(source.world)]
    merged = dict(states[0])
    if "weights" in merged.get("optimizer", {}):
        merged["optimizer"] = merge([s["optimizer"] for s in states])
        merged["random"] = states[rank % source.world].get("random")
    return merged


def merge(parts: list[State]) -> State:
    """The pieces of all ranks as one state."""
    weights: State = {}
    state: State = {}
    for part in parts:
        for name, found in part["weights"].items():
            weights.setdefault(name, []).extend(found)
        for name, entry in part["state"].items():
            for key, value in entry.items():
                known = state.setdefault(name, {})
                known[key] = [*known.get(key, []), *value] if isinstance(value, list) else value
    return {"weights": weights, "state": state, "groups": parts[0]["groups"]}


def load_newest(folder: Path, ranks: Ranks | None = None, every: int = 1, below: float = math.inf) -> Loaded | None:
    """The newest checkpoint that is whole, by any number of ranks, the same one on all; None where there is none.

    Args:
        every: only those whose step it divides. below: only those of a smaller step.
    Raises:
        CheckpointCorrupt: there are checkpoints, and all are damaged.
    """
    found: tuple[str, State] | None = None

    def choose() -> tuple[str | None, list[str]]:
        nonlocal found
        skipped: list[str] = []
        found = _newest(folder, skipped, every, below)
        return found[0] if found else None, skipped

    name, skipped = ranks.on_first(choose) if ranks else choose()
    if name is None and skipped and every == 1:
        raise CheckpointCorrupt(f"{folder}: every checkpoint here is damaged. {skipped[0]}")
    if name is None:
        return None
    source = read_manifest(folder, name)
    state = found[1] if found is not None else read(source, ranks.rank if ranks else 0)
    return Loaded(state, source.step, source, tuple(skipped))


def _newest(folder: Path, skipped: list[str], every: int, below: float) -> tuple[str, State] | None:
    for name in reversed(manifests(folder)):
        try:
            source = read_manifest(folder, name)
            if source.step % every == 0 and source.step < below:
                return name, read(source)
        except (CheckpointCorrupt, MissingShards) as error:
            skipped.append(str(error))
    return None
