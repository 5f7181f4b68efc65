"""A network made to fit: the mix of formats, the rounding that looks at data, recovery, and the choice among them.

1. Layers are weighed, options forecast (`options`), the best mix found (`allocate`).
2. The mix and every uniform width of at most that size are rounded (GPTQ where there are calibration data), and
   measured: the forecast is never taken for the truth.
3. The better one learns for the time that is left (`recover`), and is kept as it was where that did not help.
What is measured to choose, and what the result is judged by, are different batches.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from smidgen.compress import options
from smidgen.compress.allocate import Choice, Infeasible, best_mix, frontier
from smidgen.compress.gptq import gptq
from smidgen.compress.inputs import Inputs
from smidgen.compress.kept_results import inputs_of, quantized_once
from smidgen.compress.layers import Layer, find, kept, pack, set_weight, swap, weight_of
from smidgen.compress.recover import RecoverySettings, recover
from smidgen.compress.subject import Subject
from smidgen.compress.walk import MOST_BYTES, portions, walk
from smidgen.compress.work_folder import Key, WorkFolder
from smidgen.formats.format import Format, Quantized
from smidgen.kit.errors import BadInput, bad

REFINE = 1  # rounds of refinement after GPTQ; more bring little
WEIGH_ON = 2  # batches that layers are weighed on
LEAST_RECOVERY = 5.0  # seconds below which recovery is not begun
SHARE = 0.9  # of the time left that recovery is given
Mixture = dict[str, str]  # of each layer its option
Tell = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One of them.

    Attributes:
        bytes: of all that is saved. bits: a number of the quantized layers, scales included, on the mean. loss: what
            may be lost at most, in the subject's unit.
    """

    bytes: int | None = None
    bits: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        given = {k: v for k, v in (("bytes", self.bytes), ("bits", self.bits), ("loss", self.loss)) if v is not None}
        if len(given) != 1:
            raise bad("limit", "one of size, bits and max-loss", given or "none")
        if not next(iter(given.values())) > 0:
            raise bad(next(iter(given)), "above 0", next(iter(given.values())))


@dataclass
class Tried:
    """A mix that was rounded and measured: what it is called, its options, bytes of all, loss on the batches that
    choose; recovered: after recovery."""

    name: str
    mixture: Mixture
    bytes: int
    loss: float
    recovered: bool = False


@dataclass
class Fitted:
    """
    Attributes:
        model: packed, for use. weights: by layer, quantized; None: kept as float16.
        mixture, bytes: of what was chosen. before, after: loss on the batches that judge.
        tried: all that was measured. curve: forecast (bytes, loss) of the best mixes of all sizes.
        forecast: the summed loss that the chosen mix was forecast.
    """

    model: nn.Module
    weights: dict[Layer, Quantized | None]
    mixture: Mixture
    bytes: int
    before: float
    after: float
    tried: list[Tried]
    curve: list[tuple[int, float]]
    forecast: float
    layers: list[Layer]
    kept: list[str]
    recovery_steps: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Outlook:
    """What is known before anything is rounded: layers, what they see, options, and how bytes of a mix are counted."""

    layers: list[Layer]
    inputs: dict[Layer, Inputs]
    choices: list[Choice]
    size: Callable[[Mixture], int]
    uniforms: list[tuple[str, Mixture, int]]

    @property
    def smallest(self) -> int:
        """Bytes of all in the smallest mix."""
        least: dict[str, Choice] = {}
        for c in self.choices:
            if c.layer not in least or c.bytes < least[c.layer].bytes:
                least[c.layer] = c
        return self.size({name: c.option for name, c in least.items()})


