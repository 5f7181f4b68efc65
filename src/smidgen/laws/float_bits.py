"""Loss of language models that are trained in small floating-point formats (Sun et al., 2025, "Scaling laws for
floating-point quantization training", arXiv 2501.02423).

L = cn / N^alpha + cd / D^beta + l0 + (D^beta / N^alpha) log2(B) / (gamma (E + 1/2)^delta (M + 1/2)^nu)

with E exponent and M mantissa bits, and B numbers that share a scale. The last term grows with the tokens, so that
there is an amount of them (`critical_tokens`) beyond which more make a model of few bits worse. Where one scale serves
a channel or a whole tensor, an effective log2 B = c (N / D)^p is fitted in its place.

    published().loss(679e6, 1e11, 4, 3, 128); published().best_layout(8); fit_float_bits(table)

Dims: R rows.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.draws import bootstrap
from smidgen.laws.form import Parameter, Term
from smidgen.laws.law import Law, TooFar, fit
from smidgen.laws.many_terms import ManyTerms, one
from smidgen.laws.nd_law import DELTA, NDLaw
from smidgen.laws.points import Points
from smidgen.laws.run_table import FAR, columns, outside, span

KINDS = ("channel", "tensor")
COST = 6 / 16  # FLOPs a parameter, token and bit: six products at 16 bits, fewer bits cost less in proportion
LEAST_BLOCK = 1e-9  # in place of log2 B where each number has a scale of its own: nothing is lost
Block = int | float | str


@dataclass(frozen=True)
class FloatBitsLaw:
    """The law; N in parameters, D in tokens, loss in nats a token.

    Attributes:
        cn, alpha, cd, beta, l0, gamma, delta, nu: as in the formula.
        effective: by kind of scale ("channel", "tensor"), (c, p) of its log2 B.
        range_n, range_d: of the runs. law: the fit, with draws; None for published constants.
    """

    cn: float
    alpha: float
    cd: float
    beta: float
    l0: float
    gamma: float
    delta: float
    nu: float
    effective: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    range_n: tuple[float, float] = (0.0, math.inf)
    range_d: tuple[float, float] = (0.0, math.inf)
    law: Law | None = field(default=None, repr=False)

    def penalty(self, n: Any, d: Any, exp_bits: Any, man_bits: Any, block: Block, *, anyway: bool = False) -> Any:
        """Nats a token that the format costs `[R]`. Raises as `loss`."""
        n, d, e, m = (np.asarray(v, float) for v in (n, d, exp_bits, man_bits))
        _check_format(e, m)
        self._check_reach(n, d, anyway)
        precision = self.gamma * (e + 0.5) ** self.delta * (m + 0.5) ** self.nu
        return d**self.beta / n**self.alpha * self.log2_block(block, n, d) / precision

    def loss(self, n: Any, d: Any, exp_bits: Any, man_bits: Any, block: Block, *, anyway: bool = False) -> np.ndarray:
        """Nats a token `[R]`.

        Args:
            block: numbers that share a scale, or "channel" or "tensor" where these were fitted.
        Raises:
            TooFar: N or D more than `FAR` times outside the runs. `anyway` asks nevertheless.
            BadInput: a format of no or negative bits, an unknown kind of scale.
        """
        penalty = self.penalty(n, d, exp_bits, man_bits, block, anyway=anyway)
        n, d = np.asarray(n, float), np.asarray(d, float)
        return self.cn * n**-self.alpha + self.cd * d**-self.beta + self.l0 + penalty

    def log2_block(self, block: Block, n: Any = 1.0, d: Any = 1.0) -> Any:
        """What the law takes for log2 B. Raises BadInput: below 1, or a kind that was not fitted."""
        if isinstance(block, str):
            if block not in self.effective:
                known = ", ".join(self.effective) or "no kinds: only numbers"
                raise bad("block", f"numbers that share a scale, or one of {known}", block)
            c, p = self.effective[block]
            return c * (np.asarray(n, float) / np.asarray(d, float)) ** p
        if not block >= 1:
            raise bad("block", "at least 1 number that shares a scale", block)
        if block == 1:
            warnings.warn("A scale for each number means no penalty in the law of float bits.", stacklevel=3)
        return math.log2(block)

    def critical_tokens(self, n: float, exp_bits: float, man_bits: float, block: Block) -> float:
        """Tokens beyond which more make the model worse; infinite where nothing is lost by the format.

        Raises:
            BadInput: as `loss`; a kind of scale whose effective block depends on the tokens: minimise `loss` there.
        """
        _check_format(np.asarray(exp_bits, float), np.asarray(man_bits, float))
        if isinstance(block, str) and self.effective.get(block, (0.0, 0.0))[1] != 0:
            raise bad("block", "a number: the effective block of a kind depends on the tokens", block)
        width = float(self.log2_block(block))
        if width == 0:
            return math.inf
        precision = self.gamma * (exp_bits + 0.5) ** self.delta * (man_bits + 0.5) ** self.nu
        return (self.cd * n**self.alpha * precision / width) ** (1 / (2 * self.beta))

    def best_split(self, bits: float) -> tuple[float, float]:
        """(exponent, mantissa) bits of a format of `bits` in all, one of them the sign: no whole numbers."""
        if not bits > 1:
            raise bad("bits", "above 1, the sign", bits)
        share = self.delta / (self.delta + self.nu)
        return share * bits - 0.5, (1 - share) * bits - 0.5

    def best_layout(self, bits: int) -> tuple[int, int]:
        """The whole (exponent, mantissa) bits with the least penalty, one bit for the sign."""
        if bits != int(bits) or bits < 2:
            raise bad("bits", "a whole number, at least 2", bits)
        bits = int(bits)
        return max(((e, bits - 1 - e) for e in range(bits)), key=lambda em: self._precision(*em))

    def best_precision_for_tokens(self, d: float, block: Block) -> float:
        """Bits, no whole number, of the least loss at a given cost when `d` tokens are trained on: fewer bits buy more
        parameters. It does not depend on the cost."""
        a, b, p = self.delta, self.nu, self.delta + self.nu
        unit = (a / p) ** a * (b / p) ** b  # of (E + 1/2)^delta (M + 1/2)^nu at the best split, times bits^p
        top = (p - self.alpha) * d**self.beta * float(self.log2_block(block, 1.0, 1.0))
        return (top / (self.alpha * self.cn * self.gamma * unit)) ** (1 / p)

    def best_precision(self, cost: float, block: Block, k: float = COST) -> "Allocation":
        """Bits, parameters and tokens of the least loss with k N D bits = `cost`, however far from the runs.

        Raises:
            BadInput: not above 0, or a kind of scale.
        """
        from scipy.optimize import minimize_scalar

        if not (cost > 0 and k > 0):
            raise bad("cost", "above 0", cost)
        if isinstance(block, str):
            raise bad("block", "a number that shares a scale", block)

        def at(log_d: float) -> "Allocation":
            d = math.exp(log_d)
            bits = min(max(self.best_precision_for_tokens(d, block), 2.0), 16.0)
            n = cost / (k * d * bits)
            e, m = self.best_split(bits)
            return Allocation(bits, (e, m), n, d, float(self.loss(n, d, e, m, block, anyway=True)))

        grid = np.linspace(math.log(1e3), math.log(cost / k / 2e3), 200) if cost / k > 4e6 else np.log([1.0, 1e3])
        best = int(np.argmin([at(x).loss for x in grid]))
        ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found: Any = minimize_scalar(lambda x: at(x).loss, bounds=ends, method="bounded")
        return at(float(found.x))

    def interval(
        self, n: Any, d: Any, exp_bits: Any, man_bits: Any, block: Block, level: float = 0.9, *, anyway: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the bootstrap interval of the loss `[R]`. Raises as `loss`; BadInput: no draws."""
        if self.law is None or self.law.draws_KP is None:
            raise BadInput("Published constants have no interval: fit the law to runs of your own, with draws.")
        n, d, e, m = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (n, d, exp_bits, man_bits)))
        _check_format(e, m)
        self._check_reach(n, d, anyway)
        return self.law.interval(_inputs(n, d, e, m, [block] * len(n), tuple(self.effective)), level, anyway=True)

    def outside(self, n: Any, d: Any) -> np.ndarray:
        """How far out of the runs a question is, as a factor (1 inside)."""
        return np.maximum(outside(n, self.range_n), outside(d, self.range_d))

    def _precision(self, e: float, m: float) -> float:
        return self.delta * math.log(e + 0.5) + self.nu * math.log(m + 0.5)

    def _check_reach(self, n: np.ndarray, d: np.ndarray, anyway: bool) -> None:
        for name, value, ends in (("n", n, self.range_n), ("d", d, self.range_d)):
            if not (np.isfinite(value) & (value > 0)).all():
                raise bad(name, "finite numbers above 0", float(np.asarray(value).flat[0]))
            far = np.asarray(value)[outside(value, ends) > FAR]
            if far.size and not anyway:
                raise TooFar(
                    f"{name} of {far.flat[0]:.3g} is more than {FAR:g} times outside the runs, {ends[0]:.3g} to "
                    f"{ends[1]:.3g}. Measure nearer to it, or ask with anyway=True."
                )


