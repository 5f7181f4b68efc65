"""Where to train: on a GPU if there is one and its memory is enough, else on the processor."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from smidgen.kit.notes import note

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")


def best_device() -> str:
    """Of torch: "cuda" where there is a GPU that works, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def safe_layout(model: "nn.Module") -> None:
    """Lays weights out as usual, in place, where channels last would spoil memory: in oneDNN's gradient of a 1 x 1
    convolution with a stride and fewer than 8 channels, on processors with AVX2 and no AVX-512 (oneDNN 3.12 in torch
    2.13)."""
    import torch
    from torch import nn

    def spoils(module: nn.Module) -> bool:
        if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1) or module.stride == (1, 1):
            return False
        return module.in_channels // module.groups < 8

    if torch.backends.cpu.get_cpu_capability() == "AVX2" and any(spoils(m) for m in model.modules()):
        model.to(memory_format=torch.contiguous_format)  # pyright: ignore


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