def outlook(
    subject: Subject,
    size: Callable[[Mixture], int],
    tell: Tell = lambda *_: None,
    where: Callable[[Layer], bool] = lambda layer: True,
    folder: WorkFolder | None = None,
) -> Outlook:
    """Weighs the layers. `size`: of a mix the bytes of all that is saved. `where`: layers that may be quantized.
    `folder`: of the work, open; default: nothing is kept."""
    folder = folder or WorkFolder(None, "")
    layers = [layer for layer in find(subject.model) if where(layer)]
    if not layers:
        raise BadInput("The model has no layer that can be quantized: no linear layer, embedding or convolution.")
    inputs: dict[Layer, Inputs] = {}
    if len(subject.learn):
        folder.agrees(["answer"], subject.answers(subject.learn[:1])[0])
        tell("reading the calibration data", 0.0)
        for some in portions(subject.model, layers, MOST_BYTES):
            inputs |= inputs_of(
                folder, some,
                lambda some=some: walk(subject.model, subject.learn, subject.answer, layers=some, mask=subject.mask),
            )  # fmt: skip
        harm = options.harms(
            subject, layers, list(subject.learn)[:: max(1, len(subject.learn) // WEIGH_ON)][:WEIGH_ON],
            lambda i, n: tell("weighing layers", i / n),
            lambda layer, make: folder.value(["harm", layer.name], make),
        )  # fmt: skip
    else:
        harm = {layer: float(weight_of(subject.model, layer).square().sum()) for layer in layers}
        harm = {layer: h / max(harm.values()) for layer, h in harm.items()}
    weights = {layer: weight_of(subject.model, layer) for layer in layers}
    made = []
    for layer in layers:
        found = folder.value(
            ["options", layer.name],
            lambda layer=layer: [[c.option, c.bytes, c.loss] for c in options.choices([layer], weights, inputs, harm)],
        )
        made += [Choice(layer.name, *c) for c in found]
    uniforms = []
    for bits in (*options.WIDTHS, 8):
        for format in options.uniform(bits):
            mixture = {layer.name: format.name for layer in layers}
            uniforms.append((f"{bits} bits, groups of {format.group}", mixture, size(mixture)))
    return Outlook(layers, inputs, made, size, uniforms)


def fit(
    subject: Subject,
    limit: Limit,
    size: Callable[[Mixture], int],
    *,
    seconds: float = 300.0,
    recovery_steps: int | None = None,
    settings: RecoverySettings | None = None,
    seed: int = 0,
    tell: Tell = lambda *_: None,
    seen: Outlook | None = None,
    folder: WorkFolder | None = None,
) -> Fitted:
    """The network within the limit, with the least loss that the time allows.

    Args:
        seconds: of wall time; rounding is always finished, recovery takes what is left.
        recovery_steps: in place of the time that is left.
        folder: of the work, open: what lies there is not worked out again. Default: nothing is kept.

    Raises:
        Infeasible: the limit is below what any mix reaches; it names the smallest.
        BadInput: see `layers.find`.
    """
    began = time.perf_counter()
    folder = folder or WorkFolder(None, "")
    seen = seen or outlook(subject, size, tell, folder=folder)
    work = _Work(subject, seen, tell, folder)
    if limit.loss is not None:
        chosen = _within_loss(work, limit.loss, began + 0.6 * seconds if recovery_steps is None else math.inf)
    else:
        most = limit.bytes if limit.bytes is not None else bytes_of_bits(seen, limit.bits or 0.0)
        chosen = _within_bytes(work, most)
    result = work.fitted(chosen)
    left = seconds - (time.perf_counter() - began)
    key = ["recovery", chosen.mixture, recovery_steps, seed, repr(settings)]
    timed = recovery_steps is None and (left > LEAST_RECOVERY or key in folder)  # what was begun is ended
    if len(subject.learn) and (recovery_steps or timed):
        work.recover(result, chosen, recovery_steps, SHARE * left, settings, seed, key)
    elif len(subject.learn):
        result.notes.append("No time was left to let the network recover: --time gives it more.")
    return result


class _Work:
    """Rounds and measures mixes, each layer in each format once."""

    def __init__(self, subject: Subject, seen: Outlook, tell: Tell, folder: WorkFolder) -> None:
        self.subject, self.seen, self.tell, self.folder = subject, seen, tell, folder
        self.kept: dict[tuple[str, str], Quantized] = {}
        self.own = {layer: weight_of(subject.model, layer) for layer in seen.layers}
        self.model = copy.deepcopy(subject.model)
        self.tried: list[Tried] = []
        self.wanted = subject.answers(subject.choose)

    def rounded(self, layer: Layer, option: str) -> Quantized | None:
        """None: kept as it is."""
        if option == options.KEPT:
            return None
        key = (layer.name, option)
        if key not in self.kept:
            format, weight = Format.parse(option), self.own[layer]
            self.kept[key] = quantized_once(
                self.folder, ["rounded", *key], weight, format, lambda: self._round(layer, format, weight)
            )
        return self.kept[key]

    def _round(self, layer: Layer, format: Format, weight: Tensor) -> Quantized:
        inputs = self.seen.inputs.get(layer)
        if inputs is None or inputs.hessian is None or not inputs.rows:
            return format.quantize(weight, search="mse")
        return gptq(weight, inputs.hessian, format, refine=REFINE if format.levels.bits < 5 else 0)

    def measure(self, name: str, mixture: Mixture) -> Tried:
        """Rounds the network so, and measures it on the batches that choose."""
        for tried in self.tried:
            if tried.mixture == mixture:
                return tried
        for i, layer in enumerate(self.seen.layers):
            quantized = self.rounded(layer, mixture[layer.name])
            weight = self.own[layer].half().float() if quantized is None else quantized.dequantize()
            set_weight(self.model, layer, weight)
            self.tell(f"rounding: {name}", (i + 1) / len(self.seen.layers))
        loss = self.folder.value(["measured", mixture], self._distance) if self.wanted else float("nan")
        made = Tried(name, dict(mixture), self.seen.size(mixture), loss)
        self.tried.append(made)
        return made

    def _distance(self) -> float:
        return self.subject.distances(self.model, self.subject.choose, self.wanted)

    def fitted(self, chosen: Tried) -> Fitted:
        """The packed network of a mix, judged."""
        weights = {layer: self.rounded(layer, chosen.mixture[layer.name]) for layer in self.seen.layers}
        subject = self.subject
        model = packed(subject.model, weights)
        before = subject.loss(subject.model, subject.check)
        after = subject.loss(model, subject.check)
        forecast = sum(c.loss for c in self.seen.choices if chosen.mixture[c.layer] == c.option)
        curve = [(self.seen.size(m.options), m.loss) for m in frontier(self.seen.choices, 16)]
        return Fitted(
            model, weights, chosen.mixture, chosen.bytes, before, after, self.tried, curve, forecast,
            self.seen.layers, kept(subject.model),
        )  # fmt: skip

    def recover(
        self, result: Fitted, chosen: Tried, steps: int | None, seconds: float, settings: Any, seed: int, key: Key
    ) -> None:
        """Lets the network learn; keeps what came of it where that is better on the batches that choose."""
        subject = self.subject
        start = {layer: q for layer, q in result.weights.items() if q is not None}
        if not start:
            return
        made = recover(
            subject, start, steps=steps, seconds=None if steps else seconds, settings=settings, seed=seed,
            progress=lambda i, n, loss: self.tell(f"recovering, loss {loss:.4g}", i / max(n, i)),
            folder=self.folder, key=key,
        )  # fmt: skip
        if not made.steps:
            result.notes.append("Nothing was left to recover: all that is quantized are embeddings and shared weights.")
            return
        loss = subject.distances(made.model, subject.choose, self.wanted)
        self.tried.append(Tried(f"{chosen.name}, recovered", chosen.mixture, chosen.bytes, loss, recovered=True))
        weights = {layer: made.weights.get(layer) for layer in result.weights}
        result.recovery_steps = made.steps
        if not loss < chosen.loss:
            result.notes.append(f"Recovery ({made.steps} steps) did not help and was undone.")
            return
        result.model, result.weights = packed(made.model, weights), weights
        result.after = subject.loss(result.model, subject.check)


def packed(model: nn.Module, weights: Mapping[Layer, Quantized | None]) -> nn.Module:
    """A copy of a network with these packed weights; what is kept is rounded to float16, as it is saved."""
    made = copy.deepcopy(model)
    for layer, quantized in weights.items():
        if quantized is None:
            set_weight(made, layer, weight_of(made, layer).half().float())
        else:
            swap(made, layer, pack(layer, quantized))
    return made.eval()


def _within_bytes(work: _Work, most: int) -> Tried:
    mix = mix_within(work.seen, most)
    found = [work.measure("mixed", mix)]
    found += [work.measure(name, mixture) for name, mixture in best_uniform(work.seen, most)]
    return min(found, key=lambda t: (t.loss if t.loss == t.loss else 0.0, -t.bytes))


def mix_within(seen: Outlook, most: int) -> Mixture:
    """The mix of least forecast loss whose saved bytes are within the limit, exactly.

    Raises:
        Infeasible: there is none.
    """
    if seen.smallest > most:
        raise Infeasible(too_small(seen, most), seen.smallest)
    beside = seen.smallest - min_bytes(seen.choices)  # what is saved beside the layers: it hardly depends on the mix
    return best_within(seen.choices, seen.size, most, most - beside)


def best_within(choices: Sequence[Choice], size: Callable[[Mixture], int], most: int, budget: int) -> Mixture:
    """The mix of least forecast loss whose `size`, of all that is saved, is within the limit; the smallest one, where
    none is found. budget: bytes of the choices that the search begins with."""
    while True:
        try:
            mix = best_mix(choices, most_bytes=budget)
        except Infeasible:
            return smallest_mix(choices)
        over = size(mix.options) - most
        if over <= 0:
            return mix.options
        budget = mix.bytes - over  # below what this mix takes: the next one is another


def smallest_mix(choices: Sequence[Choice]) -> Mixture:
    return {c.layer: c.option for c in sorted(choices, key=lambda c: -c.bytes)}


def min_bytes(choices: Sequence[Choice]) -> int:
    least: dict[str, int] = {}
    for c in choices:
        least[c.layer] = min(c.bytes, least.get(c.layer, c.bytes))
    return sum(least.values())


def best_uniform(seen: Outlook, most: int) -> list[tuple[str, Mixture]]:
    """The finest uniform mix within the limit: of the widest codes that fit, the smallest groups."""
    fits = [(size, name, mixture) for name, mixture, size in seen.uniforms if size <= most]
    return [(name, mixture) for _, name, mixture in sorted(fits, key=lambda f: f[0])[-1:]]


def too_small(seen: Outlook, most: int) -> str:
    """The sentence for a limit that no mix reaches."""
    return (
        f"No mix fits {most:,} bytes: the smallest reachable is {seen.smallest:,} bytes "
        f"({seen.smallest / 1e6:.2f} MB), with all layers at their coarsest."
    )


def bytes_of_bits(seen: Outlook, bits: float) -> int:
    """Bytes of all that is saved when the layers take so many bits a number."""
    numbers = sum(layer.numbers for layer in seen.layers)
    beside = seen.smallest - min_bytes(seen.choices)
    return int(beside + numbers * bits / 8)


def _within_loss(work: _Work, most: float, until: float) -> Tried:
    """The smallest mix that is measured to lose at most so much: the forecast is corrected by what mixes lost."""
    seen = work.seen
    if not work.wanted:
        raise BadInput("A limit of loss needs calibration data, to measure the loss on: give some, or a size or bits.")
    by_size = sorted(frontier(seen.choices, 40), key=lambda m: m.bytes)
    low, high, best = 0, len(by_size) - 1, None
    middle = next((i for i, m in enumerate(by_size) if m.loss <= most), high)  # where the forecast has it
    # loss falls along the frontier: a binary search over measured mixes
    while low <= high and (best is None or time.perf_counter() < until):
        tried = work.measure(f"mixed, {seen.size(by_size[middle].options) / 1e6:.1f} MB", by_size[middle].options)
        if tried.loss <= most:
            best, high = tried, middle - 1
            middle = max(low, middle - 1 if tried.loss > most / 3 else (low + middle) // 2)
        else:
            low = middle + 1
            middle = min(high, middle + 1 if tried.loss < 3 * most else (middle + high + 1) // 2)
    if best is None:
        raise Infeasible(f"No mix loses at most {most:g}: the most careful one lost {tried.loss:.3g}.", tried.loss)
    for name, mixture in best_uniform(seen, best.bytes):  # a uniform width that is as small, where the forecast misled
        tried = work.measure(name, mixture)
        if tried.loss <= most and (tried.bytes, tried.loss) < (best.bytes, best.loss):
            best = tried
    return best