@dataclass(frozen=True)
class Allocation:
    """What a cost buys at best. `layout`: (exponent, mantissa) bits, no whole numbers."""

    bits: float
    layout: tuple[float, float]
    n: float
    d: float
    loss: float


def published() -> FloatBitsLaw:
    """Fitted by its authors to runs of 41M to 679M parameters on 1e10 to 1e11 tokens, blocks of 32 to 512."""
    return FloatBitsLaw(
        69.2343, 0.2368, 68973.0621, 0.5162, 1.9061, 11334.5197, 3.1926, 2.9543,
        range_n=(4.1e7, 6.79e8), range_d=(1e10, 1e11),
    )  # fmt: skip


def fit_float_bits(
    runs: Any, *, base: NDLaw | None = None, huber: float = DELTA, draws: int = 0, seed: int = 0
) -> FloatBitsLaw:
    """The law with the least Huber loss of the logarithm of the loss, best of many starts.

    Args:
        runs: columns n, d, e, m (exponent and mantissa bits), block (a number, "channel" or "tensor") and loss.
        base: law of size and data of runs in full precision; then only what the formats cost is fitted.
        huber: residuals of log loss beyond it count linearly. draws: of the bootstrap, for `interval`.
    Raises:
        BadInput: fewer than 8 rows, or than unknowns; formats of no bits; columns that are missing.
    """
    x = columns(runs, ("n", "d", "e", "m", "loss"))
    if "block" not in runs:
        raise bad("columns of the runs", "n, d, e, m, block, loss", ", ".join(map(str, runs)), "Add block.")
    blocks = list(runs["block"])
    if len(blocks) < 8:
        raise bad("runs", "at least 8", len(blocks))
    _check_format(x["e"], x["m"])
    kinds = tuple(kind for kind in KINDS if kind in blocks)
    inputs = _inputs(x["n"], x["d"], x["e"], x["m"], blocks, kinds)
    points = Points.of(inputs, x["loss"], huber)
    middle = {name: math.exp(np.log(inputs[name]).mean()) for name in ("n", "d", "e", "m")}
    form = float_form(kinds, middle, base)
    law = fit(form, points, huber=1.0)
    if draws:
        law = bootstrap(law, draws, seed=seed)
    v = dict(zip([p.name for p in form.parameters], law.theta_P.tolist(), strict=True))
    log = {name: math.log(value) for name, value in middle.items()}
    small = v["w"] - v["beta"] * log["d"] + v["alpha"] * log["n"] + v["delta"] * log["e"] + v["nu"] * log["m"]
    return FloatBitsLaw(
        math.exp(v["cn"] + v["alpha"] * log["n"]), v["alpha"], math.exp(v["cd"] + v["beta"] * log["d"]), v["beta"],
        math.exp(v["l0"]), math.exp(-small), v["delta"], v["nu"],
        {kind: (math.exp(-v[f"c_{kind}"]), -v[f"p_{kind}"]) for kind in kinds},
        span(x["n"]), span(x["d"]), law,
    )  # fmt: skip


