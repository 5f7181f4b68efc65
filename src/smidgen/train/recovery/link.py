"""Messages between the processes of a pipeline: point to point over torch.distributed (gloo), one group a generation.

A group cannot lose a member. When one dies, all others leave, and a new group is formed under a new number. Leaving
closes the connections, so that whoever waits for a survivor learns of it at once as well.
"""

import contextlib
import gc
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch import Tensor

HOST = "127.0.0.1"
LOOPBACK = "lo"


class PeerLost(Exception):
    """The group is broken: a member died, left, or was silent for too long."""


class Link:
    """Parts speak by their numbers; the rank of a part is its number + 1.

    Args:
        port: of the store, which outlives all groups (the supervisor has it).
    """

    def __init__(self, part: int, world: int, port: int, patience: float) -> None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)  # whatever the machine's name may resolve to
        self._rank, self._world, self._patience = part + 1, world, timedelta(seconds=patience)
        self._store = dist.TCPStore(HOST, port, is_master=False, timeout=self._patience)  # pyright: ignore
        self._sent: list[Any] = []

    def join(self, generation: int) -> None:
        """Leaves the group and joins a new one. Raises PeerLost."""
        self.leave()
        store = dist.PrefixStore(f"generation-{generation}", self._store)  # pyright: ignore
        with self._broken():
            dist.init_process_group(
                "gloo", store=store, rank=self._rank, world_size=self._world, timeout=self._patience
            )

    def leave(self) -> None:
        """Closes the connections, so that whoever waits for this part raises PeerLost as well."""
        self._sent.clear()
        if dist.is_initialized():
            gc.collect()  # a message under way keeps connections open, and the traceback of an error the message
            dist.destroy_process_group()

    def send(self, tensor: Tensor, part: int) -> None:
        """Begins to send; `flush` waits for the end."""
        with self._broken():
            self._sent.append(dist.isend(tensor.contiguous(), part + 1))

    def receive(self, like: Tensor, part: int) -> Tensor:
        """The next tensor from a part, of the shape and type of `like`, which it fills."""
        with self._broken():
            dist.recv(like, part + 1)
        return like

    def flush(self) -> None:
        """Returns when all that was sent has arrived."""
        with self._broken():
            while self._sent:
                self._sent[0].wait()
                self._sent.pop(0)

    def send_state(self, state: Any, part: int) -> None:
        with self._broken():
            dist.send_object_list([state], part + 1)

    def receive_state(self, part: int) -> Any:
        found: list[Any] = [None]
        with self._broken():
            dist.recv_object_list(found, part + 1)
        return found[0]

    @staticmethod
    @contextlib.contextmanager
    def _broken() -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise PeerLost(str(error).splitlines()[0]) from None


def host_store() -> Any:
    """The store at which groups are formed; its `port` goes to the processes."""
    return dist.TCPStore(HOST, 0, is_master=True, wait_for_workers=False)  # pyright: ignore
