"""What rounding a trained language model's weights costs: the law of quantization-induced degradation (Ouyang et al.,
2024, "Low-bit quantization favors undertrained LLMs", arXiv 2411.17691).

QiD(N, D, P) = k D^beta / (N^alpha P^gamma): nats a token that are lost when a model of N parameters (no embeddings),
trained on D tokens, is rounded to P bits a weight after training. It grows with the tokens that the model has learnt
from, so that it also tells how fully a checkpoint is trained.

    law = fit_qid(table)                          # columns n, d, bits, loss_fp, loss_q
    law.qid(7e9, 2e12, 4, anyway=True); law.tokens_for(0.2, 7e9, 4, anyway=True)

It holds for checkpoints at a constant learning rate, one quantizer, one group size and one set of texts; a checkpoint
whose rate has decayed loses another amount. No two quantizers share a law: `fit_by_quantizer`. The table of tokens in
the paper does not follow from its joint law but from fits for each width: `per_bits`, and `published_tokens` for the
table itself.

Dims: R rows.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.draws import bootstrap
from smidgen.laws.form import Parameter, PowerSum, Term
from smidgen.laws.law import Law, TooFar, fit
from smidgen.laws.least_values import fit_values
from smidgen.laws.points import Numbers, Points
from smidgen.laws.run_table import FAR, columns, outside, span

UNROUNDED = 16.0  # bits a weight from which nothing is lost, by definition
# Exponents of the published laws of one factor, the others held: QiD ~ D^0.5316, N^-0.2276, P^-5.4812.
ONE_FACTOR = {"d": 0.5316, "n": 0.2276, "bits": 5.4812}
# Tokens of a QiD of 0.2 as published, by (parameters, bits).
PUBLISHED_TOKENS = {(7e9, 2.0): 2.6e9, (7e9, 3.0): 0.30e12, (7e9, 4.0): 4.51e12, (70e9, 4.0): 17.3e12,
                    (405e9, 4.0): 48.5e12}  # fmt: skip
_FACTORS = {"n": ("alpha", 1.0), "d": ("beta", -1.0), "bits": ("gamma", 1.0)}
Value = Numbers | float
Base = Callable[..., Any]


@dataclass(frozen=True)
class QiDLaw:
    """The law; N in parameters without embeddings, D in tokens, QiD in nats a token.

    Attributes:
        k, alpha, beta, gamma: as in the formula; 0 where a factor was not fitted.
        range_n, range_d, range_bits: smallest and largest of the checkpoints that were fitted.
        law: the fit, with draws; None for published constants.
        left_out: rows that were not fitted, by reason.
    """

    k: float
    alpha: float
    beta: float
    gamma: float
    range_n: tuple[float, float] = (0.0, math.inf)
    range_d: tuple[float, float] = (0.0, math.inf)
    range_bits: tuple[float, float] = (0.0, math.inf)
    law: Law | None = field(default=None, repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def qid(self, n: Value, d: Value, bits: Value, *, anyway: bool = False) -> np.ndarray:
        """Nats a token lost `[R]`; 0 from 16 bits on.

        Raises:
            TooFar: N or D more than `FAR` times outside the checkpoints, or bits outside theirs. `anyway` asks
                nevertheless. BadInput: not above 0.
        """
        n_R, d_R, bits_R = self._checked(n, d, bits, anyway)
        value_R = self.k * d_R**self.beta / (n_R**self.alpha * bits_R**self.gamma)
        return np.where(bits_R >= UNROUNDED, 0.0, value_R)

    def interval(
        self, n: Value, d: Value, bits: Value, level: float = 0.9, *, anyway: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the bootstrap interval of the law `[R]`. Raises as `qid`; BadInput: published constants have none."""
        if self.law is None:
            raise BadInput("Published constants have no interval: fit the law to checkpoints of your own.")
        n_R, d_R, bits_R = self._checked(n, d, bits, anyway)
        given = {"n": n_R, "d": d_R, "bits": bits_R}
        ends = self.law.interval({name: given[name] for name in self.law.form.inputs}, level, anyway=True)
        low_R, high_R = (np.where(bits_R >= UNROUNDED, 0.0, end) for end in ends)
        return low_R, high_R

    def exponent(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """Bootstrap interval of "alpha", "beta" or "gamma"."""
        names = [p.name for p in self.law.form.parameters] if self.law else []
        if name not in names or self.law is None or self.law.draws_KP is None:
            raise bad("exponent", "one that was fitted, with draws", name)
        low, high = np.quantile(self.law.draws_KP[:, names.index(name)], [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def outside(self, n: Value, d: Value, bits: Value) -> np.ndarray:
        """How far out of the checkpoints' range a question is, as a factor `[R]` (1 inside)."""
        ranges = (self.range_n, self.range_d, self.range_bits)
        return np.max(np.broadcast_arrays(*(outside(v, r) for v, r in zip((n, d, bits), ranges, strict=True))), axis=0)

    def tokens_for(self, qid: float, n: float, bits: float, *, anyway: bool = False) -> float:
        """Training tokens at which rounding to `bits` loses `qid`: more make it worse. Raises as `qid`."""
        d = self._inverse(qid, "d", {"n": n, "bits": bits})
        self._checked(n, d, bits, anyway)
        return d

    def params_for(self, qid: float, d: float, bits: float, *, anyway: bool = False) -> float:
        """Parameters that a model of `d` tokens needs to lose no more than `qid`. Raises as `qid`."""
        n = self._inverse(qid, "n", {"d": d, "bits": bits})
        self._checked(n, d, bits, anyway)
        return n

    def bits_for(self, qid: float, n: float, d: float, *, anyway: bool = False) -> float:
        """Bits a weight at which `qid` is lost, no whole number, at most 16. Raises as `qid`."""
        bits = min(self._inverse(qid, "bits", {"n": n, "d": d}), UNROUNDED)
        self._checked(n, d, bits, anyway)
        return bits

    def training_level(self, measured: float, full: float = 0.2) -> float:
        """Share of the tokens of a full training that a checkpoint with this QiD has seen, by the law: full is where
        QiD is `full` (0.2 keeps about 80 % of the likelihood of each token, 0.5 about 60 %). Size and bits cancel."""
        for name, value in (("measured QiD", measured), ("full", full)):
            if not value > 0:
                raise bad(name, "nats above 0", value)
        if not self.beta > 0:
            raise bad("beta", "above 0: QiD does not grow with tokens in this fit", self.beta)
        return (measured / full) ** (1 / self.beta)

    def quantized_loss(
        self, n: Value, d: Value, bits: Value, base: Base | None = None, *, chance: float = math.inf,
        anyway: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Loss of the rounded model `[R]`: that of the whole one by `base(n, d)` (default: the paper's, for Pythia)
        and the QiD; no worse than `chance`, the logarithm of the vocabulary."""
        return np.minimum((base or pythia_loss)(n, d) + self.qid(n, d, bits, anyway=anyway), chance)

    def _inverse(self, qid: float, name: str, others: Mapping[str, float]) -> float:
        if not 0 < qid < math.inf:
            raise bad("QiD", "nats above 0", qid)
        for key, value in others.items():
            if not 0 < value < math.inf:
                raise bad(key, "a finite number above 0", value)
        power = {"n": -self.alpha, "d": self.beta, "bits": -self.gamma}
        if power[name] == 0:
            raise bad(f"the fit's exponent of {name}", "one that was fitted", 0.0)
        rest = math.log(self.k) + sum(power[key] * math.log(value) for key, value in others.items())
        return math.exp((math.log(qid) - rest) / power[name])

    def _checked(self, n: Value, d: Value, bits: Value, anyway: bool) -> list[np.ndarray]:
        values = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (n, d, bits)))
        ranges = (("n", self.range_n, FAR), ("d", self.range_d, FAR), ("bits", self.range_bits, 1.0))
        for value_R, (name, ends, far) in zip(values, ranges, strict=True):
            wrong = value_R[~((value_R > 0) & np.isfinite(value_R))]
            if len(wrong):
                raise bad(name, "finite numbers above 0", float(wrong[0]))
            out = value_R[outside(value_R, ends) > far * (1 + 1e-9)]
            if name == "bits":
                out = out[out < UNROUNDED]
            if len(out) and not anyway:
                raise TooFar(
                    f"{name} of {out[0]:.3g} is too far from the checkpoints that the law was fitted to, {ends[0]:.3g} "
                    f"to {ends[1]:.3g}. Measure nearer to it, or ask with anyway=True."
                )
        return list(values)


def published() -> QiDLaw:
    """The joint law of the Pythia suite (160M to 12B, checkpoints of 1e9 to 2.06e11 tokens, GPTQ at 2 to 4 bits)."""
    return QiDLaw(0.017, 0.2261, 0.5251, 5.4967, (1.6e8, 1.2e10), (1e9, 2.06e11), (2.0, 4.0))


def pythia_loss(n: Value, d: Value) -> np.ndarray:
    """Loss of a whole model, nats a token: [(4.74e19 / N)^(0.045 / 0.399) + 7.63e10 / D]^0.399."""
    n, d = np.asarray(n, float), np.asarray(d, float)
    return ((4.74e19 / n) ** (0.045 / 0.399) + 7.63e10 / d) ** 0.399


def published_tokens(n: float, bits: float) -> float:
    """Tokens of a QiD of 0.2 by the paper's table; at 4 bits between and beyond its three sizes as a power of N.

    Raises:
        BadInput: the table has that width for one other size only, or not at all.
    """
    rows = sorted((size, tokens) for (size, width), tokens in PUBLISHED_TOKENS.items() if width == bits)
    exact = dict(rows).get(n)
    if exact is not None:
        return exact
    if len(rows) < 2:
        there = ", ".join(f"{a:.0e} at {b:g} bits" for a, b in PUBLISHED_TOKENS)
        raise bad("the published table", f"one of {there}", f"{n:.3g} at {bits:g} bits", "Use the joint law.")
    logs = np.log(np.array(rows))
    slope, level = np.polyfit(logs[:, 0], logs[:, 1], 1)
    return math.exp(level + slope * math.log(n))


def fit_qid(
    runs: Any, factors: tuple[str, ...] = ("n", "d", "bits"), *, refine: bool = False, chance: float | None = None,
    distinct: int = 4, draws: int = 1000, seed: int = 0,
) -> QiDLaw:  # fmt: skip
    """The law of the factors that vary, by linear regression of log QiD.

    Args:
        runs: columns n, d, bits, loss_fp and loss_q (nats a token). Rows that lose nothing (QiD <= 0, noise) have no
            logarithm: they are left out with a warning and counted.
        factors: of n, d, bits; the others must be equal in all rows or are averaged over.
        refine: least squares of QiD itself after that, as published: the worst rows then lead.
        chance: rows with a loss as high, or higher, are left out: a model that guesses tells nothing more.
        distinct: least number of different n, and of d.
        draws: of the bootstrap; 0: none.
    Raises:
        BadInput: no such columns, too few rows, fewer different n or d than `distinct`.
    """
    for name in factors:
        if name not in _FACTORS:
            raise bad("factors", "some of n, d, bits", name)
    x = columns(runs, ("n", "d", "bits", "loss_fp", "loss_q"), "checkpoints")
    qid_R = x["loss_q"] - x["loss_fp"]
    lost_R = x["loss_q"] >= (math.inf if chance is None else chance)
    none_R = (qid_R <= 0) & ~lost_R
    kept_R = ~lost_R & ~none_R
    if none_R.any():
        warnings.warn(f"{none_R.sum()} of {len(qid_R)} checkpoints lost nothing by rounding and are left out of the "
                      "fit of logarithms.", stacklevel=2)  # fmt: skip
    for name in ("n", "d"):
        count = len(np.unique(x[name][kept_R]))
        if name in factors and count < distinct:
            raise bad(f"different {name} of the checkpoints", f"at least {distinct}", count, "Measure more of them.")
    points = Points.of({name: x[name][kept_R] for name in factors}, qid_R[kept_R])
    middle = {name: math.exp(np.log(points.column(name)).mean()) for name in factors}
    form = PowerSum(
        "loss by rounding", factors,
        (Parameter(name="k", log=True), *(Parameter(name=_FACTORS[f][0], low=-20.0, high=20.0) for f in factors)),
        (Term("k", {f: _FACTORS[f] for f in factors}),), middle,
    )  # fmt: skip
    law = fit_values(form, points) if refine else fit(form, points, huber=math.inf)
    if draws:
        law = bootstrap(law, draws, seed=seed)
    found = dict(zip([p.name for p in form.parameters], law.theta_P.tolist(), strict=True))
    log_k = found["k"] + sum(_FACTORS[f][1] * found[_FACTORS[f][0]] * math.log(middle[f]) for f in factors)
    return QiDLaw(
        math.exp(log_k), *(found.get(name, 0.0) for name in ("alpha", "beta", "gamma")),
        *(span(x[name][kept_R]) for name in ("n", "d", "bits")), law=law,
        left_out={"lost nothing": int(none_R.sum()), "at chance": int(lost_R.sum())},
    )  # fmt: skip


def fit_by_quantizer(runs: Any, **settings: Any) -> dict[str, QiDLaw]:
    """A law for each value of the column `quantizer`; settings as of `fit_qid`."""
    return _by(runs, "quantizer", str, settings)


def per_bits(runs: Any, **settings: Any) -> dict[float, QiDLaw]:
    """A law of n and d for each width: what the paper's table of tokens rests on."""
    return _by(runs, "bits", float, {"factors": ("n", "d"), **settings})


def fit_one_factor(runs: Any, name: str, **settings: Any) -> QiDLaw:
    """QiD as a power of "n", "d" or "bits" alone, over rows in which the other two stand still."""
    x = columns(runs, ("n", "d", "bits"), "checkpoints")
    for other in {"n", "d", "bits"} - {name}:
        if len(np.unique(x[other])) > 1:
            raise bad(f"{other} of the checkpoints", f"one value, where QiD by {name} alone is fitted", "several")
    return fit_qid(runs, (name,), **settings)


def _by(runs: Any, name: str, kind: Callable[[Any], Any], settings: dict[str, Any]) -> dict[Any, QiDLaw]:
    if name not in runs:
        raise bad("columns of the checkpoints", name, ", ".join(map(str, runs)))
    names = ("n", "d", "bits", "loss_fp", "loss_q")
    own_R, x = np.array([kind(v) for v in runs[name]]), columns(runs, names, "checkpoints")
    return {
        kind(value): fit_qid({key: column[own_R == value] for key, column in x.items()}, **settings)
        for value in np.unique(own_R).tolist()
    }
