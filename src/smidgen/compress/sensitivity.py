"""What each layer suffers under each option: one layer is exchanged, and the loss of the whole network measured.

The base is a network whose layers are all at the best option; candidates are networks of the same names at others
(fake-quantized, packed or plain). Loss increases of few samples are noisy: they are averaged over batches, and cut
from below (CalibTIP; Hubara et al., 2020, arXiv 2006.10518, section 4).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smidgen.compress.allocate import Choice
from smidgen.compress.capture import Batches, answer, call
from smidgen.compress.fake import FakeQuantized, FixedWeight
from smidgen.compress.walk import evaluating
from smidgen.kit.errors import bad

if TYPE_CHECKING:
    import pandas as pd

FLOOR = 1e-6  # of the loss increase of a lower precision
FULL_BITS = 32

Distance = Literal["kl", "mse"]
Loss = Callable[[nn.Module], float]


def distance(said: Tensor, wanted: Tensor, kind: Distance) -> Tensor:
    """How far an answer lies from the one that was wanted: KL divergence of the classes' probabilities (of the last
    axis; nats a sample), or the mean squared difference.

    Raises:
        BadInput: another kind.
    """
    if kind == "kl":
        p, q = F.log_softmax(wanted.flatten(0, -2), -1), F.log_softmax(said.flatten(0, -2), -1)
        return F.kl_div(q, p, reduction="batchmean", log_target=True)
    if kind == "mse":
        return (said - wanted).square().mean()
    raise bad("distance", "kl or mse", kind)


@torch.no_grad()
def loss_to(teacher: nn.Module, batches: Batches, kind: Distance = "kl") -> Loss:
    """A loss without labels: how far a network's answers lie from the teacher's, mean over batches."""
    with evaluating(teacher):
        wanted = [answer(teacher, b) for b in batches]

    @torch.no_grad()
    def measure(model: nn.Module) -> float:
        with evaluating(model):
            pairs = zip(batches, wanted, strict=True)
            return float(sum(distance(answer(model, b), w, kind) for b, w in pairs)) / max(len(wanted), 1)

    return measure


def sensitivity(
    base: nn.Module, candidates: Mapping[str, nn.Module], loss: Loss, *, of: str, layers: Sequence[str] | None = None
) -> "pd.DataFrame":
    """A row for each layer and option: layer, option, bytes, bits, loss, delta_loss.

    Args:
        candidates: by option. of: the option that the base itself has; its rows have a delta_loss of 0.
        layers: names; None: all quantized layers of the base, of which those with a shared weight go together.
    """
    import pandas as pd

    names = _groups(base) if layers is None else [(n,) for n in layers]
    start = loss(base)
    rows = []
    for own in names:
        rows.append(_row(base, own, of, start, 0.0))
        for option, other in candidates.items():
            with exchanged(base, other, own):
                now = loss(base)
            rows.append(_row(other, own, option, now, max(now - start, FLOOR)))
    return pd.DataFrame(rows)


def choices(
    table: "pd.DataFrame", cost: Literal["bytes", "bops"] = "bytes", macs: Mapping[str, int] | None = None
) -> list[Choice]:
    """The rows of `sensitivity` as choices of `allocate`.

    Args:
        cost: what the limit is of: bytes, or bit operations (multiplications times the bits of weights and of inputs).
        macs: multiplications of each layer (`multiplications`), for bit operations.
    """
    made = []
    for row in table.itertuples(index=False):
        size: int = int(row.bytes)  # type: ignore[arg-type]
        if cost == "bops":
            size = int((macs or {}).get(row.layer, 0) * row.bits * row.input_bits)  # type: ignore
        elif cost != "bytes":
            raise bad("cost", "bytes or bops", cost)
        made.append(Choice(str(row.layer), str(row.option), size, float(row.delta_loss)))  # type: ignore[arg-type]
    return made


@torch.no_grad()
def multiplications(model: nn.Module, batch: object) -> dict[str, int]:
    """Of each linear layer and convolution, for all samples of a batch together."""
    found: dict[str, int] = {}
    handles = []
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(module, FakeQuantized) and (not isinstance(weight, nn.Parameter) or weight.dim() < 2):
            continue
        if isinstance(module, nn.Embedding) or name.endswith(".layer"):
            continue

        def see(m: nn.Module, args: tuple, out: Tensor, name: str = name) -> None:
            inner = m.layer if isinstance(m, FakeQuantized) else m
            w: Tensor = inner.weight  # type: ignore[assignment]
            if w.dim() > 2:  # each output of a convolution sums over a kernel; each input of a transposed one meets one
                turned = type(inner).__name__.startswith("ConvTranspose")
                count = (args[0] if turned else out).numel() * w[0].numel()
            else:
                count = out.numel() * args[0].shape[-1]
            found[name] = found.get(name, 0) + int(count)

        handles.append(module.register_forward_hook(see))
    try:
        with evaluating(model):
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def exchanged(model: nn.Module, other: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    """A block in which these layers of the model are those of the other network."""
    own = {n: model.get_submodule(n) for n in names}
    try:
        for n in names:
            model.set_submodule(n, other.get_submodule(n))
        yield model
    finally:
        for n, module in own.items():
            model.set_submodule(n, module)


def mixed(base: nn.Module, candidates: Mapping[str, nn.Module], options: Mapping[str, str]) -> nn.Module:
    """A copy of the base with each layer from the candidate of its option; the base's own where that is none."""
    import copy

    made = copy.deepcopy(base)
    for own in _groups(base):
        option = next((options[n] for n in own if n in options), None)
        if option is not None and option in candidates:
            new = copy.deepcopy([candidates[option].get_submodule(n) for n in own])  # at once: they may share a weight
            for n, module in zip(own, new, strict=True):
                made.set_submodule(n, module)
    return made


def _groups(model: nn.Module) -> list[tuple[str, ...]]:
    """Quantized layers; those with one shared weight together."""
    found: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, FakeQuantized):
            found.setdefault(id(module), []).append(name)
        elif isinstance(module, FixedWeight):
            found.setdefault(id(module.value), []).append(name)
    return [tuple(own) for own in found.values()]


def _row(model: nn.Module, names: Sequence[str], option: str, loss: float, delta: float) -> dict:
    parts = [model.get_submodule(n) for n in names]
    first = parts[0] if isinstance(parts[0], FakeQuantized | FixedWeight) else None
    return {
        "layer": names[0],
        "option": option,
        "bytes": sum(_bytes(p) for p in parts),
        "bits": first.format.bits if first else FULL_BITS,
        "input_bits": (first.input_bits if isinstance(first, FakeQuantized) else None) or FULL_BITS,
        "loss": loss,
        "delta_loss": delta,
    }


def _bytes(module: nn.Module) -> int:
    if isinstance(module, FakeQuantized | FixedWeight):
        return module.bytes()
    return sum(v.numel() * v.element_size() for v in module.state_dict().values())
