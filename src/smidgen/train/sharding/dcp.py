"""To torch.distributed.checkpoint and back: for what other programs train on with, or have trained.

Our own checkpoints are read by one process or many (`reading`); a model and optimizer that have taken one up are
written here as PyTorch's own tools expect them: whole tensors under their full names, which any number of ranks of FSDP
reads.
"""

import copy
import warnings
from pathlib import Path

from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer

from smidgen.kit.errors import BadInput
from smidgen.kit.files import new_folder


def write(model: nn.Module, optimizer: Optimizer, folder: Path | str) -> None:
    """Writes the weights and the optimizer's state of one process as a new folder, whole or not at all."""
    weights, state = get_state_dict(model, optimizer)
    with new_folder(Path(folder)) as made, _quiet():
        save({"model": weights, "optimizer": state}, checkpoint_id=str(made), no_dist=True)


def read(model: nn.Module, optimizer: Optimizer, folder: Path | str) -> None:
    """Takes up what `write`, or `torch.distributed.checkpoint.save` of the same names, wrote.

    Raises:
        BadInput: there is no such checkpoint, it is damaged, or of another model.
    """
    if not (Path(folder) / ".metadata").is_file():
        raise BadInput(f"{folder}: there is no checkpoint of torch.distributed in it.")
    weights, state = get_state_dict(model, optimizer)
    found = copy.deepcopy({"model": weights, "optimizer": state})  # is read into; these are the model's own
    try:
        with _quiet():
            load(found, checkpoint_id=str(folder), no_dist=True)
    except (CheckpointException, RuntimeError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} is damaged, or the checkpoint of another model ({str(error)[:120]}).") from None
    set_state_dict(model, optimizer, model_state_dict=found["model"], optim_state_dict=found["optimizer"])


def _quiet() -> warnings.catch_warnings:
    """Without the advice that there is only one process."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)
