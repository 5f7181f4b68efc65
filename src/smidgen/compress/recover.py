"""Recovery: a quantized network learns from the network that it was, on texts (or pictures) without labels.

Weights, norms, biases, and scales that are stored as floats learn together, end to end, with straight-through gradients
(Bengio et al., 2013, arXiv 1308.3432); the aims are the answer of the whole network and what each of its blocks puts
out. A weight starts within the interval of its code, as near to what it was as that allows: a first step changes
nothing, and codes move when their interval is left. Scales that are stored in a byte stay as they are: rounding what
they learned would undo more than it brought. Embeddings, and weights that layers share, keep their codes.
"""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.compress.capture import quiet
from smidgen.compress.fake import FakeQuantized, learnable, put
from smidgen.compress.kept_results import RecoveryState
from smidgen.compress.layers import Layer, set_weight, weight_of
from smidgen.compress.subject import Subject, blocks
from smidgen.compress.work_folder import Key, WorkFolder
from smidgen.formats import rounding
from smidgen.formats.format import Quantized, as_matrix
from smidgen.kit.errors import bad

KEEP_BYTES = 256 << 20  # of what the teacher said, kept between epochs
PACE_STEPS = 3  # steps that are timed before their number is settled
FINE_SCALES = ("float32", "float16")  # how scales are stored that can learn


@dataclass(frozen=True, kw_only=True)
class RecoverySettings:
    """
    Attributes:
        rate: how far a step of Adam moves weights (and scales), in steps of the grid: what is rounded finely
            learns in small steps. other_rate: of norms and biases, as a share of their root mean square.
        warmup: steps. block_weight: of the blocks' errors beside that of the answer; each is relative.
        clip: largest norm of the gradient.
    """

    rate: float = 2e-3
    other_rate: float = 1e-3
    warmup: int = 10
    block_weight: float = 0.2
    clip: float = 1.0

    def __post_init__(self) -> None:
        if not self.rate > 0 or not self.other_rate >= 0:
            raise bad("rate", "above 0", self.rate)


@dataclass(frozen=True)
class Recovered:
    """The network with its norms and biases as learnt, floats; the quantized weights; steps made; losses of steps."""

    model: nn.Module
    weights: dict[Layer, Quantized]
    steps: int
    curve: list[float]


def recover(
    subject: Subject,
    start: Mapping[Layer, Quantized],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    settings: RecoverySettings | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    folder: WorkFolder | None = None,
    key: Key | None = None,
) -> Recovered:
    """Teaches for so many steps, or for as many as fit into the time (their number is settled after a few, so that the
    rate can fall to 0 in time; give it as `steps` to have the same again).

    folder: of the work, open: how far it is is kept there by this key from time to time, and it goes on from there.

    Raises:
        BadInput: neither steps nor seconds, or no batches to learn from.
    """
    settings = settings or RecoverySettings()
    if (steps is None) == (seconds is None):
        raise bad("length", "steps or seconds, one of them", {"steps": steps, "seconds": seconds})
    if not len(subject.learn):
        raise bad("calibration data", "at least one batch", "none")
    student = _student(subject.model, start)
    teacher = _Teacher(subject)
    groups = _groups(student, settings)
    if not groups:  # nothing but embeddings and weights that several layers share
        return Recovered(student.eval(), dict(start), 0, [])
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    rates = [g["lr"] for g in groups]
    generator = torch.Generator().manual_seed(seed)
    began, step, curve = time.perf_counter(), 0, []
    places = _endless(len(subject.learn), generator)
    learned = [p for g in groups for p in g["params"]]
    state = RecoveryState(folder or WorkFolder(None, ""), key or ["recovery"], learned, optimizer)
    if was := state.restore():
        step, steps, seconds, curve = was["step"], was["steps"], was["seconds"], was["curve"]
        began -= was["spent"]
        for _ in range(step):
            next(places)
    with quiet(student), _Watch(blocks(student)) as watch:
        while steps is None or step < steps:
            share = min(1.0, (step + 1) / settings.warmup) * (1 - (step / steps if steps else 0.0))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * share
            curve.append(_step(subject, student, teacher, watch, optimizer, next(places), settings))
            step += 1
            spent = time.perf_counter() - began
            if seconds is not None and step == PACE_STEPS:
                steps = max(step, int(seconds / max(spent / PACE_STEPS, 1e-9)))
            if seconds is not None and spent > 1.2 * seconds:
                steps = step  # the machine became slower than its first steps were
            if progress:
                progress(step, steps or 0, curve[-1])
            state.keep({"step": step, "steps": steps, "seconds": seconds, "curve": curve, "spent": spent})
    return _settled(student, start, step, curve)


def _step(
    subject: Subject, student: nn.Module, teacher: "_Teacher", watch: "_Watch", optimizer: Any, place: int, s: Any
) -> float:
    batch = subject.learn[place]
    wanted, inner = teacher(place)
    watch.seen.clear()
    loss = subject.distance(subject.answer(student, batch), wanted, batch)
    mask = subject.mask(batch)
    for said, goal in zip(watch.seen, inner, strict=True):
        loss = loss + s.block_weight * _relative(said, goal, mask)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], s.clip)
    optimizer.step()
    return float(loss.detach())


