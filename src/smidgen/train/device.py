"""Where to train: on a GPU if there is one and its memory is enough, else on the processor."""

from collections.abc import Callable
from typing import TypeVar

from smidgen.kit.notes import note

T = TypeVar("T")


def best_device() -> str:
    """Of torch: "cuda" where there is a GPU that works, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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
