"""The two ways in which a checkpoint lets a person down."""

from smidgen.kit.errors import BadInput, SmidgenError


class CheckpointCorrupt(BadInput):
    """A checkpoint on disk is not what was written: cut short, changed, or a part is missing."""


class CheckpointFailed(SmidgenError, RuntimeError):
    """A checkpoint could not be written (disk full, state changed too early). Those before it are untouched."""