def _relative(said: Tensor, goal: Tensor, mask: Tensor | None) -> Tensor:
    """Squared error as a share of the goal's mean square; tokens that are padding do not count."""
    error, size = (said - goal) ** 2, goal**2
    if mask is not None and mask.shape == said.shape[: mask.dim()]:
        m = mask.reshape(*mask.shape, *[1] * (said.dim() - mask.dim())).to(said.dtype)
        error, size = error * m, size * m
    return error.sum() / size.sum().clamp(min=1e-12)


class _Watch:
    """What blocks put out, in order, while the `with` lasts."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.seen: list[Tensor] = []
        self.modules = modules

    def __enter__(self) -> "_Watch":
        def see(_: nn.Module, __: Any, out: Any) -> None:
            first = out[0] if isinstance(out, tuple | list) else out
            if isinstance(first, Tensor) and first.is_floating_point():
                self.seen.append(first)

        self.hooks = [m.register_forward_hook(see) for m in self.modules]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self.hooks:
            hook.remove()


class _Teacher:
    """Answers and block outputs of the network as it is; kept where they fit into the memory allowed."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.kept, self.bytes = subject, {}, 0

    @torch.no_grad()
    def __call__(self, place: int) -> tuple[Tensor, list[Tensor]]:
        if place in self.kept:
            return self.kept[place]
        model = self.subject.model
        with quiet(model), _Watch(blocks(model)) as watch:
            answer = self.subject.answer(model, self.subject.learn[place])
        made = (answer, list(watch.seen))
        size = sum(t.numel() * t.element_size() for t in (answer, *watch.seen))
        if self.bytes + size <= KEEP_BYTES:
            self.kept[place] = made
            self.bytes += size
        return made


def _student(model: nn.Module, start: Mapping[Layer, Quantized]) -> nn.Module:
    made = copy.deepcopy(model).float().requires_grad_(False)
    for layer, quantized in start.items():
        if layer.kind == "embedding" or layer.others:
            set_weight(made, layer, quantized.dequantize())
            continue
        module: Any = made.get_submodule(layer.name)
        own = weight_of(model, layer)
        fake = FakeQuantized.resume(module, quantized, within(own, quantized), transposed=layer.transposed)
        put(made, layer.name, fake)
    return made


def within(weight: Tensor, quantized: Quantized) -> Tensor:
    """The weight, moved as little as it takes to be rounded to these codes; in its own shape."""
    grid, scaled = quantized.format.levels, quantized.scaled
    s, o = scaled.spread()
    at = rounding.values(quantized.codes, grid)
    levels = torch.from_numpy(grid.levels).to(at)
    place = torch.searchsorted(levels, at.contiguous())
    edges = torch.from_numpy(grid.borders).to(at)
    ends = torch.cat([levels[:1] * 0 - torch.inf, edges, levels[:1] * 0 + torch.inf])
    margin = 0.02 * torch.cat([levels[1:] - levels[:-1], levels[-1:] - levels[-2:-1]])[place]
    low, high = ends[place] + margin, ends[place + 1] - margin
    units = scaled.units(as_matrix(weight)).clamp(float(levels[0]), float(levels[-1]))
    units = torch.minimum(torch.maximum(units, low), high)
    back = units * s
    return (back if o is None else back + o).reshape(weight.shape)


def _groups(student: nn.Module, settings: RecoverySettings) -> list[dict[str, Any]]:
    """One for each tensor that is learned, its rate relative to its size."""
    groups, inside = [], set()
    for fake in learnable(student).values():
        weight: Any = fake.layer.weight
        levels = fake.format.levels.levels
        gap = float(levels[-1] - levels[0]) / max(len(levels) - 1, 1)  # of a grid in its own units, on the mean
        step = settings.rate * gap * float(fake.scales.detach().abs().mean())
        parts = [(weight, step), (fake.scales, step / max(fake.format.levels.largest, 1.0))]
        for p, rate in [*parts, *([] if fake.offsets is None else [(fake.offsets, step)])]:
            inside.add(id(p))
            learns = p is weight or fake.format.scales in FINE_SCALES
            p.requires_grad_(learns)
            if learns:
                groups.append({"params": [p], "lr": rate})
    if settings.other_rate:
        for module in student.modules():
            for p in module.parameters(recurse=False):
                small = p.dim() <= 1 and p.is_floating_point()
                if id(p) not in inside and small and not isinstance(module, FakeQuantized) and _kept(student, p):
                    groups.append({"params": [p.requires_grad_()], "lr": settings.other_rate * _size(p)})
                    inside.add(id(p))
    return groups


def _kept(student: nn.Module, parameter: Tensor) -> bool:
    """Not a bias that only the fake layer has."""
    return all(parameter is not f.bias or f.had_bias for f in learnable(student).values())


def _size(p: Tensor) -> float:
    return max(float(p.detach().square().mean().sqrt()), 1e-3)


def _endless(n: int, generator: torch.Generator) -> Iterator[int]:
    """Places of batches, each once in an epoch, in a new order every time."""
    while True:
        yield from torch.randperm(n, generator=generator).tolist()


def _settled(student: nn.Module, start: Mapping[Layer, Quantized], steps: int, curve: list[float]) -> Recovered:
    weights = dict(start)
    for layer in start:
        fake: Any = student.get_submodule(layer.name)
        if not isinstance(fake, FakeQuantized):
            continue
        if fake.format.scales in FINE_SCALES:
            fake.settle()
        weights[layer] = fake.quantized()
        put(student, layer.name, fake.without_rounding())
        set_weight(student, layer, weights[layer].dequantize())
    return Recovered(student.requires_grad_(False).eval(), weights, steps, curve)
