"""Where the trials of a study run: in processes of this machine, or on a Ray cluster."""

from dataclasses import dataclass
from typing import Any

from smidgen.kit.errors import bad
from smidgen.kit.extras import installed, need

_EXPECTED = "local, ray, ray:auto, ray:HOST:PORT or ray://HOST:PORT"


@dataclass(frozen=True)
class RayExecutor:
    """A Ray cluster. `address`: see `ray_cluster.Cluster`; None: RAY_ADDRESS, else a new one on this machine."""

    address: str | None = None

    def open(self, workers: int | None, memory: int | None) -> Any:
        """The workers, see `RayPool`."""
        from smidgen.studies.ray_pool import RayPool

        return RayPool(workers, memory, self.address)

    def sentence(self, workers: int | None) -> str:
        """What a dry run says of it."""
        place = f"the Ray cluster at {self.address}" if self.address else "a Ray cluster (RAY_ADDRESS, or a local one)"
        many = f"{workers} workers" if workers else "as many workers as it has CPUs"
        return f"Trials would run on {place}, on {many}; it was not asked."


def executor_named(name: str | None) -> RayExecutor | None:
    """What is meant by a name; None: the processes of this machine.

    Raises:
        BadInput: no such executor. MissingExtra: its package is not installed.
    """
    if name is None or name == "local":
        return None
    if not (name == "ray" or name.startswith(("ray:", "ray://"))) or name in ("ray:", "ray://"):
        raise bad("executor", _EXPECTED, name)
    if not installed("ray"):
        need("ray", extra="ray", why="Running trials on a Ray cluster")
    return RayExecutor(None if name == "ray" else name if name.startswith("ray://") else name.removeprefix("ray:"))
