"""How many tokens to train in full precision, and how many with rounded weights (Dremov et al., 2025, "Compute-optimal
quantization-aware training", arXiv 2509.22935).

With S = D / (N bits / 8), tokens for each byte of the rounded parameters, the best share of quantization-aware training
(QAT) is exp(-a / log S), a = 6.7297: it grows with the tokens, and is larger for fewer bits and smaller models. The law
of the loss behind it, here fitted to runs of one's own (its published constants are not known to us):

L = cn / N^alpha + cd / D^beta + l0 + theta 2^(-kappa bits) + phi 2^(-chi bits) / (N^psi S_qat^omega)
    + lam 2^(-mu bits) / (N^nu S_fp^xi S_qat^rho)

that is size and data, a floor of the precision, too little QAT, and how both phases act on each other; xi may have
either sign: a long first phase may make rounding harder. N are the parameters that are rounded.

    optimal_qat_fraction(2e10, 1e9, 4); plan_qat(2e10, 1e9, 4); fit_qat(table).best_bits(5e8, 1e11)

Dims: R rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from smidgen.kit.errors import BadInput, bad
from smidgen.laws.draws import bootstrap
from smidgen.laws.form import Parameter, Term
from smidgen.laws.law import Law, TooFar, fit
from smidgen.laws.many_terms import ManyTerms
from smidgen.laws.nd_law import DELTA, NDLaw
from smidgen.laws.points import Points
from smidgen.laws.run_table import FAR, columns, outside, span

A = 6.7297  # of the published rule; its mean absolute error there is 0.091
PUBLISHED = {"n": (86e6, 2.2e9), "d": (2.3e9, 1.4e12), "bits": (1.0, 6.0)}  # range of the 757 published runs
WIDTHS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
LEAST_SHARE = 0.01  # of the tokens that either phase counts for: the law has no value where one is left out
Schedule = Literal["fused", "classic"]


def tokens_per_parameter_byte(tokens: float, params: float, bits: float) -> float:
    """S: tokens for each byte that the rounded parameters take. Raises BadInput: not above 0."""
    for name, value in (("tokens", tokens), ("params", params), ("bits", bits)):
        if not 0 < value < math.inf:
            raise bad(name, "a finite number above 0", value)
    return tokens / (params * bits / 8)


def optimal_qat_fraction(tokens: float, params: float, bits: float, *, a: float = A) -> float:
    """Share of the tokens, 0 to 1, that is best trained with rounded weights: exp(-a / log S).

    Raises:
        BadInput: S at or below 1, where the rule says nothing; numbers not above 0.
    """
    s = tokens_per_parameter_byte(tokens, params, bits)
    if not s > 1:
        raise bad(
            "tokens for each byte of the parameters", "above 1, where the rule begins", s, "Train on more tokens."
        )
    return math.exp(-a / math.log(s))


@dataclass(frozen=True)
class QATPlan:
    """Two phases of one training.

    Attributes:
        fp_tokens, qat_tokens: of each phase. fraction: of the second. schedule: "fused": the rate falls once, during
            QAT; "classic": the first phase has a fall of its own, then QAT warms up and falls again.
        flops: of both, `step_cost` for a step with rounding. seconds: at `flops_a_second`; None: not given.
        bytes: of the rounded parameters. outside: how far out of the range of the published runs, as a factor.
    """

    fp_tokens: float
    qat_tokens: float
    fraction: float
    schedule: Schedule
    flops: float
    seconds: float | None
    bytes: float
    outside: float

    def steps(self, batch_tokens: float) -> tuple[int, int]:
        """Updates of each phase, at least one of QAT."""
        whole = max(2, round((self.fp_tokens + self.qat_tokens) / batch_tokens))
        qat = min(max(1, round(self.fraction * whole)), whole)
        return whole - qat, qat


def plan_qat(
    tokens: float, params: float, bits: float, schedule: Schedule = "fused", *, fraction: float | None = None,
    step_cost: float = 1.0, flops_a_second: float | None = None,
) -> QATPlan:  # fmt: skip
    """The phases for a number of tokens.

    Args:
        fraction: of QAT; None: the published rule's. Give `QATLaw.best_fraction` where there is a law of one's own.
        step_cost: what an update with rounding takes, in updates without: measured by `compress.qat.step_cost`.
        flops_a_second: that training reaches; gives the time.
    Raises:
        BadInput: as `optimal_qat_fraction`; another schedule; a step cost below 0.
    """
    if schedule not in ("fused", "classic"):
        raise bad("schedule", "'fused' or 'classic'", schedule)
    if not step_cost > 0:
        raise bad("step_cost", "above 0", step_cost)
    fraction = optimal_qat_fraction(tokens, params, bits) if fraction is None else fraction
    if not 0 <= fraction <= 1:
        raise bad("fraction", "0 to 1", fraction)
    qat = fraction * tokens
    flops = 6 * params * (tokens - qat + step_cost * qat)
    given = {"n": params, "d": tokens, "bits": bits}
    return QATPlan(
        tokens - qat, qat, fraction, schedule, flops, flops / flops_a_second if flops_a_second else None,
        params * bits / 8, max(float(outside(given[name], ends)) for name, ends in PUBLISHED.items()),
    )  # fmt: skip


@dataclass(frozen=True)
class QATLaw:
    """The fitted law. `constants`: by name, as in the formula. `law`: the fit, with draws where these were made.
    `range_n`, `range_d`, `range_bits`: of the runs, D of both phases together."""

    constants: Mapping[str, float]
    law: Law = field(repr=False)
    range_n: tuple[float, float]
    range_d: tuple[float, float]
    range_bits: tuple[float, float]

    def predict(self, n: Any, d_fp: Any, d_qat: Any, bits: Any, *, anyway: bool = False) -> np.ndarray:
        """Loss `[R]`, nats a token, after `d_fp` tokens in full precision and `d_qat` with rounded weights.

        Raises:
            TooFar: N or D more than `FAR` times outside the runs, or bits outside theirs. `anyway` asks nevertheless.
        """
        self._check_reach(n, np.asarray(d_fp, float) + np.asarray(d_qat, float), bits, anyway)
        return self.law.predict(_inputs(n, d_fp, d_qat, bits), anyway=True)

    def interval(
        self, n: Any, d_fp: Any, d_qat: Any, bits: Any, level: float = 0.9, *, anyway: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the bootstrap interval of the loss `[R]`. Raises as `predict`; BadInput: no draws."""
        self._check_reach(n, np.asarray(d_fp, float) + np.asarray(d_qat, float), bits, anyway)
        return self.law.interval(_inputs(n, d_fp, d_qat, bits), level, anyway=True)

    def penalty(self, n: float, d_fp: float, d_qat: float, bits: float, *, anyway: bool = False) -> float:
        """What of the loss is due to rounding."""
        c = self.constants
        base = c["l0"] + c["cn"] * n ** -c["alpha"] + c["cd"] * (d_fp + d_qat) ** -c["beta"]
        return float(self.predict(n, d_fp, d_qat, bits, anyway=anyway)[0]) - base

    def best_fraction(self, n: float, d: float, bits: float, *, anyway: bool = False) -> float:
        """Share of QAT with the least loss, from `LEAST_SHARE` to 1 less that. Raises as `predict`."""
        from scipy.optimize import minimize_scalar

        self._check_reach(n, d, bits, anyway)

        def loss(log_f: Any) -> np.ndarray:
            f = np.exp(np.atleast_1d(log_f))
            return self.predict(n, (1 - f) * d, f * d, bits, anyway=True)

        grid = np.linspace(math.log(LEAST_SHARE), math.log(1 - LEAST_SHARE), 200)
        best = int(np.argmin(loss(grid)))
        ends = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
        found: Any = minimize_scalar(
            lambda x: float(loss(x)[0]), bounds=ends, method="bounded", options={"xatol": 1e-6}
        )
        return math.exp(float(found.x))

    def best_bits(
        self, memory_bytes: float, tokens: float, widths: Sequence[float] = WIDTHS, *, anyway: bool = False
    ) -> "Choice":
        """Of all models whose rounded parameters fill the memory, the one with the least loss after `tokens`.

        Args:
            widths: bits to choose from; those that the runs do not carry are left out unless `anyway`.
        Raises:
            BadInput: not above 0. TooFar: no width is carried by the runs.
        """
        if not (memory_bytes > 0 and tokens > 0):
            raise bad("memory and tokens", "above 0", (memory_bytes, tokens))
        found, why = [], None
        for bits in widths:
            n = memory_bytes * 8 / bits
            try:
                f = self.best_fraction(n, tokens, bits, anyway=anyway)
            except TooFar as error:
                why = error
                continue
            loss = float(self.predict(n, (1 - f) * tokens, f * tokens, bits, anyway=True)[0])
            found.append(Choice(bits, n, f, loss))
        if not found:
            raise why or bad("widths", "at least one", 0)
        return min(found, key=lambda choice: choice.loss)

    def fp_equivalent_bits(
        self, n: float, d: float, tol: float, widths: Sequence[float] = WIDTHS, *, anyway: bool = False
    ) -> float | None:
        """The fewest bits at which rounding costs at most `tol` nats with the best share; None: none of `widths`."""
        for bits in sorted(widths):
            try:
                f = self.best_fraction(n, d, bits, anyway=anyway)
            except TooFar:
                continue
            if self.penalty(n, (1 - f) * d, f * d, bits, anyway=True) <= tol:
                return bits
        return None

    def _check_reach(self, n: Any, d: Any, bits: Any, anyway: bool) -> None:
        for name, value, ends, far in (
            ("n", n, self.range_n, FAR), ("d", d, self.range_d, FAR), ("bits", bits, self.range_bits, 1.0)
        ):  # fmt: skip
            value = np.asarray(value, float)
            if not (np.isfinite(value) & (value > 0)).all():
                raise bad(name, "finite numbers above 0", float(value.flat[0]))
            off = value[outside(value, ends) > far * (1 + 1e-9)]
            if off.size and not anyway:
                raise TooFar(
                    f"{name} of {off.flat[0]:.3g} is too far from the runs that the law was fitted to, {ends[0]:.3g} "
                    f"to {ends[1]:.3g}. Measure nearer to it, or ask with anyway=True."
                )


