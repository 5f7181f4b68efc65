"""Which number format each part of training uses.

Parts and mechanics are those that surveys of low-precision training name (Hao et al., 2025, arXiv 2505.01043): forward
weights and activations, gradients of both, the copy of the weights that is updated, the optimizer's moments, what
workers send, what sums are kept in; scales from the tensor itself or from its past; loss scaling; what stays wide.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal, get_args

from smidgen.formats.blockwise import Blockwise
from smidgen.formats.rounding import Mode
from smidgen.kit.errors import bad
from smidgen.train.low_precision.number import CASTS, Number

PARTS = ("weights", "activations", "weight_grads", "act_grads", "optimizer_states", "comm")
Accumulate = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Delayed:
    """Scales of whole tensors from the largest numbers of the last `history` steps: no second pass over the data, and
    one step too small when numbers grow (they are clipped then). `margin`: powers of two to spare."""

    history: int = 16
    margin: int = 0

    def __post_init__(self) -> None:
        if self.history < 1:
            raise bad("history", "at least 1 step", self.history)


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """Gradients are rounded `start` times as large as they are. After `every` steps without overflow that is doubled;
    after one it is halved, and the step left out. every=None: it stays, and steps are left out all the same."""

    start: float = 2.0**16
    every: int | None = 2000

    def __post_init__(self) -> None:
        if not self.start > 0 or (self.every is not None and self.every < 1):
            raise bad("loss scale", "a start above 0, and at least 1 step", (self.start, self.every))


@dataclass(frozen=True, kw_only=True)
class PrecisionPolicy:
    """Names of formats by part; see `number` for what a name may be.

    Attributes:
        weights, activations: what layers multiply. act_grads: gradients of what layers give, as both products of the
            backward pass read them. weight_grads: of weights, as they are kept.
        master: updates are added to a float32 copy of the weights; False: the weights are kept in their format, and
            each update is rounded to it.
        optimizer_states: of moments of either sign, and of moments never below 0 (Adam's second). Beside the names of
            numbers: "dynamic8" and "linear8", with a block as in "dynamic8/2048", or "/tensor".
        comm: what workers send of gradients. error_feedback: what rounding left out is sent with the next ones.
        accumulate: what sums of products are kept in, 64 products at a time; linear layers only.
        rounding: of gradients, of moments in a format of `number`, and of kept weights without master; forward weights
            and activations, and moments in 8-bit blocks, take the nearest.
        scaling: None: from the tensor itself, now. loss_scale: None: gradients as they are.
        skip: parts of names of layers and parameters that stay in float32, their moments too (head, embedding, ...).
            Moments of embeddings are better there: rare words' are far smaller than those of words in the same block
            (Dettmers et al., 2022, arXiv 2110.02861, section 2.3).
    """

    weights: str = "float32"
    activations: str = "float32"
    weight_grads: str = "float32"
    act_grads: str = "float32"
    master: bool = True
    optimizer_states: tuple[str, str] = ("float32", "float32")
    comm: str = "float32"
    error_feedback: bool = True
    accumulate: Accumulate = "float32"
    rounding: Mode = "nearest"
    scaling: Delayed | None = None
    loss_scale: LossScale | None = None
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.optimizer_states, str):
            object.__setattr__(self, "optimizer_states", (self.optimizer_states, self.optimizer_states))
        for part in ("weights", "activations", "weight_grads", "act_grads", "comm"):
            Number.parse(getattr(self, part))
        if self.accumulate not in get_args(Accumulate):
            raise bad("accumulate", ", ".join(get_args(Accumulate)), self.accumulate)
        if self.rounding not in get_args(Mode):
            raise bad("rounding", ", ".join(get_args(Mode)), self.rounding)
        first, second = self.optimizer_states
        StateFormat.parse(first, signed=True)
        StateFormat.parse(second, signed=False)
        if self.scaling is not None and not any(Number.parse(getattr(self, p)).of_a_tensor for p in PARTS[:4]):
            raise bad("scaling", "None, or a part with one scale a tensor (as e4m3fn/tensor)", "Delayed")
        if not self.master and self.weights == "float32":
            raise bad("master", "True for weights in float32", False)
        halves = [p for p in PARTS[2:4] if getattr(self, p) in ("float16", "e5m10")]
        if halves and self.loss_scale is None:
            warnings.warn(
                f"{' and '.join(halves)} in float16 without loss scaling: gradients below 2^-24 become 0.", stacklevel=3
            )
        if not self.master and self.rounding == "nearest" and Number.parse(self.weights).bits < 32:
            warnings.warn(
                f"Weights kept in {self.weights} and rounded to the nearest: updates under half a step of it are lost. "
                "Take rounding='stochastic', or a master copy.",
                stacklevel=3,
            )

    @classmethod
    def parse(cls, text: str) -> "PrecisionPolicy":
        """Of "weights=e4m3fn/tensor, activations=..., act_grads=e5m2/tensor, master=no"; also `optimizer_states` (one
        name, or two with a + between), `rounding`, `accumulate`, `skip` (with + between), `loss_scale=dynamic`,
        `scaling=delayed`.

        Raises:
            BadInput: a part that is named twice, or that there is none of.
        """
        return cls.of(tuple(p.strip() for p in item.split("=", 1)) for item in text.split(",") if item.strip())

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, ...]]) -> "PrecisionPolicy":
        """Of names and values as text."""
        known = {f.name for f in fields(cls)}
        made: dict[str, object] = {}
        for name, *value in pairs:
            if name not in known:
                raise bad("part", ", ".join(sorted(known)), name)
            if name in made:
                raise bad(f"part '{name}'", "named once", "named twice")
            if len(value) != 1:
                raise bad(f"part '{name}'", "NAME=FORMAT", name)
            made[name] = _value(name, value[0])
        return cls(**made)  # type: ignore[arg-type]

    @property
    def lowered(self) -> tuple[str, ...]:
        """Parts that are not in float32."""
        low = [p for p in PARTS if p != "optimizer_states" and getattr(self, p) != "float32"]
        return (*low, *(["optimizer_states"] if self.optimizer_states != ("float32", "float32") else []))


@dataclass(frozen=True)
class StateFormat:
    """How a moment is kept: in blocks of 8 bits, or as a number."""

    name: str
    signed: bool
    levels: str | None = None
    block: int | None = None  # None: the whole tensor
    number: Number | None = None

    @classmethod
    def parse(cls, name: str, *, signed: bool) -> "StateFormat":
        """Raises BadInput for no format, or an unsigned one for moments of either sign."""
        first, _, rest = name.partition("/")
        if first in ("dynamic8", "linear8"):
            if rest not in ("", "tensor") and not (rest.isdigit() and int(rest) > 0):
                raise bad("optimizer_states", f"{first}, {first}/BLOCK or {first}/tensor", name)
            block = None if rest == "tensor" else int(rest or 256)
            return cls(name, signed, levels=first.removesuffix("8"), block=block)
        number = Number.parse(name)
        if signed and number.name not in CASTS and float(number.grid.levels[0]) >= 0:
            raise bad("optimizer_states", "a format with numbers below 0 for moments of either sign", name)
        return cls(name, signed, number=number)

    @property
    def exact(self) -> bool:
        return self.number is not None and self.number.exact

    def blockwise(self, count: int) -> Blockwise:
        """For a moment of so many numbers; those never below 0 do not become 0 either."""
        levels = "linear" if self.levels == "linear" else "dynamic"
        return Blockwise(
            levels=levels, signed=self.signed, block=self.block or max(count, 1), keep_positive=not self.signed
        )

    def bytes(self, shape: tuple[int, ...]) -> int:
        if self.number is not None:
            return self.number.bytes(shape)
        count = 1
        for n in shape:
            count *= n
        return self.blockwise(count).bytes(count)


def _value(name: str, text: str) -> object:
    if name in ("master", "error_feedback"):
        if text.lower() not in ("yes", "no", "true", "false"):
            raise bad(name, "yes or no", text)
        return text.lower() in ("yes", "true")
    if name == "optimizer_states":
        both = text.split("+")
        return (both[0], both[-1])
    if name == "skip":
        return tuple(text.split("+"))
    if name in ("loss_scale", "scaling"):
        kinds: dict[str, object] = {"none": None, "dynamic": LossScale(), "delayed": Delayed()}
        if text not in ("none", "dynamic" if name == "loss_scale" else "delayed"):
            raise bad(name, "none, or dynamic (loss_scale), or delayed (scaling)", text)
        return kinds[text]
    return text
