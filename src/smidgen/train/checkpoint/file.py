"""One state in one file, without a folder around it."""

import tempfile
from pathlib import Path
from typing import Any

from smidgen.train.checkpoint.layout import plan, source_bytes
from smidgen.train.checkpoint.shard import ShardFile, Throttle, sync_folder
from smidgen.train.checkpoint.tree import flatten

CHUNK = 8 << 20  # bytes


def save_file(state: Any, path: Path, step: int = 0) -> None:
    """Writes the state as a whole or not at all; it is on the disk on return. Raises BadInput as `flatten`, OSError."""
    path, flat = Path(path), flatten(state)
    layout = plan(flat, step, CHUNK)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as place:
        file = ShardFile(Path(place) / path.name, layout, Throttle(None))
        try:
            for index, parts in enumerate(layout.parts()):
                data = b"".join(source_bytes(flat.tensors[n], a, b).cpu().numpy().data for n, a, b in parts)
                file.put(index, memoryview(data), sync=False)
            file.finish(sync=True)
            file.path.replace(path)
        except BaseException:
            file.abandon()
            raise
    sync_folder(path.parent)