@dataclass(frozen=True)
class Choice:
    """A width, the parameters that fill the memory with it, their best share of QAT and the loss expected of them."""

    bits: float
    n: float
    fraction: float
    loss: float


def fit_qat(runs: Any, *, base: NDLaw | None = None, huber: float = DELTA, draws: int = 0, seed: int = 0) -> QATLaw:
    """The law with the least Huber loss of the logarithm of the loss, best of many starts.

    Args:
        runs: columns n, d_fp, d_qat, bits and loss. Rows of one phase alone count the other with `LEAST_SHARE`.
        base: law of size and data of runs in full precision, fitted before: then its five constants stand still, and
            eleven unknowns are left. Without it all sixteen are fitted at once, which few tables carry.
        huber: residuals of log loss beyond it count linearly. draws: of the bootstrap, for `interval`.
    Raises:
        BadInput: fewer rows than unknowns, columns that are missing, numbers not above 0.
    """
    x = columns(runs, ("n", "d_fp", "d_qat", "bits", "loss"))
    inputs = _inputs(x["n"], x["d_fp"], x["d_qat"], x["bits"])
    points = Points.of(inputs, x["loss"], huber)
    middle = {name: math.exp(np.log(column).mean()) for name, column in inputs.items()}
    form = qat_form(middle, base)
    law = fit(form, points, huber=1.0)
    if draws:
        law = bootstrap(law, draws, seed=seed)
    v = dict(zip([p.name for p in form.parameters], law.theta_P.tolist(), strict=True))
    for term in form.terms:  # scales where inputs are 1
        v[term.scale] += sum(factor * v[p] * math.log(middle[name]) for name, (p, factor) in term.exponents.items())
    scales = {term.scale for term in form.terms}
    constants = {name: math.exp(min(value, 700.0)) if name in scales else value for name, value in v.items()}
    return QATLaw(constants, law, span(x["n"]), span(x["d_fp"] + x["d_qat"]), span(x["bits"]))


