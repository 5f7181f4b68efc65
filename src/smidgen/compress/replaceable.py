"""Which layers may be exchanged for packed ones: those that compute what their kind does, and that the network only
calls. A network that reads the weight of a layer by itself, a layer with a forward pass of its own, a weight that is
computed from others (weight norm): these are kept as they are, and named.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from smidgen.nets.packable import Kind, kind_of

READ = "weight_is_read"  # attribute of a module, put there by `keep_what_is_read`
_SAID = ("in_features", "out_features", "num_embeddings", "embedding_dim", "padding_idx", "bias")


def replaceable(module: nn.Module) -> Kind | None:
    """The kind of a layer that may be exchanged; None: it is kept."""
    kind = kind_of(module)
    own = isinstance(module._parameters.get("weight"), nn.Parameter)
    # torch's attention reads the weight of its last layer, which has this class for that reason
    if kind is None or not own or getattr(module, READ, False) or type(module) is NonDynamicallyQuantizableLinear:
        return None
    base = next(c for c in type(module).__mro__ if c.__module__.startswith(("torch.nn.", "transformers.pytorch_utils")))
    return kind if type(module).forward is base.forward or _same(module, kind) else None


@torch.no_grad()
def keep_what_is_read(model: nn.Module, run: Callable[[], Any]) -> list[str]:
    """Marks the layers whose weight the network reads, rather than to call the layer, so that `replaceable` leaves
    them; gives their names.

    Args:
        model: of one's own, it is marked in place. run: one pass through it.
    """
    names = [n for n, module in model.named_modules() if replaceable(module) is not None]
    if _runs(model, names, run):
        return []
    found = [n for n in names if not _runs(model, [n], run)]
    for name in found:
        setattr(model.get_submodule(name), READ, True)
    return found


def _runs(model: nn.Module, names: list[str], run: Callable[[], Any]) -> bool:
    """Whether the network runs when these layers can only be called."""
    real = {name: model.get_submodule(name) for name in names}
    _put(model, {name: _Called(module) for name, module in real.items()})
    try:
        with suppress(AttributeError, TypeError):  # of what is no tensor where one was read
            run()
            return True
        return False
    finally:
        _put(model, real)


class _Called(nn.Module):
    """A layer as a packed one stands in its place: it has no weight that is a tensor."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.weight = nn.Module()
        for name in _SAID:
            if hasattr(module, name):
                setattr(self, name, getattr(module, name))
        self.own = [module]

    def forward(self, x: Tensor) -> Tensor:  # packed layers take one argument
        return self.own[0](x)


def _put(model: nn.Module, modules: dict[str, nn.Module]) -> None:
    for name, module in modules.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent) if parent else model, last, module)


@torch.no_grad()
def _same(module: nn.Module, kind: Kind) -> bool:
    """Whether a layer with a forward pass of its own says what its kind says."""
    weight: Any = module.weight
    try:
        if kind == "embedding":
            x = torch.arange(min(8, len(weight)), device=weight.device)
            wanted = weight[x]
        elif kind == "linear":
            x = torch.linspace(-1, 1, 2 * weight.shape[1], device=weight.device, dtype=weight.dtype).reshape(2, -1)
            wanted = nn.functional.linear(x, weight, module.bias)  # type: ignore[arg-type]
        else:
            return False
        torch.testing.assert_close(module(x), wanted, rtol=1e-3, atol=1e-5)
    except Exception:  # whatever it says or wants instead, it is another layer
        return False
    return True
