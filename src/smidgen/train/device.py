"""Where to train: on a GPU if there is one and its memory is enough, else on the processor."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from smidgen.kit.notes import note

T = TypeVar("T")
_lock, _inside = threading.Lock(), list[bool]()


def best_device() -> str:
    """Of torch: "cuda" where there is a GPU that works, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextlib.contextmanager
def safe_convolutions() -> Iterator[None]:
    """Convolutions may be trained within. Those of oneDNN (3.12, in torch 2.13) write beyond their memory on processors
    with AVX2 and no AVX-512, seen in the gradients of small pictures; torch's own are used there."""
    import torch

    if torch.backends.cpu.get_cpu_capability() != "AVX2" or not (_inside or torch._C._get_mkldnn_enabled()):
        yield
        return
    with _lock:  # the switch is one for all threads: the last to leave puts it back
        _inside.append(True)
        torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            torch._C._set_mkldnn_enabled(not _inside)


def on_best_device(job: Callable[[str], T], what: str) -> T:
    """The job's result. It is given a device, and done again on the processor where the GPU has too little memory; that
    is noted, see `kit.notes`. `what`: begins its sentence."""
    import torch

    device = best_device()
    if device == "cpu":
        return job(device)
    try:
        return job(device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    note(f"{what}: the GPU has too little memory, so it is done on the processor.")
    return job("cpu")
