"""How long a language model takes on a device, by the format of its weights: a roofline. Plain numbers, no torch.

A step that makes one token for each of B requests reads all weights once and computes 2 P operations a request:

    seconds = overhead + max(weight bytes / bandwidth, 2 P B / rate) + cache bytes read / bandwidth

Few requests wait for memory (4-bit weights read least), many for arithmetic (8-bit activations compute fastest). The
paper's rule (arXiv 2411.02355, section 5) follows from it. Rates are what a device reaches, not what is printed on it:
`calibrate` finds them from measured times.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smidgen.kit.errors import bad


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """A device.

    Attributes:
        rates: operations a second (a multiplication and an addition are two) by arithmetic: "float16", "int8", ...
        bandwidth: bytes a second. memory: bytes. price: of an hour, in any currency.
    """

    name: str
    rates: Mapping[str, float]
    bandwidth: float
    memory: float = math.inf
    price: float = 0.0

    def __post_init__(self) -> None:
        for name, value in {"bandwidth": self.bandwidth, "memory": self.memory, **self.rates}.items():
            if not value > 0:
                raise bad(f"{name} of {self.name}", "above 0", value)
        if not self.rates:
            raise bad(f"rates of {self.name}", "at least one", "none")
        if not self.price >= 0:
            raise bad(f"price of {self.name}", "0 or more", self.price)


@dataclass(frozen=True)
class Deployed:
    """A format as it is deployed: `bits` a weight with its scales, and the arithmetic of its products."""

    name: str
    bits: float
    arithmetic: str


FORMATS = {
    f.name: f
    for f in (
        Deployed("bf16", 16, "float16"),
        Deployed("w8a8-fp", 8, "float8"),
        Deployed("w8a8-int", 8, "int8"),
        Deployed("w4a16-int", 4 + 16 / 128, "float16"),  # a float16 scale for 128 weights
    )
}


@dataclass(frozen=True)
class Roofline:
    """Seconds of a step: overhead + max(weights, row x rows)."""

    overhead: float
    weights: float
    row: float

    def seconds(self, rows: float) -> float:
        return self.overhead + max(self.weights, self.row * rows)

    @property
    def corner(self) -> float:
        """Rows from which arithmetic is the limit, and not memory."""
        return self.weights / self.row if self.row > 0 else math.inf


@dataclass(frozen=True)
class ServingModel:
    """A model in a format on a device.

    Attributes:
        roofline: of all its weights. cache_seconds: to read a token of the cache. cache_bytes: of a token.
        weight_bytes, hardware, format. notes: what is to be known ("no FP8 arithmetic here: ...").
    """

    hardware: Hardware
    format: Deployed
    roofline: Roofline
    weight_bytes: float
    cache_bytes: float
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        hardware: Hardware,
        format: Deployed,
        parameters: float,
        cache_bytes: float = 0.0,
        overhead: float = 0.0,
        other: str = "float16",
    ) -> "ServingModel":
        """Of the device's rates.

        Args:
            parameters: of all products a token needs. cache_bytes: keys and values of a token.
            overhead: seconds of a step besides. other: arithmetic where the device has not the format's.
        Raises:
            BadInput: the device has neither.
        """
        notes, used = (), format.arithmetic
        if used not in hardware.rates:
            if other not in hardware.rates:
                raise bad(f"rates of {hardware.name}", f"{used} or {other}", ", ".join(hardware.rates))
            notes = (f"no {used} arithmetic on {hardware.name}: fewer bytes are read, nothing is computed faster",)
            used = other
        size = parameters * format.bits / 8
        roof = Roofline(overhead, size / hardware.bandwidth, 2 * parameters / hardware.rates[used])
        return cls(hardware, format, roof, size, cache_bytes, notes)

    def step(self, batch: float, context: float = 0.0) -> float:
        """Seconds to make one token for each request, with so many tokens in the cache of each."""
        return self.roofline.seconds(batch) + batch * context * self.cache_bytes / self.hardware.bandwidth

    def prefill(self, tokens: float) -> float:
        """Seconds to read prompts of so many tokens together."""
        return self.roofline.seconds(tokens)

    def latency(self, batch: int, prompt: int, gen: int) -> float:
        """Seconds until all of a batch, begun together, have their last token; the first comes with the prompt."""
        self._check(batch=batch, prompt=prompt, gen=gen)
        return self.prefill(batch * prompt) + (gen - 1) * self.step(batch, prompt + gen / 2)

    def capacity(self, prompt: int, gen: int) -> int:
        """Requests whose caches fit beside the weights; 0: the weights themselves do not fit."""
        room = self.hardware.memory - self.weight_bytes
        need = (prompt + gen) * self.cache_bytes
        if room < 0:
            return 0
        return 1 << 20 if need == 0 or room == math.inf else int(room / need)

    @staticmethod
    def _check(**numbers: float) -> None:
        for name, value in numbers.items():
            if not value >= 1:
                raise bad(name, "at least 1", value)


def calibrate(rows: Sequence[float], seconds: Sequence[float]) -> Roofline:
    """The roofline of measured steps: least squares of log time.

    Args:
        rows: batch sizes, at least three, best from 1 to far beyond the corner. seconds: of each.
    Raises:
        BadInput: fewer than three sizes, or times that are not above 0.
    """
    import numpy as np
    from scipy.optimize import minimize

    n, t = np.asarray(rows, float), np.asarray(seconds, float)
    if len(set(n.tolist())) < 3 or len(n) != len(t):
        raise bad("measured steps", "a time for each of at least three batch sizes", f"{len(n)} and {len(t)}")
    if not (np.isfinite(t).all() and (t > 0).all() and (n > 0).all()):
        raise bad("measured steps", "sizes and times above 0", "others")

    def lost(log: np.ndarray) -> float:
        overhead, weights, row = np.exp(log)
        return float(np.square(np.log(overhead + np.maximum(weights, row * n)) - np.log(t)).mean())

    slope = max((t[-1] - t[0]) / max(n[-1] - n[0], 1e-9), t.min() / n.max() / 10)
    starts = [np.log([t.min() * a, t.min() * (1 - a), slope]) for a in (0.05, 0.5, 0.95)]
    options = {"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-12}
    best = min((minimize(lost, s, method="Nelder-Mead", options=options) for s in starts), key=lambda r: r.fun)
    return Roofline(*(float(v) for v in np.exp(best.x)))


def fastest(roofs: Mapping[str, Roofline], rows: float) -> str:
    """The one that takes the least time for so many rows."""
    return min(roofs, key=lambda name: roofs[name].seconds(rows))