def float_form(
    kinds: Sequence[str] = (), middle: Mapping[str, float] | None = None, base: NDLaw | None = None
) -> ManyTerms:
    """The law as a sum of powers. Inputs e and m are E + 1/2 and M + 1/2, b is log2 B; of each kind of scale there are
    two that are 1 in all other rows: a marker of e (its power is -log c) and N / D. `w`: 1 / gamma."""
    known = {k: getattr(base, k) for k in ("cn", "alpha", "cd", "beta", "l0")} if base else {}
    powers = {"n": ("alpha", 1.0), "d": ("beta", -1.0), "e": ("delta", 1.0), "m": ("nu", 1.0), "b": ("one", -1.0)}
    for kind in kinds:
        powers |= {kind: (f"c_{kind}", 1.0), f"{kind} n/d": (f"p_{kind}", 1.0)}
    return ManyTerms(
        "float bits",
        ("n", "d", "e", "m", "b", *(name for kind in kinds for name in (kind, f"{kind} n/d"))),
        (
            Parameter(name="cn", log=True),
            Parameter(name="alpha", low=0.0, high=5.0),
            Parameter(name="cd", log=True),
            Parameter(name="beta", low=0.0, high=5.0),
            Parameter(name="l0", log=True),
            Parameter(name="w", log=True),
            Parameter(name="delta", low=0.0, high=20.0),
            Parameter(name="nu", low=0.0, high=20.0),
            one(),
            *(Parameter(name=f"{a}_{kind}", low=-20.0, high=20.0) for kind in kinds for a in "cp"),
        ),
        (Term("cn", {"n": ("alpha", 1.0)}), Term("cd", {"d": ("beta", 1.0)}), Term("l0"), Term("w", powers)),
        middle,
        known,
    )


def _inputs(n: Any, d: Any, e: Any, m: Any, blocks: Sequence[Any], kinds: Sequence[str]) -> dict[str, np.ndarray]:
    n, d, e, m = (np.asarray(v, float) for v in (n, d, e, m))
    named_R = [b if isinstance(b, str) else "" for b in blocks]
    for b, name in zip(blocks, named_R, strict=True):
        if name and name not in kinds:
            raise bad("block", f"a number, or one of {', '.join(kinds) or 'none'}", name)
        if not name and not float(b) >= 1:
            raise bad("block", "at least 1 number that shares a scale", b)
    width_R = [1.0 if name else max(math.log2(float(b)), LEAST_BLOCK) for b, name in zip(blocks, named_R, strict=True)]
    out = {"n": n, "d": d, "e": e + 0.5, "m": m + 0.5, "b": np.array(width_R)}
    for kind in kinds:
        own_R = np.array([name == kind for name in named_R])
        out |= {kind: np.where(own_R, math.e, 1.0), f"{kind} n/d": np.where(own_R, n / d, 1.0)}
    return out


def _check_format(e: np.ndarray, m: np.ndarray) -> None:
    if (e < 0).any() or (m < 0).any() or (e + m <= 0).any():
        raise bad("exponent and mantissa bits", "0 or more each, and not both 0", f"{e}, {m}")
