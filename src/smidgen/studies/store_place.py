"""Whether a place is fit for a run store in SQLite: its folder can be made, and is not on a network disk."""

import os
import re
from pathlib import Path

from smidgen.kit.errors import BadInput

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "afs",
    "ceph",
    "lustre",
    "gpfs",
    "beegfs",
    "glusterfs",
    "ncpfs",
    "orangefs",
    "davfs",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph",
    "fuse.s3fs",
    "fuse.rclone",
}


def network_kind(path: Path, mounts: str) -> str | None:
    """The kind of network disk that the path lies on, by the text of /proc/mounts; None: a local one."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        if path.is_relative_to(point) and len(point.parts) >= best:  # of two on one point the later lies on top
            best, kind = len(point.parts), fields[2]
    return kind if kind in _NETWORK else None


def make_room(path: Path) -> None:
    """The file's folder, made where it is not there. Raises BadInput where the place is not fit."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name a file for the run store, such as {path / 'runs.db'}.")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"The run store {path} cannot be made ({error.strerror}): name another with --store.", see="store"
        ) from None
    mounts = Path("/proc/mounts")
    if os.name == "posix" and mounts.exists():
        kind = network_kind(path.absolute().parent.resolve(), mounts.read_text(errors="replace"))
        if kind:
            raise BadInput(
                f"{path} lies on a network disk ({kind}), where SQLite's locks do not hold: "
                "name a local file with --store, or a PostgreSQL URL.",
                see="store",
            )
