"""Checkpoints that training hardly waits for, and that a kill at any moment leaves whole.

`LazyCheckpointer` writes while training goes on, `load_newest` reads; the files are safetensors with checksums, the
folder is described in `folder.py`.
"""

from smidgen.train.checkpoint.baselines import SnapshotThenWrite, SyncCheckpointer
from smidgen.train.checkpoint.engine import LazyCheckpointer, attach, shared_attempt
from smidgen.train.checkpoint.errors import CheckpointCorrupt, CheckpointFailed
from smidgen.train.checkpoint.file import save_file
from smidgen.train.checkpoint.folder import Keep, Published, latest, published
from smidgen.train.checkpoint.handle import CheckpointHandle, CheckpointStats
from smidgen.train.checkpoint.load import Loaded, gather, inspect, load, load_file, load_newest
from smidgen.train.checkpoint.rng import rng_state, set_rng_state
from smidgen.train.checkpoint.tree import Piece

__all__ = [
    "CheckpointCorrupt",
    "CheckpointFailed",
    "CheckpointHandle",
    "CheckpointStats",
    "Keep",
    "LazyCheckpointer",
    "Loaded",
    "Piece",
    "Published",
    "SnapshotThenWrite",
    "SyncCheckpointer",
    "attach",
    "gather",
    "inspect",
    "latest",
    "load",
    "load_file",
    "load_newest",
    "published",
    "rng_state",
    "save_file",
    "set_rng_state",
    "shared_attempt",
]
