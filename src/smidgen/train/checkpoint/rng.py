"""The states of all random generators that a training loop may draw from, as data."""

import random
from typing import Any

import numpy as np
import torch


def rng_state() -> dict[str, Any]:
    """Of torch (CPU and each GPU), numpy's and Python's global generators."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, keys, *rest),
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Puts back what `rng_state` took; states of GPUs that are not here are left out."""
    torch.set_rng_state(state["torch"].cpu())
    for device, value in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(value.cpu(), device)
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
