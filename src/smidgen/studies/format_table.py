"""What each number format does to weights, activations, gradients and optimizer moments of a model, part by part.

A copy of the model is trained for a few steps in float32, then all tensors of one step are rounded to each format. The
numbers say what is lost before any training goes wrong: signal to noise, what becomes 0, what shrinks on average.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from smidgen.kit.errors import BadInput, bad
from smidgen.kit.seeds import derive_seed
from smidgen.train.low_precision.layers import covered
from smidgen.train.low_precision.number import Number
from smidgen.train.low_precision.policy import StateFormat

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("weights", "activations", "act_grads", "weight_grads", "first moment", "second moment")
FORMATS = (
    "float16",
    "bfloat16",
    "posit16e1",
    "fixed4.12",
    "e4m3fn/tensor",
    "e5m2ieee/tensor",
    "int8/tensor",
    "int8/64",
    "e4m3fn/32/e8m0",
    "dynamic8/256",
    "linear8/256",
    "e2m1/32/e8m0",
    "nf4/64",
    "int4/64",
    "int2/64",
    "ternary/64",
    "int1/64",
)
MOST = 100_000  # numbers of a tensor that are looked at
MEASURED = ("bits", "sqnr", "zeroed", "shrink")


def format_table(
    model: nn.Module,
    loss_of: Callable[..., tuple[Tensor, int]],
    batches: Callable[[int], tuple[Any, ...]],
    formats: Sequence[str] = FORMATS,
    *,
    roundings: Sequence[str] = ("nearest",),
    steps: int = 20,
    lr: float = 1e-3,
    skip: tuple[str, ...] = (),
    seed: int = 0,
) -> "pd.DataFrame":
    """A row for each tensor, format and rounding.

    Args:
        loss_of, batches: as of `train.loop.train`. formats: names of numbers, and of block-wise states ("dynamic8"),
            which are for any part here. steps: of Adam before what is looked at. skip: parts of names of layers.
    Returns:
        `part` (one of `PARTS`), `tensor` (name of the layer), `format`, `rounding`, `bits` (a number, with its scales),
        `sqnr` (dB), `zeroed` (share of numbers other than 0 that become 0), `shrink` (mean loss of magnitude, as a
        share: what a biased rounding takes). NaN where a format cannot hold the tensor.
    Raises:
        BadInput: no layers, no steps, or an unknown format.
    """
    import pandas as pd

    if steps < 1:
        raise bad("steps", "at least 1", steps)
    found = tensors_of_a_step(model, loss_of, batches, steps=steps, lr=lr, skip=skip)
    rows = []
    for (part, name), x in found.items():
        x = _some(x, derive_seed(seed, part, name))
        for format in formats:
            for mode in roundings:
                with torch.random.fork_rng():
                    torch.manual_seed(derive_seed(seed, part, name, format, mode))
                    row = effect(x, format, mode, signed=part != "second moment")
                rows.append({"part": part, "tensor": name, "format": format, "rounding": mode, **row})
    return pd.DataFrame(rows, columns=pd.Index(["part", "tensor", "format", "rounding", *MEASURED]))


def summary(table: "pd.DataFrame", value: str = "sqnr") -> "pd.DataFrame":
    """Medians over tensors: a row a format (and rounding), a column a part."""
    index = ["format", "rounding"] if len(set(table["rounding"])) > 1 else ["format"]
    wide: Any = table.pivot_table(index=index, columns="part", values=value, aggfunc="median", sort=False)
    return wide[[p for p in PARTS if p in wide.columns]]


def effect(x: Tensor, format: str, mode: Any = "nearest", *, signed: bool = True) -> dict[str, float]:
    """`MEASURED` of one tensor in one format. Where a format has no codes below 0 to spare for numbers that are never
    below, its unsigned kind is taken (int8: uint8)."""
    rounded, size = _rounded(x, format, mode, signed)
    x = x.double()
    bits = 8 * size / x.numel()
    if not bool(torch.isfinite(rounded).all()):
        return {"bits": bits, "sqnr": math.nan, "zeroed": math.nan, "shrink": math.nan}
    noise, power = float((x - rounded).square().sum()), float(x.square().sum())
    some = x != 0
    count = max(int(some.sum()), 1)
    return {
        "bits": bits,
        "sqnr": 10 * math.log10(power / noise) if noise and power else math.inf,
        "zeroed": float((some & (rounded == 0)).sum()) / count,
        "shrink": 1 - float((rounded * x.sign()).sum() / x.abs().sum().clamp(min=1e-300)),
    }


def tensors_of_a_step(
    model: nn.Module,
    loss_of: Callable[..., tuple[Tensor, int]],
    batches: Callable[[int], tuple[Any, ...]],
    *,
    steps: int,
    lr: float,
    skip: tuple[str, ...] = (),
) -> dict[tuple[str, str], Tensor]:
    """By part and layer, of the last of so many steps of Adam; the model stays as it is."""
    model = copy.deepcopy(model).train()
    names = covered(model, skip)
    if not names:
        raise bad("model", "at least one linear layer or convolution", "none")
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    found: dict[tuple[str, str], Tensor] = {}
    handles: list[Any] = []
    for step in range(steps):
        if step == steps - 1:
            handles = [model.get_submodule(n).register_forward_hook(_watch(n, found)) for n in names]
        loss, count = loss_of(model, *batches(step))
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    for handle in handles:
        handle.remove()
    for name in names:
        weight: Any = model.get_submodule(name).weight
        state = optimizer.state.get(weight, {})
        if weight.grad is None or ("activations", name) not in found:
            raise BadInput(f"Layer {name} took no part in the loss: skip it.")
        found["weights", name] = weight.detach()
        found["weight_grads", name] = weight.grad.detach()
        found["first moment", name], found["second moment", name] = state["exp_avg"], state["exp_avg_sq"]
    return {(part, n): found[part, n] for part in PARTS for n in names}


def _watch(name: str, found: dict[tuple[str, str], Tensor]) -> Callable[..., None]:
    def hook(_: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        found["activations", name] = args[0].detach().clone()
        out.register_hook(lambda grad: found.__setitem__(("act_grads", name), grad.detach().clone()))

    return hook


def _some(x: Tensor, seed: int) -> Tensor:
    """Whole rows, so many as are looked at."""
    x = x.reshape(len(x), -1) if x.dim() > 1 else x.reshape(1, -1)
    rows = max(1, MOST // x.shape[1])
    if len(x) > rows:
        x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:rows]]
    return x.float()


def _rounded(x: Tensor, format: str, mode: Any, signed: bool) -> tuple[Tensor, int]:
    if format.startswith(("dynamic8", "linear8")):
        kept = StateFormat.parse(format, signed=signed).blockwise(x.numel())
        return kept.decode(kept.encode(x)).double(), kept.bytes(x.numel())
    number = Number.parse(f"u{format}" if not signed and format.startswith("int") and format[3] != "1" else format)
    return number.round(x, mode).double(), number.bytes(tuple(x.shape))
