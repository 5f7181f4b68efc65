"""Rows of the view "picture" as the tensors that networks read, and weights of networks as plain arrays."""

from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad


def edge_of(columns: int) -> int:
    """The edge of square pictures of three colours whose pixels are so many columns. Raises BadInput: they are none."""
    edge = round((columns / 3) ** 0.5)
    if 3 * edge * edge != columns or edge < 8:
        raise bad("X", "rows of square pictures, edge x edge x 3 values of 0 to 255 (edge 8 or more)", columns)
    return edge


def without_colour(X: np.ndarray) -> bool:
    """Whether all pictures are grey: their three channels are equal."""
    x = X.reshape(len(X), -1, 3)
    return bool((x == x[:, :, :1]).all())


def as_tensor(X: np.ndarray, grey: bool) -> Any:
    """float32 `[n, 1 or 3, edge, edge]` in 0 to 1. grey: colours are averaged."""
    import torch

    edge = edge_of(X.shape[1])
    x = np.clip(X.reshape(len(X), edge, edge, 3), 0, 255).transpose(0, 3, 1, 2) / 255
    x = x.mean(1, keepdims=True) if grey else x
    return torch.from_numpy(np.ascontiguousarray(x, np.float32))


def arrays_of(net: Any) -> dict[str, np.ndarray]:
    """The weights of a network by name, as the state of an estimator holds them."""
    return {name: value.detach().cpu().numpy().copy() for name, value in net.state_dict().items()}


def load_arrays(net: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The network with these weights, ready to answer. Raises BadInput: they are another network's."""
    import torch

    try:
        net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
    except RuntimeError as error:
        raise BadInput(f"The weights of this model do not fit it ({error}): the folder is damaged.") from None
    return net.eval().requires_grad_(False)