def qat_form(middle: Mapping[str, float] | None = None, base: NDLaw | None = None) -> ManyTerms:
    """The law as a sum of powers of n, d, s_fp, s_qat and two = 2^bits."""
    scales = ("cn", "cd", "l0", "theta", "phi", "lam")
    exponents = ("alpha", "beta", "kappa", "chi", "psi", "omega", "mu", "nu", "rho")
    return ManyTerms(
        "quantization-aware training",
        ("n", "d", "s_fp", "s_qat", "two"),
        (
            *(Parameter(name=name, log=True) for name in scales),
            *(Parameter(name=name, low=0.0, high=5.0) for name in exponents),
            Parameter(name="xi", low=-5.0, high=5.0),
        ),
        (
            Term("cn", {"n": ("alpha", 1.0)}),
            Term("cd", {"d": ("beta", 1.0)}),
            Term("l0"),
            Term("theta", {"two": ("kappa", 1.0)}),
            Term("phi", {"two": ("chi", 1.0), "n": ("psi", 1.0), "s_qat": ("omega", 1.0)}),
            Term("lam", {"two": ("mu", 1.0), "n": ("nu", 1.0), "s_fp": ("xi", 1.0), "s_qat": ("rho", 1.0)}),
        ),
        middle,
        {k: getattr(base, k) for k in ("cn", "alpha", "cd", "beta", "l0")} if base else {},
    )


def _inputs(n: Any, d_fp: Any, d_qat: Any, bits: Any) -> dict[str, np.ndarray]:
    n, d_fp, d_qat, bits = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (n, d_fp, d_qat, bits)))
    d = d_fp + d_qat
    if (d_fp < 0).any() or (d_qat < 0).any() or not (d > 0).all():
        raise BadInput("Tokens of the two phases: expected 0 or more each, and some in all.")
    size = n * bits / 8
    least = LEAST_SHARE * d
    return {"n": n, "d": d, "s_fp": np.maximum(d_fp, least) / size, "s_qat": np.maximum(d_qat, least) / size,
            "two": 2.0**bits}  # fmt: skip
