"""To torch.distributed.checkpoint: for other programs, which train on with it.

Our own checkpoints are read by one process or many (`reading`); a model and optimizer that have taken one up are
written here as PyTorch's own tools expect them: whole tensors under their full names, which any number of ranks of FSDP
reads. Nothing here reads that format: its index is a pickle, which can run code.
"""

import warnings
from pathlib import Path

from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from smidgen.kit.files import new_folder


def write(model: nn.Module, optimizer: Optimizer, folder: Path | str) -> None:
    """Writes the weights and the optimizer's state of one process as a new folder, whole or not at all."""
    weights, state = get_state_dict(model, optimizer)
    with new_folder(Path(folder)) as made, _quiet():
        save({"model": weights, "optimizer": state}, checkpoint_id=str(made), no_dist=True)


def _quiet() -> warnings.catch_warnings:
    """Without the advice that there is only one process."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
